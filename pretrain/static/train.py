"""Part II, the command: train static vectors by skip-gram. What can be said of a word by its neighbours alone?

    python -m pretrain.static --corpus sample --preset tiny --out runs/static-tiny      # seconds, offline
    python -m pretrain.static --corpus wikitext-2 imdb                                  # about 3 minutes on 2 cores
    python -m pretrain.static --corpus wikitext-2 imdb --pieces 16000                   # pieces of words, for BERT

Text in, two tables of vectors out. Frequent words are thinned out, the rest is cut into blocks in a new order in each
epoch, and `SkipGram.step` learns from a few dozen blocks at a time. Since a word is only a number to it, that number
may as well be that of a piece of a word (`minitransfer.text.wordpiece`).

Read next: `minitransfer.elmo.charcnn`, Part III. Around this file: `settings`, `units`, and `pretrain.shared`.
"""

import math
from typing import Any

import torch
from torch import Tensor

from minitransfer.apparatus.checkpoint import RunDirectory, results
from minitransfer.apparatus.distributed import of_processes
from minitransfer.apparatus.errors import DataError
from minitransfer.apparatus.keeper import Keeper
from minitransfer.apparatus.runtime import (
    Stop,
    choose_device,
    environment,
    generator,
    interruptible,
    say,
    set_threads,
)
from minitransfer.static.skipgram import SkipGram, SkipGramConfig, nearest_words, thin_out
from minitransfer.text.corpora import Corpus, as_saved_corpus
from pretrain.shared import already_complete, check_out, next_command, read_corpus, with_corpus_begun
from pretrain.static.settings import Settings
from pretrain.static.units import Units, count_pieces, count_words

SLOWEST = 0.05  # the learning rate falls in a straight line to this share of the first one
EXAMPLES = ("good", "bad", "bank", "river")


def train(model: SkipGram, units: Units, settings: Settings, run: RunDirectory, stop: Stop) -> int:
    """Run skip-gram over a stream of units; returns the number of steps taken. Raises: Stopped if asked to stop.

    Every random choice follows from seed, epoch and step, so a run that goes on from a saved state ends bit for bit
    as if it had never been stopped.
    """
    epochs, seed, num_units = settings.epochs, settings.seed, len(units.stream)
    most_steps = epochs * math.ceil(num_units / (model.config.block_size * model.config.blocks_per_step))
    with Keeper(run, run.load_state(), stop, steps=most_steps, total=epochs * num_units, unit=units.kind,
                description="static", save_every=settings.save_every, log_every=settings.log_every,
                model=model) as keeper:
        for epoch in keeper.epochs(epochs):
            blocks = cut_blocks(model, units, seed, epoch)
            for token_ids in keeper.steps(blocks):
                draw = generator(seed, "step", keeper.step)
                reach = torch.randint(1, model.config.window + 1, token_ids.shape, generator=draw)
                share_done = keeper.in_epoch / len(blocks)
                rate = settings.learning_rate * max(1 - (epoch + share_done) / epochs, SLOWEST)
                loss = model.step(token_ids, reach, model.draw_negatives(draw), rate)
                keeper.may_step(loss, 0.0)  # counts, and stops the run: a step of skip-gram cannot be taken back
                units_done = int((epoch + (keeper.in_epoch + 1) / len(blocks)) * num_units)
                keeper.done(units_done - keeper.progress.done, loss=loss, learning_rate=rate)
    return keeper.step


def cut_blocks(model: SkipGram, units: Units, seed: int, epoch: int) -> tuple[Tensor, ...]:
    """The blocks of running units for each step of an epoch, (B, T) int64; which units are left out, where blocks
    are cut and their order change from epoch to epoch.

    Raises: DataError if not one block is left.
    """
    T = model.config.block_size
    thinned = thin_out(units.stream, units.counts, model.config.subsample, generator(seed, "thin", epoch))
    blocks = torch.from_numpy(thinned[: len(thinned) // T * T].reshape(-1, T)).long()
    if not len(blocks):
        what = (f"thinned out, the text has {len(thinned):,} of its {len(units.stream):,} {units.kind}, and {T} are "
                f"the least")
        raise DataError(what, "give more text")
    order = torch.randperm(len(blocks), generator=generator(seed, "order", epoch))
    return blocks[order].split(model.config.blocks_per_step)


def main(settings: Settings) -> dict[str, Any]:
    """Read the text, learn vectors from it, and say what can be done with them; returns what the run came to."""
    settings = with_corpus_begun(settings)
    check_out(settings.out, "static", resume=settings.resume)
    if already_complete(settings, settings.known()):
        return results(settings.out)
    choose_device(settings.device)  # for its refusal; skip-gram is so little work per word that it stays on the CPU
    set_threads(settings.threads)
    corpus = read_corpus(settings)
    settings = settings.but(corpus=tuple(corpus.name.split("+")))
    with Stop() as stop:
        learn_vectors(settings, corpus, as_saved_corpus(corpus), stop)
    reader = "bilm" if settings.pieces is None else "bert"
    following = next_command(settings, f"pretrain.{reader}", "--warm-start", settings.out)
    say(f"vectors are in {settings.out}. Next: {following}")
    return results(settings.out)


def learn_vectors(settings: Settings, corpus: Corpus, as_saved: dict[str, Any], stop: Stop) -> None:
    """Count words or pieces, train, save, and show the neighbours of a few. Raises: Stopped if asked to stop.

    as_saved: what config.json has of the corpus.
    """
    with interruptible():
        if settings.pieces is None:
            say(f"{corpus.name}: splitting the text into words and counting them")
            units = count_words(corpus, settings.min_count)
        else:
            say(f"{corpus.name}: learning up to {settings.pieces:,} word pieces, and cutting the text into them")
            units = count_pieces(corpus, settings.pieces)
    model = SkipGram(units.counts, SkipGramConfig(settings.hidden_size, settings.window),
                     generator(settings.seed, "initial vectors"))
    say(f"{len(units.stream):,} running {units.kind}, {len(units.names):,} different ones, "
        f"{of_processes(torch.get_num_threads())}, {settings.out}")
    config = {**settings.known(), **units.facts, "corpus": as_saved, "environment": environment()}
    with RunDirectory.create(settings.out, config, resume=settings.resume) as run:
        step = train(model, units, settings, run, stop)
        run.save_model(model.tensors(units.counts), units.files)
        run.mark_complete(step, {"seconds": round(run.seconds, 1)})
    show_neighbours(model.vectors, units.names)


def show_neighbours(vectors: Tensor, names: list[str]) -> None:
    """Say which words or pieces lie nearest to a few others."""
    for word in EXAMPLES:
        if word in names:
            near = nearest_words(vectors, names.index(word), min(6, len(names) - 1))
            say(f"  nearest to {word}: " + ", ".join(names[i] for i in near))
