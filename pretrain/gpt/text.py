"""Part V, around the command: text. How does a corpus reach a GPT, and how is it told what was learned of it?

Packed as for BERT, and nothing of it masked: a row of T pieces has T questions, where BERT is asked about the masked
ones, 15 or 40 % of them. Beside the loss on held-out text stands what guessing by frequency would cost.

Read next: `pretrain.gpt.train`, the command.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minitransfer.elmo.softmax import proposal
from minitransfer.gpt.causal import CausalLM, next_pieces
from minitransfer.gpt.evaluation import in_own_order, next_piece_loss
from minitransfer.text.corpora import Corpus
from minitransfer.text.wordpiece import WordPiece
from minitransfer.text.words import tokenize
from pretrain.bert.text import PackedText, read_rows
from pretrain.gpt.settings import Settings


@dataclass(frozen=True)
class Text(PackedText):
    """A corpus as a GPT is trained on it, in rows as `minitransfer.gpt.causal.next_pieces` takes them.

    held_out: rows in an order of their own, int32 (M, T + 2).
    pieces_per_word: of the held-out text, [SEP] between documents being a piece, and words counted as a biLM's, without
    <eos>.
    """

    held_out: Tensor
    pieces_per_word: float

    @property
    def log_q(self) -> Tensor:
        """The log-probability of each piece to be drawn as a negative, float32 (V,)."""
        return proposal(self.counts)


def read_text(corpus: Corpus, settings: Settings, seed: int, tokenizer: WordPiece | None) -> Text:
    """A corpus as rows for a GPT, with room for T = --seq-length pieces; arguments and errors as of `read_rows`."""
    tokenizer, rows, held_out = read_rows(corpus, settings, seed, tokenizer, settings.seq_length + 2)
    counts = np.bincount(next_pieces(rows)[1].flatten().numpy(), minlength=tokenizer.vocab_size)
    lengths = [len(ids) for ids in tokenizer.encode(corpus.validation, corpus.marks_unknown) if len(ids)]
    pieces = sum(lengths) + len(lengths) - 1  # with a [SEP] between documents, as `pack` joins them
    words = sum(len(tokenize(document, corpus.marks_unknown)) for document in corpus.validation)
    held_out = in_own_order(held_out, settings.seed)
    return Text(tokenizer, rows, torch.from_numpy(counts), held_out, pieces / max(words, 1))


def measure(model: CausalLM, text: Text, batch_size: int, most_rows: int | None = None,
            check: Callable[[], None] = lambda: None) -> dict[str, float]:
    """What `next_piece_loss` tells of held-out rows, and frequency_loss and unigram_entropy as BERT's."""
    rows = text.held_out[:most_rows]
    metrics = next_piece_loss(model, rows, text.pieces_per_word, batch_size, check)
    total = sum(text.by_frequency(next_pieces(some)[1]) for some in rows.split(batch_size))
    return {**metrics, "frequency_loss": total / metrics["held_out_pieces"], "unigram_entropy": text.entropy}
