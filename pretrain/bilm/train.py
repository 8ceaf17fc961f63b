"""Part III, the command: train the bidirectional language model. What does a text teach whoever must predict it?

    python -m pretrain.bilm                                            # WikiText-2, a quarter of an hour
    python -m pretrain.bilm --corpus sample --out runs/bilm-sample     # a minute, offline
    python -m pretrain.bilm --warm-start none --out runs/bilm-pure     # as in the paper: no vectors to begin with
    python -m pretrain.bilm --corpus imdb --init-from runs/bilm --epochs 1 --out runs/bilm-imdb
    torchrun --nproc-per-node 2 -m pretrain.bilm                       # two processes, one model

Three stages: static vectors are learned, or found where they were learned before; the character CNN learns to spell
them; the LSTM stacks learn to predict words, in the loop below. Then all goes on with the text of the task
(--init-from).

Read next: `minitransfer.bert.masking`, Part IV. Around this file: `settings`, `text`, `both`, `spelling`, `start`.
"""

import math
import time
from dataclasses import replace
from typing import Any

import torch

from minitransfer.apparatus import optim
from minitransfer.apparatus.checkpoint import LoadedRun, RunDirectory
from minitransfer.apparatus.distributed import (
    average,
    average_gradients,
    check_batch_size,
    is_first,
    of_processes,
    on_first,
    open_run,
    share_of_rows,
)
from minitransfer.apparatus.keeper import Keeper
from minitransfer.apparatus.runtime import (
    SideBySide,
    Stop,
    choose_device,
    choose_precision,
    environment,
    generator,
    peak_memory_gib,
    say,
    set_threads,
)
from minitransfer.elmo.bilm import BiLM
from minitransfer.elmo.softmax import draw
from minitransfer.text.corpora import as_saved_corpus
from minitransfer.text.words import PAD_ID
from pretrain.bilm.both import CarriedStates, Directions
from pretrain.bilm.settings import Settings
from pretrain.bilm.spelling import restore_or_warm_start
from pretrain.bilm.start import ancestry, build, hidden_size, load_origin, stays_fixed, training_seed
from pretrain.bilm.text import Reader, Text, epoch_windows, perplexity, read_text
from pretrain.shared import already_complete, check_out, next_command, read_corpus
from pretrain.vectors import as_begun, find_or_learn

WARMUP_STEPS = 100  # or half of all steps, if these are fewer
MAX_GRAD_NORM = 1.0
WEIGHT_DECAY = 0.01


def train(model: BiLM, reader: Reader, text: Text, settings: Settings, seed: int, run: RunDirectory,
          state: dict | None, stop: Stop, side_by_side: SideBySide) -> int:
    """Train both directions, each on its own windows; returns the number of steps. Raises: Stopped if asked to stop.

    Order, negatives and dropout follow from seed, epoch and step alone, so a run that goes on from a saved state ends
    with the same weights, bit for bit, as one that was never stopped. Several processes cut the same windows and draw
    the same negatives, and each takes its rows.
    """
    B, T = settings.batch_size, settings.window
    model.charcnn.requires_grad_(not reader.fixed)
    optimizer = optim.adamw(optim.weight_decay_groups(model, settings.learning_rate, WEIGHT_DECAY))
    carried = CarriedStates(B, reader.device)
    both = Directions(model, reader, settings.softmax == "sampled", seed, settings.precision, side_by_side)
    row_length = math.ceil(text.num_tokens / B)
    total = math.ceil(row_length / T) * settings.epochs
    warmup = min(WARMUP_STEPS, math.ceil(total / 2))
    with Keeper(run, state, stop, steps=total, total=B * row_length * settings.epochs, unit="words",
                description="bilm", save_every=settings.save_every, log_every=settings.log_every,
                model=model, optimizer=optimizer, lstm_states=carried) as keeper:
        for epoch in keeper.epochs(settings.epochs):
            if keeper.in_epoch == 0:
                carried.begin_text()
            for window in keeper.steps(epoch_windows(text, B, T, generator(seed, "order", epoch))):
                inputs, targets = ([share_of_rows(token_ids) for token_ids in pair] for pair in window)
                rate = optim.set_learning_rate(optimizer, optim.warmup_linear(keeper.step, total, warmup))
                negatives = draw(text.log_q, settings.negatives, generator(seed, "negatives", keeper.step))
                optimizer.zero_grad()
                losses, states = both.back_propagate(inputs, targets, negatives, carried.states, keeper.step)
                num_targets = int((targets[0] != PAD_ID).sum())  # each direction's loss is a mean over so many words
                forward, backward = average(num_targets, *losses)
                average_gradients(model.parameters(), num_targets)
                loss, norm = (forward + backward) / 2, optim.clip_gradients(model.parameters(), MAX_GRAD_NORM)
                if keeper.may_step(loss, norm):
                    optimizer.step()
                    carried.states = states  # else the new ones are no more finite than the loss: the old ones stay
                keeper.done(B * inputs[0].shape[1], loss=loss, loss_forward=forward, loss_backward=backward,
                            learning_rate=rate, norm=norm)
    return keeper.step


