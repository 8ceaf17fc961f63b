"""Part VI, around the command: forgetting. What does an encoder lose of its language while it learns a task?

**Catastrophic forgetting**: fine-tuning moves weights that were good at predicting text, and nothing in the task's
loss holds them there; a frozen encoder cannot forget (lecture 3.2, 3.3). How much is lost can be measured: the
encoder is given back the head that pretraining trained and transfer leaves behind, and is asked again about text that
pretraining held out.

    forgetting = after − before,  each the mean −log p per token of that text, in nats

For a biLM that is the mean of both directions, over the full vocabulary of its run; for a GPT it is over all pieces;
for BERT over masked ones, the same each time. Where the corpus is imdb, reviews that it held out may be among those of
the task: what is learned of them there is their label, not their words. With `finetune.imdb.auxiliary` their words are
learned, too, so these are not asked about.

Read next: `finetune.imdb.auxiliary`.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitransfer.apparatus.durable import entry
from minitransfer.apparatus.errors import CheckpointError, DataError, NumericsError, UsageError
from minitransfer.apparatus.progress import say
from minitransfer.apparatus.runtime import SideBySide
from minitransfer.apparatus.saved import ANOTHER, LoadedRun
from minitransfer.bert.evaluation import mask_once, masked_loss, masker
from minitransfer.bert.masking import IGNORE_INDEX
from minitransfer.elmo.charcnn import word_vectors
from minitransfer.elmo.evaluation import held_out_loss
from minitransfer.gpt.causal import next_pieces
from minitransfer.gpt.evaluation import in_own_order
from minitransfer.text.corpora import Corpus, as_saved_corpus, find_data_dir, load_corpus, names_of
from minitransfer.text.packing import pack
from minitransfer.text.words import EOS_ID, PAD_ID, Vocabulary, spell_all, token_stream
from minitransfer.transfer.encoders import BertEncoder, BiLMEncoder, Encoder, GptEncoder
from minitransfer.transfer.loading import softmax_of, with_head

MOST_TOKENS = 100_000  # of held-out text are encoded, so that a measurement takes seconds and not minutes
Check = Callable[[], None]  # called now and then, and may raise Stopped


@dataclass(frozen=True)
class HeldOut:
    """Text that pretraining held out, and how to ask an encoder about it.

    num_tokens: how much of it is encoded.  loss: works out the loss of the encoder as it is now, in nats.
    """

    corpus: str
    num_tokens: int
    loss: Callable[[Check], float]

    def measure(self, check: Check = lambda: None) -> float:
        """The loss now. Raises: NumericsError if it is no finite number; Stopped if `check` does."""
        say(f"forgetting: asking the encoder about {self.num_tokens:,} held-out tokens of {self.corpus}")
        nats = self.loss(check)
        if not math.isfinite(nats):
            what = f"the encoder's loss on held-out text of {self.corpus} is {nats:.4g} nats"
            raise NumericsError(what, "begin again with a smaller --encoder-rate and another --out")
        return nats

    def summary(self, before: float, after: float) -> dict[str, Any]:
        """What results.json tells of it; held_out_tokens are those that were encoded, at most the first 100,000."""
        return {"corpus": self.corpus, "held_out_tokens": self.num_tokens, "before": before, "after": after}


def hold_out(run: LoadedRun, encoder: Encoder, data_dir: str | None, offline: bool,
             learned: Collection[str] = ()) -> HeldOut:
    """Load what the run's pretraining held out, and make ready to measure an encoder that came from this run.

    learned: texts whose words the encoder is about to learn, which are left out.
    Raises: UsageError if nothing is left; CheckpointError if the run does not tell how it was pretrained, or has no
    head that fits; DataError if the corpus is no longer the same; NetworkError if it is not to be had.
    """
    corpus = without(read_corpus(run, data_dir, offline), learned)
    if isinstance(encoder, BiLMEncoder):
        return of_words(run, encoder, corpus)
    assert isinstance(encoder, BertEncoder)
    return of_pieces(run, encoder, corpus)


def check_has_predicted(run: LoadedRun, encoder: Encoder) -> None:
    """Raises: UsageError for static vectors, which have nothing to forget."""
    if not isinstance(encoder, (BiLMEncoder, BertEncoder)):
        what = f"--measure-forgetting: {run.path} holds static vectors, which never predicted a text"
        raise UsageError(what, "leave it out, or give the --encoder of a pretrain.bilm, bert or gpt run")


def without(corpus: Corpus, learned: Collection[str]) -> Corpus:
    """A corpus whose held-out part has none of these texts. Raises: UsageError if it has no others."""
    validation = [text for text in corpus.validation if text not in learned]
    if not validation:
        raise UsageError(f"--measure-forgetting: all that was held out of {corpus.name} is learned by --lm-weight",
                         "leave one of the two out")
    return replace(corpus, validation=validation)


def read_corpus(run: LoadedRun, data_dir: str | None, offline: bool) -> Corpus:
    """The corpus that a run was pretrained on, with the same part of it held out.

    Raises: DataError if what it was trained on is no longer the same text; otherwise as `hold_out`.
    """
    name, expected = config_value(run, str, "corpus.name"), config_value(run, str, "corpus.fingerprint")
    names = names_of(run.config["corpus"])
    if not names:
        what = f"--measure-forgetting: {run.path} was pretrained on {name[:80]!r}, which is no corpus known here"
        raise CheckpointError(what, "leave it out, or give another --encoder")
    say(f"forgetting: reading {name}, which the encoder was pretrained on")
    corpus = load_corpus(names, find_data_dir(data_dir), offline=offline)
    actual = as_saved_corpus(corpus)
    if actual != run.config["corpus"]:
        what = (f"corpus {name} is not the text that {run.path} was pretrained on: its sha256 begins "
                f"{actual['fingerprint'][:12]}, and was {expected[:12]}")
        raise DataError(what, "give the --data-dir that it was pretrained from, or leave out --measure-forgetting; of "
                              "imdb and own text earlier versions made another order")
    return corpus


def of_words(run: LoadedRun, encoder: BiLMEncoder, corpus: Corpus) -> HeldOut:
    """Held-out text for a biLM, asked for each word by its run's softmax. Raises: CheckpointError as `hold_out`."""
    vocabulary, softmax = run.parsed("vocab.txt", Vocabulary.from_text), softmax_of(run, encoder)
    device = softmax.bias.device
    stream = vocabulary.encode(token_stream(corpus.validation, corpus.marks_unknown), grow=True)
    token_ids = stream[:MOST_TOKENS]
    used = np.unique([PAD_ID, EOS_ID, *token_ids])  # <eos> stands before the first word
    spelling = torch.from_numpy(spell_all([vocabulary.words[i] for i in used]))

    def loss(check: Check) -> float:
        """The mean of both directions."""
        table = torch.zeros(len(vocabulary), encoder.hidden_size, device=device)
        table[torch.from_numpy(used).to(device)] = word_vectors(encoder.bilm.charcnn, spelling)
        with SideBySide(2, device) as side_by_side:
            return sum(held_out_loss(encoder.bilm.stacks(), softmax, table, token_ids, side_by_side, check)) / 2

    return HeldOut(corpus.name, len(token_ids), loss)


