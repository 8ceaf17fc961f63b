"""Part II, around the command: counting. What in a text is given a vector, and how often does it occur?

Words, as a biLM is given, if they are frequent enough; or pieces of words, as BERT is given, learned from this very
text. Either way the text becomes one long stream of numbers, and neither skip-gram nor GloVe can tell which.

Read next: `pretrain.static.train`, the command itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitransfer.apparatus.errors import DataError
from minitransfer.apparatus.runtime import generator
from minitransfer.static.glove import Pairs, count_pairs
from minitransfer.static.skipgram import SkipGramConfig, thin_out
from minitransfer.text.corpora import Corpus
from minitransfer.text.wordpiece import SPECIAL_PIECES, train_wordpiece
from minitransfer.text.words import EOS_WORD, SPECIAL_WORDS, Vocabulary, token_stream

LEAST_TEXT = 64  # running words or pieces: as many as a block of skip-gram has
LOOKED_AHEAD = 1_000  # epochs: of more it is not asked beforehand whether each has a block
PLENTY = 20_000  # thinned out, so many are 200 or more in any text: a share of √t at least is kept, t = 10⁻⁴


@dataclass(frozen=True)
class Units:
    """A corpus as one stream of units that each have a vector.

    kind: "words" or "pieces".  stream: ids of units, int32 (N,).  counts: how often each one is there, int64 (V,).
    names: the units themselves, by id.  facts: what a run's config tells of them.  more_files: kept beside vocab.txt.
    """

    kind: str
    stream: np.ndarray
    counts: np.ndarray
    names: list[str]
    facts: dict[str, Any] = field(default_factory=dict)
    more_files: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, str]:
        """What later stages need to know which vector is whose, by file name; vocab.txt has one unit a line."""
        return {"vocab.txt": "\n".join(self.names) + "\n", **self.more_files}


def count_words(corpus: Corpus, min_count: int) -> Units:
    """A corpus as a stream of the words that occur `min_count` times or more. Raises: DataError for next to none."""
    lines = [[w for w in line if w != EOS_WORD] for line in token_stream(corpus.train, corpus.marks_unknown)]
    everything, first = Vocabulary.from_tokens(lines), len(SPECIAL_WORDS)
    stream = everything.encode(lines)
    counts = np.bincount(stream, minlength=len(everything))
    kept = first + int((counts[first:] >= min_count).sum())  # ranked by count, so the frequent ones stand in front
    stream = stream[(stream >= first) & (stream < kept)]
    if len(stream) < LEAST_TEXT:
        what = (f"corpus {corpus.name} has {len(stream)} running words out of those that occur {min_count} times or "
                f"more, and {LEAST_TEXT} are the least")
        raise DataError(what, "give more text, or a smaller --min-count")
    counts[:first] = 0
    return Units("words", stream, counts[:kept], everything.words[:kept])


def count_pieces(corpus: Corpus, vocab_size: int) -> Units:
    """Turn a corpus into a stream of word pieces, of which at most `vocab_size` are learned from it.

    Every piece has a vector, so that its id is a row of the table. Those that are not in the stream, the special ones
    and those that were always joined to others, are counted 0, and keep the vector they began with.

    Raises: DataError for next to no text.
    """
    tokenizer = train_wordpiece(corpus.train, vocab_size, corpus.marks_unknown)
    stream = np.concatenate([np.empty(0, np.int32), *tokenizer.encode(corpus.train, corpus.marks_unknown)])
    stream = stream[stream >= len(SPECIAL_PIECES)]
    if len(stream) < LEAST_TEXT:
        what = f"corpus {corpus.name} has {len(stream)} running word pieces, and {LEAST_TEXT} are the least"
        raise DataError(what, "give more text, or more --pieces")
    counts = np.bincount(stream, minlength=tokenizer.vocab_size)
    facts = {"vocab_size": tokenizer.vocab_size}  # fewer than asked for, if the text has no more
    return Units("pieces", stream, counts, tokenizer.pieces, facts, {"tokenizer.json": tokenizer.to_json()})


def cut_blocks(config: SkipGramConfig, units: Units, seed: int, epoch: int) -> tuple[Tensor, ...]:
    """The blocks of running units for each step of an epoch, (B, T) int64; which units are left out, where blocks
    are cut and their order change from epoch to epoch.

    Raises: DataError if not one block is left.
    """
    T = config.block_size
    thinned = thin_out(units.stream, units.counts, config.subsample, generator(seed, "thin", epoch))
    blocks = torch.from_numpy(thinned[: len(thinned) // T * T].reshape(-1, T)).long()
    if not len(blocks):
        what = (f"thinned out, the text has {len(thinned):,} of its {len(units.stream):,} {units.kind}, and {T} are "
                f"the least")
        raise DataError(what, "give more text")
    order = torch.randperm(len(blocks), generator=generator(seed, "order", epoch))
    return blocks[order].split(config.blocks_per_step)


def check_blocks(units: Units, seed: int, epochs: int) -> None:
    """Raises: DataError if in some epoch not one block will be left, so that this is said before a run is begun."""
    if len(units.stream) < PLENTY:
        for epoch in range(min(epochs, LOOKED_AHEAD)):
            cut_blocks(SkipGramConfig(), units, seed, epoch)


def count_units(units: Units, window: int, seed: int, check: Callable[[], None] = lambda: None) -> Pairs:
    """How often units stand near each other in the blocks that skip-gram's first epoch has."""
    blocks = torch.cat(cut_blocks(SkipGramConfig(), units, seed, epoch=0)).numpy()
    return count_pairs(blocks, len(units.counts), window, check=check)
