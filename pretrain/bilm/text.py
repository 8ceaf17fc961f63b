"""Part III, around the command: reading. How does a corpus reach a model that is given spelling but predicts words?

As a stream of token ids: the most frequent words, up to the vocabulary's size, can be predicted, all others are
still encoded by their spelling. The stream is laid out in rows and cut into windows; the backward model is given
windows of the reversed text, so that to itself it is a forward model. Word vectors are worked out once for each
distinct word: of the whole text where the character CNN is fixed, of the window at hand where it learns.

Read next: `pretrain.bilm.directions`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minitransfer.apparatus.errors import DataError
from minitransfer.apparatus.progress import Progress, say
from minitransfer.elmo.bilm import BiLM
from minitransfer.elmo.charcnn import word_vectors
from minitransfer.elmo.evaluation import ROWS, WINDOW, as_targets, check_nats, held_out_loss
from minitransfer.elmo.softmax import proposal
from minitransfer.text.batching import as_rows, windows
from minitransfer.text.corpora import Corpus
from minitransfer.text.words import Vocabulary, spell_all, token_stream

PerDirection = list[Tensor]  # one for the forward model, one for the backward model


@dataclass(frozen=True)
class Text:
    """A corpus as token ids.

    vocabulary: every word of the training and of the held-out text; ids below `vocab_size` can be predicted.
    documents: the training text, int32 (N_i,) each.  validation: the held-out text, int32 (N,).
    log_q: the log-probability of each word to be drawn as a negative, float32 (vocab_size,). It follows the targets, of
    which <unk> is one wherever a word cannot be predicted: what is asked for often, and drawn hardly ever, would only
    ever be pushed up.
    """

    vocabulary: Vocabulary
    vocab_size: int
    documents: list[np.ndarray]
    validation: np.ndarray
    log_q: Tensor

    @property
    def num_tokens(self) -> int:
        """How long the training text is."""
        return sum(map(len, self.documents))

    @property
    def predicted_words(self) -> list[str]:
        """The words that the softmax chooses among, in the order of their ids."""
        return self.vocabulary.words[: self.vocab_size]


def read_text(corpus: Corpus, vocab_size: int, batch_size: int) -> Text:
    """Split a corpus into words, rank them by frequency and number them; at most `vocab_size` can be predicted.

    Raises: DataError if the text is too short for `batch_size` rows of two words, or next to nothing is held out.
    """
    say(f"{corpus.name}: splitting the text into words and numbering them")
    lines = [list(token_stream([document], corpus.marks_unknown)) for document in corpus.train]
    vocabulary = Vocabulary.from_tokens(line for document in lines for line in document)
    documents = [vocabulary.encode(document) for document in lines]
    vocab_size = min(vocab_size, len(vocabulary))  # before the held-out text may add words
    validation = vocabulary.encode(token_stream(corpus.validation, corpus.marks_unknown), grow=True)
    found, least = sum(map(len, documents)), 2 * batch_size
    if found < least or len(validation) < 2:
        what = (f"corpus {corpus.name} has {found:,} tokens for training and {len(validation):,} held out; "
                f"the least for {batch_size:,} rows are {least:,} and 2")
        raise DataError(what, "give more text, or a smaller --batch-size")
    counts = np.bincount(as_targets(np.concatenate(documents), vocab_size), minlength=vocab_size)
    return Text(vocabulary, vocab_size, documents, validation, proposal(torch.from_numpy(counts)))


def epoch_windows(text: Text, batch_size: int, length: int,
                  order: torch.Generator) -> list[tuple[PerDirection, PerDirection]]:
    """Put the documents in a new order, and cut them into windows: the inputs and the targets of both directions.

    The LSTM state of each row is carried from window to window, in both directions: the backward model encodes the
    same documents, from the end of the last one to the beginning of the first.

    Shapes: each input and target (batch_size, ≤ length) int64; targets that cannot be predicted are <unk>.
    """
    rank = torch.randperm(len(text.documents), generator=order).tolist()
    stream = np.concatenate([text.documents[d] for d in rank])
    cut = []
    for inputs, targets in (as_rows(s, batch_size) for s in (stream, stream[::-1])):
        targets = as_targets(targets, text.vocab_size)
        cut += [[torch.from_numpy(w) for w in windows(rows, length)] for rows in (inputs, targets)]
    ahead, ahead_targets, back, back_targets = cut
    return [([a, b], [c, d]) for a, b, c, d in zip(ahead, back, ahead_targets, back_targets)]


class WordVectors:
    """Turns token ids into word vectors by the character CNN of a biLM.

    If that is `fixed`, by looking them up in a table of all words, made once; else by spelling each distinct word of
    a window anew, and carrying gradients back into the character CNN.
    """

    def __init__(self, model: BiLM, text: Text, fixed: bool):
        self.charcnn, self.fixed = model.charcnn, fixed
        self.device = model.softmax.weight.device
        self.log_q = text.log_q.to(self.device)
        self.spelling = torch.from_numpy(spell_all(text.vocabulary.words))  # (words, C) int16
        self._fixed_table = word_vectors(self.charcnn, self.spelling) if fixed else None

    def table(self) -> Tensor:
        """The vectors of all words of the text, as the character CNN gives them now: (words, D)."""
        return self._fixed_table if self.fixed else word_vectors(self.charcnn, self.spelling)

    def of(self, inputs: PerDirection) -> PerDirection:
        """Word vectors of each direction's window: (B, T) int64 -> (B, T, D), with gradients where they are wanted.

        These end at the vectors, two leaves that both directions may fill at the same time; `back_propagate` takes
        them on from there.
        """
        if self.fixed:
            return [self._fixed_table[token_ids.to(self.device)] for token_ids in inputs]
        distinct, place = torch.cat([token_ids.flatten() for token_ids in inputs]).unique(return_inverse=True)
        spelling = self.spelling[distinct]
        longest = int((spelling != 0).sum(dim=1).max().clamp(min=1))
        self._vectors = self.charcnn(spelling[:, :longest].to(self.device))  # (U, D)
        self._place = place.to(self.device)
        vectors = self._vectors.detach()[self._place].split([token_ids.numel() for token_ids in inputs])
        return [x.view(*token_ids.shape, -1).requires_grad_() for x, token_ids in zip(vectors, inputs)]

    def back_propagate(self, words: PerDirection) -> None:
        """Carry the gradients that both directions left at their word vectors on into the character CNN."""
        if not self.fixed:
            arrived = torch.cat([x.grad.flatten(0, 1) for x in words])
            self._vectors.backward(torch.zeros_like(self._vectors).index_add_(0, self._place, arrived))


def perplexity(model: BiLM, table: Tensor, token_ids: np.ndarray, run_both: Callable,
               check: Callable[[], None] = lambda: None) -> dict[str, float]:
    """Perplexity of a held-out text of N tokens by direction, over the full vocabulary; `check` may raise Stopped.

    perplexity = exp( −1/N Σ_t log p(w_t | what stands before it, or behind it) ),  over N tokens, <eos> among them

    Shapes: table (words, D) word vectors, token_ids (N,) rows of it.
    Raises: NumericsError if the loss is no number that it could be worked out from.
    """
    ahead, back = held_out_loss(model.stacks(), model.softmax, table, token_ids, run_both, check)
    check_nats(f"the loss on held-out text is {ahead:.4g} forwards and {back:.4g} backwards, in nats per token",
               ahead, back)
    return {"perplexity_forward": math.exp(ahead), "perplexity_backward": math.exp(back),
            "perplexity": math.exp((ahead + back) / 2), "held_out_tokens": len(token_ids)}


def perplexity_of_all(model: BiLM, table: Tensor, text: Text, run_both: Callable,
                      check: Callable[[], None]) -> dict[str, float]:
    """`perplexity` of the whole held-out text, with a line of progress."""
    N = len(text.validation)
    say(f"measuring perplexity on {N:,} held-out tokens")
    with Progress(2 * math.ceil(math.ceil(N / ROWS) / WINDOW), "windows", description="perplexity") as progress:

        def next_window() -> None:
            """Count a window, and stop if asked to."""
            progress.advance()
            check()

        return perplexity(model, table, text.validation, run_both, next_window)
