"""Part III, the command: train the bidirectional language model. What does a text teach whoever must predict it?

    python -m pretrain.bilm                                            # WikiText-2, a quarter of an hour
    python -m pretrain.bilm --corpus sample --out runs/bilm-sample     # a minute, offline
    python -m pretrain.bilm --warm-start none --out runs/bilm-pure     # as in the paper: no vectors to begin with
    python -m pretrain.bilm --corpus imdb --init-from runs/bilm --epochs 1 --out runs/bilm-imdb
    torchrun --nproc-per-node 2 -m pretrain.bilm                       # two processes, one model

Three stages: static vectors are learned, or found where they were learned before; the character CNN learns to spell
them; the LSTM stacks learn to predict words, in the loop below. Then all goes on with the text of the task
(--init-from).

Read next: `minitransfer.bert.masking`, Part IV. Around this file: `settings`, `run`, `text`, `directions`,
`spelling`, `start`.
"""

import math

from minitransfer.apparatus import optim
from minitransfer.apparatus.checkpoint import RunDirectory
from minitransfer.apparatus.distributed import average, average_gradients, is_first, share_of_rows
from minitransfer.apparatus.keeper import Keeper
from minitransfer.apparatus.progress import say
from minitransfer.apparatus.runtime import SideBySide, Stop, generator
from minitransfer.elmo.bilm import BiLM
from minitransfer.elmo.softmax import CandidateSoftmax, draw
from minitransfer.text.words import PAD_ID
from pretrain.bilm.directions import CarriedStates, Directions
from pretrain.bilm.settings import Settings
from pretrain.bilm.text import Text, WordVectors, epoch_windows, perplexity

WARMUP_STEPS = 100  # or half of all steps, if these are fewer
MAX_GRAD_NORM = 1.0
HIDDEN = {"lstms": 4, "projections": 1}  # of each stack, for Muon: the gates apart
MEASUREMENTS = 9  # of perplexity on held-out text: the last on all of it, those before on MEASURED_TOKENS of it
MEASURED_TOKENS = 8_192


def train(model: BiLM, word_vectors: WordVectors, text: Text, settings: Settings, seed: int, run: RunDirectory,
          stop: Stop, side_by_side: SideBySide) -> int:
    """Train both directions, each on its own windows; returns the number of steps. Raises: Stopped if asked to stop.

    Without what makes it fast, a step is this for d = 0, forward, and d = 1, backward, and then one of AdamW:

        loss, states[d] = model.direction_loss(d, words[d], targets[d], states[d])
        (loss / 2).backward()

    The softmax is sampled instead, and cut down to the candidates of a step, whose rows have an optimizer of their own.
    Order, negatives and dropout follow from seed, epoch and step alone, so a run that goes on from a saved state ends
    with the same weights, bit for bit, as one that was never stopped. Several processes cut the same windows and draw
    the same negatives, and each takes its rows.
    """
    B, T = settings.batch_size, settings.window
    model.charcnn.requires_grad_(not word_vectors.fixed)
    softmax_optimizer = optim.choose_for_rows(settings.softmax_optimizer, model.softmax, settings.learning_rate,
                                              settings.weight_decay)
    model.softmax.requires_grad_(False)  # what learns in a step are copies of its candidates' rows
    optimizer = optim.choose(settings.optimizer, model, settings.learning_rate, settings.weight_decay, HIDDEN)
    carried = CarriedStates(B, word_vectors.device)
    directions = Directions(model, word_vectors, seed, settings.precision, side_by_side)
    row_length = math.ceil(text.num_tokens / B)
    total = math.ceil(row_length / T) * settings.epochs
    warmup, every = min(WARMUP_STEPS, math.ceil(total / 2)), math.ceil(total / MEASUREMENTS)
    averaged = optim.RunningAverage(model, settings.average_weights, total)
    with Keeper(run, stop, settings, steps=total, total=B * row_length * settings.epochs, unit="words",
                description="bilm", model=model, optimizer=optimizer, softmax_optimizer=softmax_optimizer,
                lstm_states=carried, **averaged.kept) as keeper:
        for epoch in keeper.epochs(settings.epochs):
            if keeper.in_epoch == 0:
                carried.begin_text()
            for window in keeper.steps(epoch_windows(text, B, T, generator(seed, "order", epoch))):
                inputs, targets = ([share_of_rows(token_ids) for token_ids in pair] for pair in window)
                factor = optim.warmup_linear(keeper.step, total, warmup)
                rate = optim.set_learning_rate(optimizer, factor)
                optim.set_learning_rate(softmax_optimizer, factor)
                negatives = draw(text.log_q, settings.negatives, generator(seed, "negatives", keeper.step))
                candidates = CandidateSoftmax(model.softmax, window[1],
                                              negatives if settings.softmax == "sampled" else None)
                optimizer.zero_grad()
                losses, states = directions.back_propagate(inputs, targets, candidates, carried.states, keeper.step)
                num_targets = int((targets[0] != PAD_ID).sum())  # each direction's loss is a mean over so many words
                forward, backward = average(num_targets, *losses)
                learning = [*model.parameters(), *candidates.parameters()]
                average_gradients(learning, num_targets)
                loss, norm = (forward + backward) / 2, optim.clip_gradients(learning, MAX_GRAD_NORM)
                if keeper.may_step(loss, norm):
                    optimizer.step()
                    softmax_optimizer.step(candidates.word_ids, [p.grad for p in candidates.parameters()])
                    averaged.update()
                    carried.states = states  # else the new ones are no more finite than the loss: the old ones stay
                keeper.done(B * inputs[0].shape[1], loss=loss, loss_forward=forward, loss_backward=backward,
                            learning_rate=rate, norm=norm)
                if keeper.step % every == 0 and keeper.step < total and is_first():
                    metrics = perplexity(model, word_vectors.table(), text.validation[:MEASURED_TOKENS], side_by_side)
                    report(run, metrics, keeper.step, total)
    averaged.take()
    return keeper.step


def report(run: RunDirectory, metrics: dict[str, float], step: int, total: int) -> None:
    """Log and say what was measured on held-out text after `step` of `total` steps."""
    run.log_metrics({"step": step, **metrics}, once=True)
    ahead, back, N = metrics["perplexity_forward"], metrics["perplexity_backward"], metrics["held_out_tokens"]
    say(f"held-out text after {step / total:.0%} of the training: perplexity {ahead:.1f} forward, {back:.1f} backward, "
        f"on {N:,} tokens")
