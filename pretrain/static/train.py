"""Part II, the command: train static vectors by skip-gram. What can be said of a word by its neighbours alone?

    python -m pretrain.static --corpus sample --preset tiny --out runs/static-tiny      # seconds, offline
    python -m pretrain.static --corpus wikitext-2 imdb                                  # about 3 minutes on 2 cores
    python -m pretrain.static --corpus wikitext-2 imdb --pieces 16000                   # pieces of words, for BERT

Text in, two tables of vectors out. Frequent words are thinned out, the rest is cut into blocks in a new order in each
epoch, and `SkipGram.step` learns from a few dozen blocks at a time. Since a word is only a number to it, that number
may as well be that of a piece of a word (`minitransfer.text.wordpiece`).

Read next: `minitransfer.elmo.charcnn`, Part III. Around this file: `pretrain.shared`, `pretrain.static.units`.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import TYPE_CHECKING, Any

from minitransfer.apparatus.errors import DataError, UsageError
from minitransfer.apparatus.options import Parser, add_shared, positive_float, positive_int
from pretrain.shared import (
    add_corpus_and_preset,
    already_complete,
    check_out,
    next_command,
    read_corpus,
    take_preset,
)

if TYPE_CHECKING:  # torch takes seconds to import: a mistyped flag should not have to wait for it
    from torch import Tensor

    from minitransfer.apparatus.checkpoint import RunDirectory
    from minitransfer.apparatus.runtime import Stop
    from minitransfer.static.skipgram import SkipGram
    from pretrain.static.units import Units

PRESETS = {
    "tiny": dict(hidden_size=64, window=8, epochs=20, learning_rate=0.2, min_count=2),
    "small": dict(hidden_size=256, window=8, epochs=3, learning_rate=0.15, min_count=5),
    "base": dict(hidden_size=512, window=8, epochs=5, learning_rate=0.15, min_count=5),
}
SLOWEST = 0.05  # the learning rate falls in a straight line to this share of the first one
EXAMPLES = ("good", "bad", "bank", "river")

DESCRIPTION = """Train a vector for each word, or piece of a word, by skip-gram with negative sampling.

examples:
  python -m pretrain.static --corpus sample --preset tiny --out runs/static-tiny
  python -m pretrain.static --corpus wikitext-2 imdb
  python -m pretrain.static --corpus wikitext-2 imdb --pieces 16000

writes to --out (default: runs/static; with --pieces, runs/static-pieces): config.json, model.safetensors (vectors,
contexts, counts), vocab.txt, tokenizer.json for pieces, metrics.jsonl, state/
on 2 cores: tiny 10 seconds on the sample; small 20 seconds on WikiText-2, 3 minutes with IMDB; base 3 times that"""


def make_parser() -> Parser:
    """The flags of this command."""
    parser = Parser(prog="python -m pretrain.static", description=DESCRIPTION)
    add_corpus_and_preset(parser, PRESETS)
    parser.add_argument("--pieces", type=positive_int, metavar="N",
                        help="learn up to N word pieces from the text, and vectors of these, for pretrain.bert "
                             "(default: vectors of words)")
    group = parser.add_argument_group("training (default: by preset)")
    group.add_argument("--hidden-size", type=positive_int, metavar="N", help="width of a vector")
    group.add_argument("--window", type=positive_int, metavar="N", help="words or pieces looked at to each side")
    group.add_argument("--epochs", type=positive_int, metavar="N", help="passes over the text")
    group.add_argument("--learning-rate", type=positive_float, metavar="X", help="of AdaGrad, at its highest")
    group.add_argument("--min-count", type=positive_int, metavar="N", help="rarer words get no vector")
    add_shared(parser, out="runs/static")
    parser.set_defaults(out=None)  # it depends on --pieces
    return parser


def train(model: SkipGram, units: Units, arguments: argparse.Namespace, run: RunDirectory, stop: Stop) -> int:
    """Run skip-gram over a stream of units; returns the number of steps taken. Raises: Stopped if asked to stop.

    Every random choice follows from seed, epoch and step, so a run that goes on from a saved state ends bit for bit
    as if it had never been stopped.
    """
    import torch

    from minitransfer.apparatus.keeper import Keeper
    from minitransfer.apparatus.runtime import generator

    epochs, seed, num_units = arguments.epochs, arguments.seed, len(units.stream)
    most_steps = epochs * math.ceil(num_units / (model.config.block_size * model.config.blocks_per_step))
    with Keeper(run, run.load_state(), stop, steps=most_steps, total=epochs * num_units, unit=units.kind,
                description="static", save_every=arguments.save_every, log_every=arguments.log_every,
                model=model) as keeper:
        for epoch in keeper.epochs(epochs):
            blocks = cut_blocks(model, units, seed, epoch)
            for token_ids in keeper.steps(blocks):
                draw = generator(seed, "step", keeper.step)
                reach = torch.randint(1, model.config.window + 1, token_ids.shape, generator=draw)
                share_done = keeper.in_epoch / len(blocks)
                rate = arguments.learning_rate * max(1 - (epoch + share_done) / epochs, SLOWEST)
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
    import torch

    from minitransfer.apparatus.runtime import generator
    from minitransfer.static.skipgram import thin_out

    T = model.config.block_size
    thinned = thin_out(units.stream, units.counts, model.config.subsample, generator(seed, "thin", epoch))
    blocks = torch.from_numpy(thinned[: len(thinned) // T * T].reshape(-1, T)).long()
    if not len(blocks):
        what = (f"thinned out, the text has {len(thinned):,} of its {len(units.stream):,} {units.kind}, and {T} are "
                f"the least")
        raise DataError(what, "give more text")
    order = torch.randperm(len(blocks), generator=generator(seed, "order", epoch))
    return blocks[order].split(model.config.blocks_per_step)


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fill in what no flag has said; returns what of the run's config is known before any text is read.

    Raises: UsageError for --pieces that leave no room for letters, or stand beside what only words have.
    """
    from minitransfer.text.wordpiece import SPECIAL_PIECES

    pieces, few = arguments.pieces, len(SPECIAL_PIECES)
    if pieces is not None and pieces <= few:
        raise UsageError(f"--pieces {pieces} leaves no room beside the {few} special ones", "ask for some thousands")
    if pieces is not None and arguments.min_count is not None:
        raise UsageError("--min-count has no meaning with --pieces: all have vectors", "leave one of the two out")
    arguments.out = arguments.out or ("runs/static" if pieces is None else "runs/static-pieces")
    training = take_preset(arguments, PRESETS)
    known = {"kind": "static", "model": {"hidden_size": arguments.hidden_size}, "training": training,
             "preset": arguments.preset, "seed": arguments.seed}
    if pieces is not None:
        del training["min_count"]
        known |= {"unit": "pieces", "most_pieces": pieces}
    return known


