"""Part III, around the command: the warm start. How does a character CNN learn what words mean before any sentence?

It is shown the vectors of a finished `pretrain.static` run, word by word: first the projection is solved for, then
all of it learns by gradient (`minitransfer.elmo.spelling` says why). Stopped and resumed, it goes on where it was.

Read next: `pretrain.building`.
"""

import argparse

import torch
from torch import Tensor

from minitransfer.apparatus.checkpoint import LoadedRun, RunDirectory, load_weights
from minitransfer.apparatus.optim import (
    FiniteGuard,
    adamw,
    clip_and_check,
    set_learning_rate,
    warmup_linear,
    weight_decay_groups,
)
from minitransfer.apparatus.runtime import Progress, Stop, generator, say
from minitransfer.elmo.bilm import BiLM
from minitransfer.elmo.charcnn import CharCNN
from minitransfer.elmo.spelling import cosine, solve_projection, spelling_loss
from minitransfer.static.skipgram import standardise
from minitransfer.text.words import SPECIAL_WORDS, spell_all
from minitransfer.transfer.encoders import read_vocabulary
from pretrain.shared import Clock

LEARNING_RATE = 1e-3
WARMUP_STEPS = 20
WORDS_PER_STEP = 512
MAX_GRAD_NORM = 1.0
FREQUENCY_POWER = 0.75  # between each word alike and each running word alike: common words matter more, not alone
COMMON = ((0, 1_000), (1_000, 10_000))  # ranks of words whose cosine is reported


def take_up(state: dict | None, model: BiLM, origin: LoadedRun | None, arguments: argparse.Namespace,
            run: RunDirectory, stop: Stop) -> bool:
    """Give the network the weights that were saved last, and the warm start if that is not over; False if stopped.

    A state of the warm start has "spelling" in it; one that was saved while text was read has not.
    """
    if state is not None:
        load_weights(model, state["model"])
    warm = origin is not None and origin.kind == "static"
    over = state is not None and ("spelling" not in state or state["spelling"]["step"] == arguments.spelling_steps)
    return not warm or over or learn_to_spell(model, origin, arguments, run, state, stop)


def learn_to_spell(model: BiLM, origin: LoadedRun, arguments: argparse.Namespace, run: RunDirectory,
                   state: dict | None, stop: Stop) -> bool:
    """Fit the character CNN to the static vectors of `origin`; returns False if asked to stop before the end.

    state: what was saved amid the warm start, or None. At the end one is saved, so that a kill costs none of it.
    """
    spelling, target, weight = lesson(origin)
    lengths = (spelling != 0).sum(dim=1)
    step = state["spelling"]["step"] if state else 0
    if not state:
        say(f"warm start: solving for the character CNN's projection, {len(target):,} words of {origin.path}")
        solve_projection(model.charcnn, spelling, target, weight)
        say(f"warm start: {closeness(model.charcnn, spelling, target)}")
    optimizer = adamw(weight_decay_groups(model.charcnn, LEARNING_RATE, weight_decay=0.0))
    if state:
        optimizer.load_state_dict(state["spelling"]["optimizer"])
    guard, clock, total = FiniteGuard(), Clock(arguments.save_every), arguments.spelling_steps
    with Progress(total, "steps", description="spelling", log_every=arguments.log_every, done=step) as progress:
        while step < total and not stop.requested:
            set_learning_rate(optimizer, warmup_linear(step, total, WARMUP_STEPS))
            drawn = generator(arguments.seed, "spelling", step)
            rows = torch.multinomial(weight, WORDS_PER_STEP, replacement=True, generator=drawn).unique()
            predicted = model.charcnn(spelling[rows, : int(lengths[rows].max())])
            loss = spelling_loss(predicted, target[rows], torch.ones(len(rows)))
            optimizer.zero_grad()
            loss.backward()
            if guard.ok(loss.item(), clip_and_check(model.charcnn.parameters(), MAX_GRAD_NORM)):
                optimizer.step()
            step += 1
            progress.advance(1, loss=loss.item())
            if clock.due():
                save(run, model, optimizer, step)
    optimizer.zero_grad()  # or what is left would be clipped together with the language model's own gradients
    save(run, model, optimizer, step)
    if step == total > 0:
        say(f"warm start: {closeness(model.charcnn, spelling, target)}")
    return step == total


def save(run: RunDirectory, model: BiLM, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Save what the warm start goes on from. It is step 0 of the run, whose own steps read text."""
    run.save_state(0, {"model": model.state_dict(), "spelling": {"step": step, "optimizer": optimizer.state_dict()}})


def lesson(origin: LoadedRun) -> tuple[Tensor, Tensor, Tensor]:
    """What is to be learned, without special words: spellings (V, C) int16, vectors (V, D), weights of words (V,)."""
    first = len(SPECIAL_WORDS)
    words, counts = read_vocabulary(origin).words[first:], origin.tensors["counts"][first:].float()
    target = standardise(origin.tensors["vectors"][first:], counts)
    return torch.from_numpy(spell_all(words)), target, counts.pow(FREQUENCY_POWER)


def closeness(charcnn: CharCNN, spelling: Tensor, target: Tensor) -> str:
    """How near spelled vectors come to the static ones, of common words and of less common ones."""
    told = [f"{cosine(charcnn, spelling[a:b], target[a:b]):.3f} on words {a + 1:,} to {min(b, len(target)):,}"
            for a, b in COMMON if a < len(target)]
    return f"cosine with the static vectors {', '.join(told)}"
