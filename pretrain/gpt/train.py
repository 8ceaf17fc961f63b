"""Part V, the command: train a GPT. What does a text teach whoever must say what comes next?

    python -m pretrain.gpt                                             # WikiText-2
    python -m pretrain.gpt --corpus sample --out runs/gpt-sample       # a minute, offline
    python -m pretrain.gpt --corpus imdb --init-from runs/gpt --epochs 1 --out runs/gpt-imdb
    python -m pretrain.inspect runs/gpt --write "the film was"         # what it has to say
    torchrun --nproc-per-node 2 -m pretrain.gpt                        # two processes, one model

The loop is that of `pretrain.bert.train` without the masks: every piece is predicted, from what stands before it.

Read next: `pretrain.inspect.look`. Around this file: `settings`, `text`, `run`.
"""

import math

import torch

from minitransfer.apparatus import optim
from minitransfer.apparatus.checkpoint import RunDirectory
from minitransfer.apparatus.distributed import average, average_gradients, is_first, rank_seed, share_of_rows
from minitransfer.apparatus.keeper import Keeper
from minitransfer.apparatus.runtime import Stop, autocast, generator
from minitransfer.elmo.softmax import draw
from minitransfer.gpt.causal import CausalLM, next_pieces
from pretrain.bert.text import report
from pretrain.bert.train import HIDDEN, MAX_GRAD_NORM, MEASURED_TOKENS, MEASUREMENTS, WARMUP
from pretrain.gpt.settings import Settings
from pretrain.gpt.text import Text, measure


def train(model: CausalLM, text: Text, settings: Settings, seed: int, run: RunDirectory, stop: Stop) -> int:
    """Train on all rows in a new order each epoch; returns the number of steps. Raises: Stopped if asked to stop.

    Order, negatives and dropout follow from seed, epoch and step alone, so a run that goes on from a saved state ends
    with the same weights, bit for bit, as one that was never stopped. Several processes draw the same negatives, and
    each takes its rows of a batch.
    """
    N, T, B, device = len(text.rows), settings.seq_length, settings.batch_size, model.bias.device
    optimizer = optim.choose(settings.optimizer, model, settings.learning_rate, settings.weight_decay, HIDDEN)
    total, log_q = math.ceil(N / B) * settings.epochs, text.log_q
    warmup, every = math.ceil(WARMUP * total), math.ceil(total / MEASUREMENTS)
    averaged = optim.RunningAverage(model, settings.average_weights, total)
    with Keeper(run, stop, settings, steps=total, total=N * T * settings.epochs, unit="tokens", description="gpt",
                model=model, optimizer=optimizer, **averaged.kept) as keeper:
        for epoch in keeper.epochs(settings.epochs):
            for batch in keeper.steps(torch.randperm(N, generator=generator(seed, "order", epoch)).split(B)):
                rate = optim.set_learning_rate(optimizer, optim.warmup_linear(keeper.step, total, warmup))
                inputs, labels = (rows.to(device) for rows in next_pieces(share_of_rows(text.rows[batch])))
                noise = generator(seed, "dropout", keeper.step, *rank_seed(), device=device)
                with autocast(device, settings.precision):
                    if settings.softmax == "full":
                        loss = model.loss(inputs, labels, generator=noise)
                    else:
                        drawn = draw(log_q, settings.negatives, generator(seed, "negatives", keeper.step))
                        loss = model.sampled_loss(inputs, labels, drawn.to(device), log_q.to(device), noise)
                optimizer.zero_grad()
                loss.backward()
                [nats] = average(len(inputs), loss.item())
                average_gradients(model.parameters(), len(inputs))
                norm = optim.clip_gradients(model.parameters(), MAX_GRAD_NORM)
                if keeper.may_step(nats, norm):
                    optimizer.step()
                    averaged.update()
                keeper.done(len(batch) * T, loss=nats, learning_rate=rate, norm=norm)
                if keeper.step % every == 0 and keeper.step < total and is_first():
                    report(run, measure(model, text, B, math.ceil(MEASURED_TOKENS / T)), keeper.step, total, every)
    averaged.take()
    return keeper.step
