"""Part II, the command: train static vectors. What can be said of a word by its neighbours alone?

    python -m pretrain.static --corpus sample --preset tiny --out runs/static-tiny      # seconds, offline
    python -m pretrain.static --corpus wikitext-2 imdb                                  # about 3 minutes on 2 cores
    python -m pretrain.static --corpus wikitext-2 imdb --pieces 16000                   # pieces of words, for BERT
    python -m pretrain.static --corpus wikitext-2 imdb --method glove                   # by counting, as GloVe

Text in, two tables of vectors out. Frequent words are thinned out, the rest is cut into blocks in a new order in each
epoch, and `SkipGram.step` learns from a few dozen blocks at a time. Since a word is only a number to it, that number
may as well be that of a piece of a word (`minitransfer.text.wordpiece`).

GloVe cuts the same blocks once, counts which words stand near each other in them, and learns from these counts instead.

Read next: `minitransfer.elmo.charcnn`, Part III. Around this file: `settings`, `units`, and `pretrain.shared`.
"""

import math
from typing import Any

import torch
from torch import Tensor

from minitransfer.apparatus.checkpoint import RunDirectory, results
from minitransfer.apparatus.distributed import of_processes
from minitransfer.apparatus.errors import NumericsError
from minitransfer.apparatus.keeper import Keeper
from minitransfer.apparatus.progress import say
from minitransfer.apparatus.runtime import Stop, environment, generator, set_up
from minitransfer.static.glove import BATCH, GloVe, draw_pairs, pair_weight
from minitransfer.static.skipgram import SkipGram, SkipGramConfig, WordTables, nearest_words
from minitransfer.text.corpora import Corpus, as_saved_corpus
from pretrain.shared import already_complete, check_out, next_command, read_corpus, with_corpus_begun
from pretrain.static.settings import Settings
from pretrain.static.units import Units, check_blocks, count_pieces, count_units, count_words, cut_blocks

SLOWEST = 0.05  # the learning rate falls in a straight line to this share of the first one
EXAMPLES = ("good", "bad", "bank", "river")


def train_skipgram(units: Units, settings: Settings, run: RunDirectory, stop: Stop) -> tuple[WordTables, int]:
    """Run skip-gram over a stream of units; returns the tables and the number of steps taken.

    Every random choice follows from seed, epoch and step, so a run that goes on from a saved state ends bit for bit
    as if it had never been stopped. Raises: Stopped if asked to stop.
    """
    config, epochs, seed = SkipGramConfig(settings.hidden_size, settings.window), settings.epochs, settings.seed
    model = SkipGram(units.counts, config, generator(seed, "initial vectors"))
    with keep(model, len(units.stream) / (config.block_size * config.blocks_per_step), units, settings, run,
              stop) as keeper:
        for epoch in keeper.epochs(epochs):
            blocks = cut_blocks(config, units, seed, epoch)
            for token_ids in keeper.steps(blocks):
                draw = generator(seed, "step", keeper.step)
                reach = torch.randint(1, config.window + 1, token_ids.shape, generator=draw)
                rate = falling_rate(settings, keeper, len(blocks))
                loss = model.step(token_ids, reach, model.draw_negatives(draw), rate)
                count_step(keeper, len(blocks), len(units.stream), loss, rate)
    return model, keeper.step


def train_glove(units: Units, settings: Settings, run: RunDirectory, stop: Stop) -> tuple[WordTables, int]:
    """Count a stream of units, and run GloVe over the counts; all else as `train_skipgram`.

    A run that goes on counts anew: the same counts, since the text is thinned out and cut by the seed.
    """
    epochs, seed = settings.epochs, settings.seed
    pairs = count_units(units, settings.window, seed, lambda: stop.check("stopped while it counted"))
    say(f"{len(pairs.x):,} pairs of {units.kind} that stand near each other")
    f = pair_weight(pairs.x)
    model = GloVe(pairs, len(units.counts), settings.hidden_size, generator(seed, "initial vectors"))
    with keep(model, f.sum().item() / BATCH, units, settings, run, stop) as keeper:
        for epoch in keeper.epochs(epochs):
            batches = draw_pairs(f, generator(seed, "pairs", epoch)).split(BATCH)
            for batch in keeper.steps(batches):
                i, j, x = pairs.i[batch].long(), pairs.j[batch].long(), pairs.x[batch]
                rate = falling_rate(settings, keeper, len(batches))
                loss = model.step(i, j, x, rate)
                count_step(keeper, len(batches), len(units.stream), loss, rate)
    return model, keeper.step


