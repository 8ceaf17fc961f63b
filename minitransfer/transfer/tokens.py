"""Part VI, chapter 1: tokens. What does an encoder get to see of a text?

A **token** is what an encoder takes as one item of a text. The biLM and static vectors take words, each by its
spelling or from a table, so any word will do. BERT takes word pieces, those it was pretrained with, between [CLS] and
[SEP]. Of a text that is too long both see head and tail.

Read next: `minitransfer.transfer.encoders`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from minitransfer.text.batching import batches_by_length, head_and_tail, pad, rounded_up
from minitransfer.text.wordpiece import CLS_ID, SEP_ID, WordPiece
from minitransfer.text.words import SPECIAL_WORDS, Vocabulary, tokenize

TOKENS_PER_BATCH = 16_384
MAX_CHARACTERS = 2_000_000  # of one text: of more, only the ends are tokenised; their outermost words are kept


@dataclass(frozen=True)
class Batch:
    """Texts side by side: token_ids (B, T) int64, numbers of `tokens`; mask (B, T) bool, True = real token.

    Of several processes each has its share of the texts, and `num_texts` is how many these are together.
    """

    tokens: Sequence[str]
    token_ids: np.ndarray
    mask: np.ndarray
    num_texts: int


@dataclass(frozen=True)
class TokenisedTexts:
    """Texts as token ids, int32 (≤ max_tokens,) each: `tokens[token_id]` is the word or the word piece.

    `shortened` tells of each text whether its middle was left out, bool (N,).
    """

    tokens: Sequence[str]
    token_ids: list[np.ndarray]
    shortened: np.ndarray

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens kept of each text, int64 (N,)."""
        return np.array([len(text) for text in self.token_ids], np.int64)

    def batch(self, rows: np.ndarray, num_texts: int | None = None) -> Batch:
        """The texts of these rows, padded to a round length, but never beyond the longest text of all.

        Shapes: rows (B,) int64.
        """
        longest = int(self.lengths.max())  # at most `max_tokens`: a BERT has no more positions
        least = min(int(rounded_up(self.lengths[rows].max())), longest)
        return Batch(self.tokens, *pad([self.token_ids[i] for i in rows], max(least, 1)), num_texts or len(rows))


def batches_to_encode(lengths: np.ndarray) -> Iterator[np.ndarray]:
    """The positions of texts of these lengths (N,) in batches, as `batches_by_length`, padded as `batch` pads them."""
    return batches_by_length(rounded_up(lengths), TOKENS_PER_BATCH)


def tokenise_words(texts: Sequence[str], max_tokens: int) -> TokenisedTexts:
    """Cut texts into words, numbered as they come, and leave out the middle of those with more than `max_tokens`.

    Differs: Peters et al. 2018 mark where sentences begin and end, in pretraining and afterwards. Our biLM is
    pretrained with <eos> before the first line and after each one; a task gives it the words alone, and a blank memory.
    """
    vocabulary = Vocabulary(SPECIAL_WORDS)
    token_ids, shortened = [], np.zeros(len(texts), bool)
    for i, text in enumerate(texts):
        text, too_long = outer_characters(text)
        whole = vocabulary.encode([tokenize(line) for line in text.split("\n")], grow=True)
        token_ids.append(head_and_tail(whole, max_tokens))
        shortened[i] = too_long or len(whole) > max_tokens
    return TokenisedTexts(vocabulary.words, token_ids, shortened)


def tokenise_pieces(texts: Sequence[str], max_tokens: int, wordpiece: WordPiece) -> TokenisedTexts:
    """Cut texts into word pieces between [CLS] and [SEP], which count towards `max_tokens`, 3 at least."""
    outer, too_long = zip(*map(outer_characters, texts)) if texts else ((), ())
    bodies = wordpiece.encode(outer)
    room = max_tokens - 2
    token_ids = [np.concatenate([[CLS_ID], head_and_tail(body, room), [SEP_ID]]).astype(np.int32) for body in bodies]
    shortened = np.array(too_long, bool) | np.array([len(body) > room for body in bodies], bool)
    return TokenisedTexts(wordpiece.pieces, token_ids, shortened)


def outer_characters(text: str) -> tuple[str, bool]:
    """A text, or both ends of one longer than `MAX_CHARACTERS`; and whether its middle was left out."""
    if len(text) <= MAX_CHARACTERS:
        return text, False
    return f"{text[: MAX_CHARACTERS // 2]}\n{text[-MAX_CHARACTERS // 2 :]}", True
