"""Part IV, around the command: packed text. How does a corpus reach BERT, and how is it told what was learned of it?

Cut into pieces, by a tokenizer that learned them from this very text unless an earlier run brings its own; packed
into rows with no padding; masked anew at each step. Rows of held-out text are masked once, so that each measurement
asks the same questions; beside the loss stands what guessing by frequency would cost, which any network learns first.

Read next: `pretrain.starting`.
"""

import argparse
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from minitransfer.apparatus.errors import DataError, NumericsError
from minitransfer.apparatus.runtime import generator, say
from minitransfer.bert.encoder import MaskedLM
from minitransfer.bert.masking import IGNORE_INDEX, fixed, mask_tokens, unigram_entropy
from minitransfer.text.corpora import Corpus
from minitransfer.text.packing import pack
from minitransfer.text.wordpiece import WordPiece, train_wordpiece

STILL_GUESSING = 0.97  # a loss above this share of what guessing by frequency costs is no better than that


@dataclass(frozen=True)
class Text:
    """A corpus as rows of pieces.

    rows: the training text, int32 (N, T).  counts: how often each piece may be masked there, int64 (V,).
    mask: draws what is masked of a batch, (token_ids, generator) -> (inputs, labels).
    held_out: rows masked once and for all, in an order of their own: inputs and labels, int64 (M, T).
    """

    tokenizer: WordPiece
    rows: Tensor
    counts: Tensor
    mask: Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]
    held_out: tuple[Tensor, Tensor]

    @property
    def entropy(self) -> float:
        """The loss of guessing pieces of the training text by their frequency alone, in nats."""
        return unigram_entropy(self.counts)

    @property
    def log_frequency(self) -> Tensor:
        """log p(w) for guessing by frequency, float32 (V,); what never occurred is taken for rare, not impossible."""
        counts = self.counts + 1.0
        return (counts / counts.sum()).log()

    @property
    def tokenizer_fingerprint(self) -> str:
        """sha256 of the tokenizer."""
        return hashlib.sha256(self.tokenizer.to_json().encode()).hexdigest()


def read_text(corpus: Corpus, arguments: argparse.Namespace, tokenizer: WordPiece | None) -> Text:
    """Cut a corpus into pieces, by `tokenizer` or, for None, one that learns at most --vocab-size of them from it.

    Raises: DataError if the text fills too few rows, or nothing of what is held out is masked.
    """
    if tokenizer is None:
        say(f"{corpus.name}: learning the pieces that its words are made of")
        tokenizer = train_wordpiece(corpus.train, arguments.vocab_size, corpus.marks_unknown)
    say(f"{corpus.name}: cutting the text into pieces")
    rows = fill_rows(f"corpus {corpus.name}", tokenizer.encode(corpus.train, corpus.marks_unknown), arguments)
    held_out = fill_rows(f"the held-out part of corpus {corpus.name}",
                         tokenizer.encode(corpus.validation, corpus.marks_unknown), arguments)
    if len(rows) < arguments.batch_size:
        what = f"corpus {corpus.name} fills {len(rows):,} rows, and a step takes {arguments.batch_size:,}"
        raise DataError(what, "give more text, or a smaller --batch-size or --seq-length")
    continues = torch.from_numpy(tokenizer.continues) if arguments.whole_words else None
    mask = partial(mask_tokens, vocab_size=tokenizer.vocab_size, continues=continues,
                   probability=arguments.mask_probability)
    drawn = generator(arguments.seed, "held out")
    inputs, labels = mask(held_out[torch.randperm(len(held_out), generator=drawn)].long(), drawn)
    if not (labels != IGNORE_INDEX).any():
        what = f"none of the {labels.numel():,} held-out tokens of corpus {corpus.name} came to be masked"
        raise DataError(what, "give more text, or a larger --mask-probability")
    counts = np.bincount(rows[~fixed(rows)].numpy(), minlength=tokenizer.vocab_size)
    return Text(tokenizer, rows, torch.from_numpy(counts), mask, (inputs, labels))


def fill_rows(name: str, documents: list[np.ndarray], arguments: argparse.Namespace) -> Tensor:
    """Pack documents into rows of --seq-length, int32 (N, T). Raises: DataError if they do not fill one."""
    try:
        return torch.from_numpy(pack(documents, arguments.seq_length))
    except DataError as failure:
        raise DataError(f"{name}: {failure.what}", "give more text, or a smaller --seq-length") from failure


def autocast(device: torch.device) -> torch.autocast:
    """A context in which a GPU multiplies in bfloat16; a CPU goes on in float32, in which it is faster."""
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, torch.bfloat16, enabled=able)


@torch.no_grad()
def measure(model: MaskedLM, text: Text, batch_size: int, most_rows: int | None = None,
            keep_on: Callable[[], bool] = lambda: True) -> dict[str, float] | None:
    """How well masked held-out pieces are guessed, of all rows or the first few; None if `keep_on` no longer holds.

    held_out_loss: mean −log p per masked piece, in nats; frequency_loss the same for guessing by frequency.
    held_out_accuracy: how many were thought the likeliest, in [0, 1].
    Raises: NumericsError if the loss is no finite number.
    """
    device, log_frequency = model.bias.device, text.log_frequency.to(model.bias.device)
    total, by_frequency, right, asked = 0.0, 0.0, 0, 0
    for inputs, labels in zip(*(part[:most_rows].split(batch_size) for part in text.held_out)):
        if not keep_on():
            return None
        with autocast(device):
            logits, targets = model.decode(inputs.to(device), labels.to(device))
        total += F.cross_entropy(logits.float(), targets, reduction="sum").item()
        by_frequency -= log_frequency[targets].sum().item()
        right += int((logits.argmax(dim=-1) == targets).sum())
        asked += len(targets)
    loss = total / max(asked, 1)
    if not math.isfinite(loss):
        what = f"the loss on held-out text is {loss:.4g} nats per masked piece"
        raise NumericsError(what, "begin again with a smaller --learning-rate and another --out")
    return {"held_out_loss": loss, "held_out_accuracy": right / max(asked, 1), "held_out_masked": asked,
            "frequency_loss": by_frequency / max(asked, 1), "unigram_entropy": text.entropy}


def tell(found: dict[str, float], done: float, late: bool) -> None:
    """Say what was measured after a share `done` of the training, and, where it is late for that, if it is bad."""
    loss, by_frequency = found["held_out_loss"], found["frequency_loss"]
    say(f"held-out text after {done:.0%} of the training: loss {loss:.3f} nats, by frequency {by_frequency:.3f}; "
        f"{found['held_out_accuracy']:.1%} of {found['held_out_masked']:,} masked pieces right")
    if late and loss > STILL_GUESSING * by_frequency:
        say(f"the loss is still that of guessing by frequency: {loss:.3f} nats against {by_frequency:.3f}. More "
            f"--epochs, a smaller --batch-size, another --learning-rate or a --warm-start may get it going")