def keep(model: WordTables, steps_per_epoch: float, units: Units, settings: Settings, run: RunDirectory,
         stop: Stop) -> Keeper:
    """The keeper of a run: it counts progress in units of text, and goes on from the saved state, if there is one."""
    return Keeper(run, stop, settings, steps=settings.epochs * math.ceil(steps_per_epoch),
                  total=settings.epochs * len(units.stream), unit=units.kind, description="static", model=model)


def falling_rate(settings: Settings, keeper: Keeper, steps_of_epoch: int) -> float:
    """The learning rate of this step: η · max(1 − d, 0.05), d the share of all epochs that is done."""
    done = (keeper.epoch + keeper.in_epoch / steps_of_epoch) / settings.epochs
    return settings.learning_rate * max(1 - done, SLOWEST)


def count_step(keeper: Keeper, steps_of_epoch: int, num_units: int, loss: float, rate: float) -> None:
    """Record a step. Raises: NumericsError for a loss that is not finite: a step here cannot be taken back."""
    if not keeper.may_step(loss, 0.0):
        raise NumericsError(f"step {keeper.step + 1} gave a loss of {loss:.4g}, and has already moved the vectors")
    units_done = int((keeper.epoch + (keeper.in_epoch + 1) / steps_of_epoch) * num_units)
    keeper.done(units_done - keeper.progress.done, loss=loss, learning_rate=rate)


def main(settings: Settings) -> dict[str, Any]:
    """Read the text, learn vectors from it, and say what can be done with them; returns what the run came to."""
    settings = with_corpus_begun(settings)
    check_out(settings.out, "static", resume=settings.resume)
    if already_complete(settings, settings.config()):
        return results(settings.out)
    set_up(settings.device, settings.threads)  # both methods do so little work per word that they stay on the CPU
    corpus = read_corpus(settings)
    settings = settings.but(corpus=tuple(corpus.name.split("+")))
    with Stop() as stop:
        learn_vectors(settings, read_units(settings, corpus), as_saved_corpus(corpus), stop)
    reader = "bilm" if settings.pieces is None else "bert"
    following = next_command(settings, f"pretrain.{reader}", "--warm-start", settings.out)
    say(f"vectors are in {settings.out}. Next: {following}")
    return results(settings.out)


def read_units(settings: Settings, corpus: Corpus) -> Units:
    """Count the words or pieces of a text. Raises: DataError for too little text, before anything is written."""
    if settings.pieces is None:
        say(f"{corpus.name}: splitting the text into words and counting them")
        units = count_words(corpus, settings.min_count)
    else:
        say(f"{corpus.name}: learning up to {settings.pieces:,} word pieces, and cutting the text into them")
        units = count_pieces(corpus, settings.pieces)
    check_blocks(units, settings.seed, 1 if settings.method == "glove" else settings.epochs)
    return units


def learn_vectors(settings: Settings, units: Units, as_saved: dict[str, Any], stop: Stop) -> None:
    """Train, save, and show the neighbours of a few words or pieces. Raises: Stopped if asked to stop.

    as_saved: what config.json has of the corpus.
    """
    say(f"{len(units.stream):,} running {units.kind}, {len(units.names):,} different ones, "
        f"{of_processes(torch.get_num_threads())}, {settings.out}")
    config = {**settings.config(), **units.facts, "corpus": as_saved, "environment": environment()}
    with RunDirectory.create(settings.out, config, resume=settings.resume) as run:
        learn = train_glove if settings.method == "glove" else train_skipgram
        model, step = learn(units, settings, run, stop)
        run.save_model(model.tensors(units.counts), units.files)
        run.mark_complete(step, {"seconds": round(run.seconds, 1)})
    show_neighbours(model.vectors, units.names)


def show_neighbours(vectors: Tensor, names: list[str]) -> None:
    """Say which words or pieces lie nearest to a few others."""
    for word in EXAMPLES:
        if word in names:
            near = nearest_words(vectors, names.index(word), min(6, len(names) - 1))
            say(f"  nearest to {word}: " + ", ".join(names[i] for i in near))
