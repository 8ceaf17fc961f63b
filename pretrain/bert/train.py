"""Part IV, the command: train a mini BERT. What does a text teach whoever must name what was masked in it?

    python -m pretrain.bert                                            # WikiText-2, half an hour
    python -m pretrain.bert --corpus sample --out runs/bert-sample     # a minute, offline
    python -m pretrain.bert --corpus imdb --init-from runs/bert --epochs 1 --out runs/bert-imdb
    torchrun --nproc-per-node 2 -m pretrain.bert                       # two processes, one model

Pieces are masked anew each time a row is encoded, and only they are decoded. Held-out rows are masked once, and asked
about every so often: a loss that stays where guessing by frequency is has learned nothing from what stands around.

Read next: `minitransfer.gpt.causal`, Part V. Around this file: `settings`, `run`,
`text`, `start`.
"""

import math

import torch

from minitransfer.apparatus import optim
from minitransfer.apparatus.checkpoint import RunDirectory
from minitransfer.apparatus.distributed import average, average_gradients, is_first, rank_seed, share_of_rows
from minitransfer.apparatus.keeper import Keeper
from minitransfer.apparatus.runtime import Stop, autocast, generator
from minitransfer.bert.encoder import MaskedLM
from minitransfer.bert.masking import IGNORE_INDEX
from pretrain.bert.settings import Settings
from pretrain.bert.text import Text, measure, report

WARMUP = 0.1  # of all steps
MAX_GRAD_NORM = 1.0
HIDDEN = {"qkv": 3, "output": 1, "expand": 1, "contract": 1}  # of each block, for Muon: q, k and v apart
MEASUREMENTS = 9  # on held-out text: the last on all of it, those before on MEASURED_TOKENS of it
MEASURED_TOKENS = 32_768


def train(model: MaskedLM, text: Text, settings: Settings, seed: int, run: RunDirectory, stop: Stop) -> int:
    """Train on all rows in a new order each epoch; returns the number of steps. Raises: Stopped if asked to stop.

    Order, masks and dropout follow from seed, epoch and step alone, so a run that goes on from a saved state ends
    with the same weights, bit for bit, as one that was never stopped. Several processes mask the same batch, and each
    takes its rows of it.
    """
    (N, T), B, device = text.rows.shape, settings.batch_size, model.bias.device
    optimizer = optim.choose(settings.optimizer, model, settings.learning_rate, settings.weight_decay, HIDDEN)
    total = math.ceil(N / B) * settings.epochs
    warmup, every = math.ceil(WARMUP * total), math.ceil(total / MEASUREMENTS)
    averaged = optim.RunningAverage(model, settings.average_weights, total)
    with Keeper(run, stop, settings, steps=total, total=N * T * settings.epochs, unit="tokens", description="bert",
                model=model, optimizer=optimizer, **averaged.kept) as keeper:
        for epoch in keeper.epochs(settings.epochs):
            for batch in keeper.steps(torch.randperm(N, generator=generator(seed, "order", epoch)).split(B)):
                rate = optim.set_learning_rate(optimizer, optim.warmup_linear(keeper.step, total, warmup))
                share = settings.masked_share(keeper.step / total)
                masked = text.masked(batch, share, settings.masks, seed, keeper.step)
                inputs, labels = map(share_of_rows, masked)
                noise = generator(seed, "dropout", keeper.step, *rank_seed(), device=device)
                with autocast(device, settings.precision):
                    loss = model.loss(inputs.to(device), labels.to(device), generator=noise)
                optimizer.zero_grad()
                loss.backward()
                num_masked = int((labels != IGNORE_INDEX).sum())  # the loss is a mean over so many pieces
                [nats] = average(num_masked, loss.item())
                average_gradients(model.parameters(), num_masked)
                norm = optim.clip_gradients(model.parameters(), MAX_GRAD_NORM)
                if keeper.may_step(nats, norm):
                    optimizer.step()
                    averaged.update()
                keeper.done(len(batch) * T, loss=nats, learning_rate=rate, norm=norm)
                if keeper.step % every == 0 and keeper.step < total and is_first():
                    report(run, measure(model, text, B, math.ceil(MEASURED_TOKENS / T)), keeper.step, total, every)
    averaged.take()
    return keeper.step