def main(settings: Settings) -> int:
    """Prepare text and network, open the run, and hand over to `learn_and_measure`; returns the exit code."""
    settings = as_begun(settings)
    check_out(settings.out, "bilm", resume=settings.resume)
    check_batch_size(settings.batch_size)
    device, threads = choose_device(settings.device), set_threads(settings.threads)
    origin = load_origin(settings)
    if already_complete(settings, known(settings, origin, device)):
        return 0
    corpus = read_corpus(settings)
    as_saved = as_saved_corpus(corpus)
    settings = settings.but(corpus=tuple(corpus.name.split("+")), resume=settings.resume)
    if settings.warm_start == "auto" and not settings.resume:
        origin = find_or_learn(settings, corpus, as_saved, stages=3)
    config = known(settings, origin, device)
    settings, fixed = replace(settings, precision=config["precision"]), config["charcnn"] == "fixed"
    text = read_text(corpus, settings.vocab_size, settings.batch_size)
    model = build(settings, text, origin)
    config |= {"model": model.config.to_dict(), "corpus": as_saved, "environment": environment()}
    all_there_are = " (all there are)" if text.vocab_size < settings.vocab_size else ""
    say(f"biLM: {sum(p.numel() for p in model.parameters()):,} parameters, character CNN {config['charcnn']}; "
        f"{text.num_tokens:,} tokens, softmax over {text.vocab_size:,} words{all_there_are}; {device}, "
        f"{of_processes(threads)}, {settings.precision}; {settings.out}")
    with (open_run(settings.out, config, resume=settings.resume) as run, Stop() as stop,
          SideBySide(2, device) as side_by_side):
        state = run.load_state()
        if state is None and settings.warm_start == "auto":
            say("stage 2 of 3: the character CNN learns to spell them")
        restore_or_warm_start(state, model, origin, run, stop, settings.log_every)
        reader = Reader(model.to(device), text, fixed)
        if settings.warm_start == "auto":
            say("stage 3 of 3: the language model")
        seed = training_seed(settings.seed, origin)
        return learn_and_measure(model, reader, text, settings, seed, run, state, stop, side_by_side)


def known(settings: Settings, origin: LoadedRun | None, device: torch.device) -> dict[str, Any]:
    """What of the run's config is known before any text is read, once it is known what the run begins with."""
    width = hidden_size(settings.hidden_size, origin)
    return {**settings.known(), "precision": choose_precision(settings.precision, device, width),
            "charcnn": "fixed" if stays_fixed(settings.charcnn, origin) else "learning", "origin": ancestry(origin)}


def learn_and_measure(model: BiLM, reader: Reader, text: Text, settings: Settings, seed: int, run: RunDirectory,
                      state: dict | None, stop: Stop, side_by_side: SideBySide) -> int:
    """Train, measure perplexity over the full vocabulary, and leave a finished run; returns the exit code.

    The first of several processes measures and writes, while the others wait.
    """
    started = time.monotonic()
    step = train(model, reader, text, settings, seed, run, state, stop, side_by_side)
    metrics = on_first(stop, lambda: perplexity(model, reader, text, side_by_side, stop.check))
    if not is_first():
        return 0
    run.save_model(model.state_dict(), {"vocab.txt": "\n".join(text.predicted_words) + "\n"})
    run.log_metrics({"step": step, **metrics}, once=True)
    run.mark_complete(step, {**metrics, "seconds": round(time.monotonic() - started, 1)})
    say(f"held-out perplexity over all {text.vocab_size:,} words of {run.config['corpus']['name']}, <eos> counted: "
        f"forward {metrics['perplexity_forward']:.1f}, backward {metrics['perplexity_backward']:.1f}; "
        f"{(time.monotonic() - started) / 60:.1f} minutes, at most {peak_memory_gib():.1f} GiB")
    following = next_command(settings, "finetune.imdb", "--mode", "frozen", "--encoder", settings.out)
    say(f"the biLM is in {settings.out}. Next: {following}")
    return 0
