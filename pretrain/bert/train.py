"""Part IV, the command: train a mini BERT. What does a text teach whoever must name what was masked in it?

    python -m pretrain.bert                                            # WikiText-2, half an hour
    python -m pretrain.bert --corpus sample --out runs/bert-sample     # a minute, offline
    python -m pretrain.bert --corpus imdb --init-from runs/bert --epochs 1 --out runs/bert-imdb
    torchrun --nproc-per-node 2 -m pretrain.bert                       # two processes, one model

Pieces are masked anew each time a row is read, and only they are decoded. Held-out rows are masked once, and asked
about every so often: a loss that stays where guessing by frequency is has learned nothing from what stands around.

Read next: `pretrain.inspect.look`. Around this file: `settings`, `text`, `start`.
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
    rank_seed,
    share_of_rows,
)
from minitransfer.apparatus.keeper import Keeper
from minitransfer.apparatus.runtime import (
    Stop,
    autocast,
    choose_device,
    choose_precision,
    derived_seed,
    environment,
    generator,
    peak_memory_gib,
    say,
    set_threads,
)
from minitransfer.bert.encoder import MaskedLM
from minitransfer.bert.masking import IGNORE_INDEX
from minitransfer.text.corpora import as_saved_corpus
from pretrain.bert.settings import Settings
from pretrain.bert.start import build, check_seq_length, load_origin, read_tokenizer
from pretrain.bert.text import Text, measure, read_text, tell
from pretrain.bilm.start import ancestry, hidden_size, training_seed
from pretrain.shared import already_complete, check_out, next_command, read_corpus
from pretrain.vectors import as_begun, find_or_learn

WARMUP = 0.1  # of all steps
MAX_GRAD_NORM = 1.0
WEIGHT_DECAY = 0.01
MEASUREMENTS = 9  # on held-out text: the last on all of it, those before on MEASURED_TOKENS of it
MEASURED_TOKENS = 32_768


def train(model: MaskedLM, text: Text, settings: Settings, seed: int, run: RunDirectory, stop: Stop) -> int:
    """Train on all rows in a new order each epoch; returns the number of steps. Raises: Stopped if asked to stop.

    Order, masks and dropout follow from seed, epoch and step alone, so a run that goes on from a saved state ends
    with the same weights, bit for bit, as one that was never stopped. Several processes mask the same batch, and each
    takes its rows of it.
    """
    (N, T), B, device = text.rows.shape, settings.batch_size, model.bias.device
    optimizer = optim.adamw(optim.weight_decay_groups(model, settings.learning_rate, WEIGHT_DECAY))
    total = math.ceil(N / B) * settings.epochs
    warmup, every = math.ceil(WARMUP * total), math.ceil(total / MEASUREMENTS)
    with Keeper(run, run.load_state(), stop, steps=total, total=N * T * settings.epochs, unit="tokens",
                description="bert", save_every=settings.save_every, log_every=settings.log_every,
                model=model, optimizer=optimizer) as keeper:
        for epoch in keeper.epochs(settings.epochs):
            for batch in keeper.steps(torch.randperm(N, generator=generator(seed, "order", epoch)).split(B)):
                rate = optim.set_learning_rate(optimizer, optim.warmup_linear(keeper.step, total, warmup))
                masked = text.mask(text.rows[batch].long(), generator(seed, "masks", keeper.step))
                inputs, labels = map(share_of_rows, masked)
                noise = torch.Generator(device).manual_seed(derived_seed(seed, "dropout", keeper.step, *rank_seed()))
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
                keeper.done(len(batch) * T, loss=nats, learning_rate=rate, norm=norm)
                if keeper.step % every == 0 and keeper.step < total and is_first():
                    report(run, measure(model, text, B, math.ceil(MEASURED_TOKENS / T)), keeper.step, total, every)
    return keeper.step


def report(run: RunDirectory, found: dict[str, float], step: int, total: int, every: int) -> None:
    """Log and say what was measured, as is done `every` so many steps; warn if it is bad after a third of them."""
    run.log_metrics({"step": step, **found}, once=True)
    first_after_a_third = step - every < total / 3 <= step
    tell(found, step / total, late=first_after_a_third or step == total)


def main(settings: Settings) -> int:
    """Prepare text and network, open the run, and hand over to `learn_and_measure`; returns the exit code."""
    settings = as_begun(settings)
    check_out(settings.out, "bert", resume=settings.resume)
    check_batch_size(settings.batch_size)
    device, threads = choose_device(settings.device), set_threads(settings.threads)
    if not settings.init_from:  # else the positions are those of that run
        check_seq_length(settings.seq_length, settings.max_positions)
    origin = load_origin(settings)
    if already_complete(settings, known(settings, origin, device)):
        return 0
    corpus = read_corpus(settings)
    as_saved = as_saved_corpus(corpus)
    settings = settings.but(corpus=tuple(corpus.name.split("+")), resume=settings.resume)
    if settings.warm_start == "auto" and not settings.resume:
        origin = find_or_learn(settings, corpus, as_saved, stages=2)
    config, seed = known(settings, origin, device), training_seed(settings.seed, origin)
    settings = replace(settings, precision=config["precision"])
    text = read_text(corpus, settings, seed, read_tokenizer(origin))
    model = build(settings, text, origin)
    config |= {"model": model.config.to_dict(), "tokenizer": text.tokenizer_fingerprint,
               "corpus": as_saved, "environment": environment()}
    V = model.config.vocab_size
    all_there_are = " (all there are)" if origin is None and V < settings.vocab_size else ""
    say(f"BERT: {sum(p.numel() for p in model.parameters()):,} parameters, {V:,} pieces{all_there_are}; "
        f"{len(text.rows):,} rows of {settings.seq_length} tokens, entropy of their pieces {text.entropy:.3f} nats; "
        f"{device}, {of_processes(threads)}, {settings.precision}; {settings.out}")
    if settings.warm_start == "auto":
        say("stage 2 of 2: the masked language model")
    with open_run(settings.out, config, resume=settings.resume) as run, Stop() as stop:
        return learn_and_measure(model.to(device), text, settings, seed, run, stop)


def known(settings: Settings, origin: LoadedRun | None, device: torch.device) -> dict[str, Any]:
    """What of the run's config is known before any text is read, once it is known what the run begins with."""
    width = hidden_size(settings.hidden_size, origin)
    return {**settings.known(), "precision": choose_precision(settings.precision, device, width),
            "origin": ancestry(origin)}


def learn_and_measure(model: MaskedLM, text: Text, settings: Settings, seed: int, run: RunDirectory,
                      stop: Stop) -> int:
    """Train, measure on all held-out text, and leave a finished run; returns the exit code.

    The first of several processes measures and writes, while the others wait.
    """
    started = time.monotonic()
    step = train(model, text, settings, seed, run, stop)
    metrics = on_first(stop, lambda: measure(model, text, settings.batch_size, check=stop.check))
    if not is_first():
        return 0
    run.save_model(model.state_dict(), {"tokenizer.json": text.tokenizer.to_json()})
    report(run, metrics, step, total=step, every=step)
    run.mark_complete(step, {**metrics, "seconds": round(time.monotonic() - started, 1)})
    following = next_command(settings, "finetune.imdb", "--mode", "frozen", "--encoder", settings.out)
    say(f"{(time.monotonic() - started) / 60:.1f} minutes, at most {peak_memory_gib():.1f} GiB; the BERT is in "
        f"{settings.out}. Next: {following}")
    return 0