def main(arguments: argparse.Namespace) -> int:
    """Count words or pieces, train, save, and show the neighbours of a few; returns the exit code."""
    known = settings(arguments)
    check_out(arguments, "static")
    if already_complete(arguments, known):
        return 0

    from minitransfer.apparatus.checkpoint import RunDirectory
    from minitransfer.apparatus.runtime import Stop, choose_device, environment, generator, say, set_threads
    from minitransfer.static.skipgram import SkipGram, SkipGramConfig
    from pretrain.static.units import count_pieces, count_words

    choose_device(arguments.device)  # for its refusal; skip-gram is so little work per word that it stays on the CPU
    threads = set_threads(arguments.threads)
    corpus, facts = read_corpus(arguments)
    if arguments.pieces is None:
        say(f"{corpus.name}: splitting the text into words and counting them")
        units = count_words(corpus, arguments.min_count)
    else:
        say(f"{corpus.name}: learning up to {arguments.pieces:,} word pieces, and cutting the text into them")
        units = count_pieces(corpus, arguments.pieces)
    model = SkipGram(units.counts, SkipGramConfig(arguments.hidden_size, arguments.window),
                     generator(arguments.seed, "initial vectors"))
    say(f"{len(units.stream):,} running {units.kind}, {len(units.names):,} different ones, {threads} threads, "
        f"{arguments.out}")
    config = {**known, **units.facts, "corpus": facts, "environment": environment()}
    started = time.monotonic()
    with RunDirectory.create(arguments.out, config, resume=arguments.resume) as run, Stop() as stop:
        step = train(model, units, arguments, run, stop)
        run.save_model(model.tensors(units.counts), units.files)
        run.mark_complete(step, {"seconds": round(time.monotonic() - started, 1)})
    show_neighbours(model.vectors, units.names)
    reader = "bilm" if arguments.pieces is None else "bert"
    following = next_command(arguments, f"pretrain.{reader}", "--warm-start", arguments.out)
    say(f"vectors are in {arguments.out}. Next: {following}")
    return 0


def show_neighbours(vectors: Tensor, names: list[str]) -> None:
    """Say which words or pieces lie nearest to a few others."""
    from minitransfer.apparatus.progress import say
    from minitransfer.static.skipgram import nearest_words

    for word in EXAMPLES:
        if word in names:
            near = nearest_words(vectors, names.index(word), min(6, len(names) - 1))
            say(f"  nearest to {word}: " + ", ".join(names[i] for i in near))