def of_pieces(run: LoadedRun, encoder: BertEncoder, corpus: Corpus) -> HeldOut:
    """Held-out text for BERT or GPT, asked by its run's head for masked pieces, as masked there, or for each next one.

    Raises: DataError if no piece came to be masked; CheckpointError as `hold_out`.
    """
    (T, batch_size), seed = row_sizes(run, encoder), config_value(run, int, "seed")
    if isinstance(encoder, GptEncoder):
        asked = next_pieces(in_own_order(rows_of(corpus, encoder, T + 2), seed))
    else:
        asked = mask_once(rows_of(corpus, encoder, T), masker(encoder.wordpiece), seed)
    inputs, labels = (part[: max(1, MOST_TOKENS // T)] for part in asked)
    if not (labels != IGNORE_INDEX).any():
        what = f"none of {labels.numel():,} held-out tokens of {corpus.name} came to be masked"
        raise DataError(what, "leave out --measure-forgetting")
    model = with_head(run, encoder)

    def loss(check: Check) -> float:
        """The mean over all that is asked for."""
        return masked_loss(model, inputs, labels, batch_size, check)["held_out_loss"]

    return HeldOut(corpus.name, inputs.numel(), loss)


def row_sizes(run: LoadedRun, encoder: BertEncoder) -> tuple[int, int]:
    """How long a run's rows of pieces were, and how many made a batch. Raises: CheckpointError if they cannot be."""
    most = encoder.max_tokens
    T, batch_size = (config_value(run, int, f"training.{name}") for name in ("seq_length", "batch_size"))
    if not 3 <= T <= most or batch_size < 1:
        what = f"{run.path / 'config.json'} tells of rows of {T} tokens, {batch_size} at a time, and {most} positions"
        raise CheckpointError(what, ANOTHER)
    return T, batch_size


def rows_of(corpus: Corpus, encoder: BertEncoder, length: int) -> Tensor:
    """What a corpus holds out, as rows of an encoder's pieces: (N, length) int32."""
    return torch.from_numpy(pack(encoder.wordpiece.encode(corpus.validation, corpus.marks_unknown), length))


def config_value(run: LoadedRun, kind: type, name: str) -> Any:
    """What a run's config says under a dotted name. Raises: CheckpointError if nothing there is of this kind."""
    value = entry(run.config, name)
    if type(value) is not kind:  # isinstance would take True for a number
        what = f"--measure-forgetting needs to know {name}, and config.json in {run.path} does not tell"
        raise CheckpointError(what, "leave it out, or give the --encoder of another run")
    return value
