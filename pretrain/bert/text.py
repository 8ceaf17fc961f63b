"""Part IV, around the command: packed text. How does a corpus reach BERT, and how is it told what was learned of it?

Cut into pieces, by a tokenizer that learned them from this very text unless an earlier run brings its own; packed
into rows with no padding; masked anew at each step. Rows of held-out text are masked once, so that each measurement
asks the same questions; beside the loss stands what guessing by frequency would cost: a network that does no better
has learned nothing from context.

Read next: `pretrain.bert.start`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minitransfer.apparatus.checkpoint import RunDirectory
from minitransfer.apparatus.errors import DataError, NumericsError
from minitransfer.apparatus.progress import say
from minitransfer.apparatus.runtime import generator
from minitransfer.bert.encoder import MaskedLM
from minitransfer.bert.evaluation import Mask, mask_once, masked_loss, masker
from minitransfer.bert.masking import IGNORE_INDEX, fixed, unigram_entropy
from minitransfer.text.corpora import Corpus
from minitransfer.text.packing import pack
from minitransfer.text.wordpiece import WordPiece, train_wordpiece
from pretrain.bert.settings import PieceSettings, Settings

STILL_GUESSING = 0.97  # a loss above this share of what guessing by frequency costs is no better than that


@dataclass(frozen=True)
class PackedText:
    """A corpus as rows of pieces.

    rows: the training text, int32 (N, T).  counts: how often each piece may be asked for there, int64 (V,).
    """

    tokenizer: WordPiece
    rows: Tensor
    counts: Tensor

    @property
    def entropy(self) -> float:
        """The loss of guessing pieces of the training text by their frequency alone, in nats."""
        return unigram_entropy(self.counts)

    @property
    def log_frequency(self) -> Tensor:
        """log p(w) for guessing by frequency, float32 (V,); what never occurred is taken for rare, not impossible."""
        counts = self.counts + 1.0
        return (counts / counts.sum()).log()

    def by_frequency(self, answers: Tensor) -> float:
        """What guessing pieces by their frequency costs, in nats, summed: int64 of any shape, IGNORE_INDEX left out."""
        return -self.log_frequency[answers[answers != IGNORE_INDEX]].sum().item()


@dataclass(frozen=True)
class Text(PackedText):
    """A corpus as BERT is trained on it.

    mask: draws what is masked of rows, (token_ids, generator) -> (inputs, labels).
    held_out: rows masked once and for all, in an order of their own: inputs and labels, int64 (M, T).
    """

    mask: Mask
    held_out: tuple[Tensor, Tensor]

    def masked(self, batch: Tensor, share: float, masks: str, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """The rows of a batch, a share of their pieces masked: drawn for this step, or, if `static`, for each row.

        Shapes: batch (B,) int64, numbers of rows -> inputs and labels (B, T) int64.
        """
        if masks == "dynamic":
            return self.mask(self.rows[batch].long(), generator(seed, "masks", step), probability=share)
        pairs = [self.mask(self.rows[[n]].long(), generator(seed, "static masks", n), probability=share)
                 for n in batch.tolist()]
        inputs, labels = zip(*pairs)
        return torch.cat(inputs), torch.cat(labels)


def read_text(corpus: Corpus, settings: Settings, seed: int, tokenizer: WordPiece | None) -> Text:
    """A corpus as rows for BERT, of pieces as `read_rows` cuts them; what is masked of them follows from --seed alone.

    Of held-out text 15 % of the pieces are masked, each by itself, however the training masks: recipes are compared.
    Raises: DataError as `read_rows`, or if nothing of what is held out is masked.
    """
    tokenizer, rows, held_out = read_rows(corpus, settings, seed, tokenizer, settings.seq_length)
    mask = masker(tokenizer, settings.mask_probability, settings.whole_words)
    inputs, labels = mask_once(held_out, masker(tokenizer), settings.seed)
    if not (labels != IGNORE_INDEX).any():
        what = f"none of the {labels.numel():,} held-out tokens of corpus {corpus.name} came to be masked"
        raise DataError(what, "give more text")
    counts = np.bincount(rows[~fixed(rows)].numpy(), minlength=tokenizer.vocab_size)
    return Text(tokenizer, rows, torch.from_numpy(counts), mask, (inputs, labels))


def read_rows(corpus: Corpus, settings: PieceSettings, seed: int, tokenizer: WordPiece | None,
              length: int) -> tuple[WordPiece, Tensor, Tensor]:
    """Cut a corpus into pieces, by `tokenizer` or, for None, one that learns at most --vocab-size of them from it.

    Returns the tokenizer, and rows of the training text and of the held-out text, int32 (N, length) and (M, length).
    seed: decides the order of the documents.

    The documents are put in an order drawn at random, for a row runs on from one to the next: in that of their files,
    all negative reviews stand together, and each would tell of its neighbour's label what no reader of it should know.
    Raises: DataError if the text fills too few rows.
    """
    if tokenizer is None:
        say(f"{corpus.name}: learning the pieces that its words are made of")
        tokenizer = train_wordpiece(corpus.train, settings.vocab_size, corpus.marks_unknown)
    say(f"{corpus.name}: cutting the text into pieces")
    rank = torch.randperm(len(corpus.train), generator=generator(seed, "documents"))
    documents = tokenizer.encode([corpus.train[d] for d in rank], corpus.marks_unknown)
    rows = fill_rows(f"corpus {corpus.name}", documents, length)
    held_out = fill_rows(f"the held-out part of corpus {corpus.name}",
                         tokenizer.encode(corpus.validation, corpus.marks_unknown), length)
    if len(rows) < settings.batch_size:
        what = f"corpus {corpus.name} fills {len(rows):,} rows, and a step takes {settings.batch_size:,}"
        raise DataError(what, "give more text, or a smaller --batch-size or --seq-length")
    return tokenizer, rows, held_out


def fill_rows(name: str, documents: list[np.ndarray], T: int) -> Tensor:
    """Pack documents into rows of T pieces, int32 (N, T). Raises: DataError if they do not fill one."""
    try:
        return torch.from_numpy(pack(documents, T))
    except DataError as failure:
        raise DataError(f"{name}: {failure.what}", "give more text, or a smaller --seq-length") from failure


def measure(model: MaskedLM, text: Text, batch_size: int, most_rows: int | None = None,
            check: Callable[[], None] = lambda: None) -> dict[str, float]:
    """How well masked held-out pieces are guessed, of all rows or the first few; `check` may raise Stopped.

    The metrics of `masked_loss`, plus frequency_loss: what guessing these pieces by their frequency would cost; and
    unigram_entropy: what it costs on the training text. All losses are means per piece, in nats.
    Raises: NumericsError if the loss is no finite number.
    """
    inputs, labels = (part[:most_rows] for part in text.held_out)
    metrics = masked_loss(model, inputs, labels, batch_size, check)
    loss = metrics["held_out_loss"]
    if not math.isfinite(loss):
        raise NumericsError(f"the loss on held-out text is {loss:.4g} nats per masked piece")
    total = sum(map(text.by_frequency, labels.split(batch_size)))
    return {**metrics, "frequency_loss": total / max(metrics["held_out_masked"], 1), "unigram_entropy": text.entropy}


def report(run: RunDirectory, metrics: Mapping[str, float], step: int, total: int, every: int) -> None:
    """Log and say what was measured, as is done `every` so many steps, of a BERT or a GPT.

    Once a third of them are done, and at the end, a loss no better than that of guessing by frequency is warned of.
    """
    run.log_metrics({"step": step, **metrics}, once=True)
    loss, by_frequency = metrics["held_out_loss"], metrics["frequency_loss"]
    if "held_out_masked" in metrics:
        more = f"{metrics['held_out_accuracy']:.1%} of {metrics['held_out_masked']:,} masked pieces right"
    else:
        more = (f"perplexity {metrics['perplexity_piece']:.1f} per piece, {metrics['perplexity_word']:.1f} per word, "
                f"on {metrics['held_out_pieces']:,} pieces")
    say(f"held-out text after {step / total:.0%} of the training: loss {loss:.3f} nats, by frequency "
        f"{by_frequency:.3f}; {more}")
    first_after_a_third = step - every < total / 3 <= step
    if (first_after_a_third or step == total) and loss > STILL_GUESSING * by_frequency:
        say(f"the loss is still that of guessing by frequency: {loss:.3f} nats against {by_frequency:.3f}. More "
            f"--epochs, a smaller --batch-size, another --learning-rate or a --warm-start may get it going")
