"""Part VI: the flags of `python -m finetune.imdb`, and what each kind of run begins with.

What is not said on the command line comes from one table, `DEFAULTS`. Nothing here imports torch.

Read next: `finetune.imdb.train`.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from finetune.settings import LabelSettings
from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import (
    directory_name,
    non_negative_float,
    non_negative_int,
    positive_int,
    probability,
    share,
    step_size,
)
from minitransfer.apparatus.settings import SavingSettings, flag, out_flag, precision_flag
from minitransfer.transfer import POOLS

MODES = ("frozen", "top", "finetune", "gradual", "scratch")
HEADS = ("mean", "bilstm", "cls", "last")
FEW_LABELS = 2_000  # with more of them a mean head has learnt in so many epochs:
EPOCHS_OVER_MANY = {"frozen": 20, "top": 3, "finetune": 3, "gradual": 4}
OF_HEAD = ("head", "pool", "head_size", "dropout")
ONLY_LEARNING = ("encoder_rate", "encoder_dropout", "layer_decay")  # flags of modes in which the encoder learns
WITHOUT_LM_LOSS = {"frozen": "a frozen encoder does not learn, and so forgets nothing",
                   "scratch": "what is trained from scratch has no language model to go on with"}


class Defaults(NamedTuple):
    """What a flag of the training is where it is not given; None has no meaning where the encoder does not learn."""

    epochs: int
    encoder_rate: float | None
    layer_decay: float | None
    weight_decay: float
    dropout: float
    encoder_dropout: float | None
    patience: int


DEFAULTS = {  # by mode and head: epochs, encoder_rate, layer_decay, weight_decay, dropout, encoder_dropout, patience
    ("frozen", "mean"): Defaults(60, None, None, 3.0, 0.2, None, 60),
    ("frozen", "bilstm"): Defaults(8, None, None, 0.01, 0.3, None, 2),
    ("frozen", "cls"): Defaults(60, None, None, 0.01, 0.2, None, 15),
    ("top", "mean"): Defaults(6, 2e-4, 1.0, 0.01, 0.3, 0.0, 2),
    ("top", "bilstm"): Defaults(8, 5e-4, 1.0, 0.01, 0.3, 0.0, 2),
    ("top", "cls"): Defaults(5, 2e-4, 1.0, 0.01, 0.1, 0.1, 2),
    ("finetune", "mean"): Defaults(6, 2e-4, 0.4, 0.01, 0.3, 0.0, 3),
    ("finetune", "bilstm"): Defaults(8, 5e-4, 0.4, 0.01, 0.3, 0.0, 2),
    ("finetune", "cls"): Defaults(4, 2e-4, 0.9, 0.01, 0.1, 0.1, 2),
    ("gradual", "mean"): Defaults(6, 2e-4, 0.4, 0.01, 0.3, 0.0, 4),
    ("gradual", "bilstm"): Defaults(8, 5e-4, 0.4, 0.01, 0.3, 0.0, 4),
    ("gradual", "cls"): Defaults(8, 2e-4, 0.9, 0.01, 0.1, 0.1, 6),
    ("scratch", "mean"): Defaults(12, 1e-3, 1.0, 0.01, 0.3, 0.0, 4),
    ("scratch", "bilstm"): Defaults(8, 1e-3, 1.0, 0.01, 0.3, 0.0, 2),
    ("scratch", "cls"): Defaults(12, 5e-4, 1.0, 0.01, 0.1, 0.1, 6),
}
DEFAULTS |= {(mode, "last"): DEFAULTS[mode, "cls"] for mode in MODES}  # so that a GPT is compared with BERT

DESCRIPTION = """Train a classifier of film reviews, or of texts of your own, on top of a pretrained encoder.

examples:
  python -m finetune.imdb --mode frozen
  python -m finetune.imdb --mode frozen --encoder runs/static --labels 500 --out runs/static-500
  python -m finetune.imdb --mode finetune --encoder runs/bilm-imdb --out runs/finetuned
  python -m finetune.imdb --mode scratch --labels 500 --out runs/scratch-500
  python -m finetune.imdb --data train.csv test.csv --label-column stars --out runs/own
  torchrun --nproc-per-node 2 -m finetune.imdb --mode finetune --out runs/finetuned

writes to --out: config.json, model.safetensors (encoder, mix, head), vocab.txt, logits.safetensors,
metrics.jsonl, results.json, state/
on 2 cores, all of IMDB: frozen about 6 minutes, and seconds once its features are kept; the others encode every token
in every epoch: about 4 minutes an epoch for frozen with bilstm, 5 to 15 minutes where the encoder learns"""


def _defaults_table() -> str:
    """The defaults by mode and head, as a table for --help."""
    names = [name.rpartition("_")[::2] for name in Defaults._fields]  # of two words each has a line of its own
    widths = [2 + max(map(len, words)) for words in names]
    table: list[tuple[str, list[Any]]] = [("", [words[i] for words in names]) for i in (0, 1)]
    table += [(" ".join(kind), ["-" if v is None else v for v in values]) for kind, values in DEFAULTS.items()]
    rows = (f"  {kind:16}" + "".join(f"{v:>{width}}" for v, width in zip(values, widths)) for kind, values in table)
    fewer = ", ".join(f"{mode} {epochs}" for mode, epochs in EPOCHS_OVER_MANY.items())
    note = f"epochs of the mean head with more than {FEW_LABELS:,} labels: {fewer}"
    return "\n".join(["defaults by mode and head:", *rows, note])


def training_flag(help: str, convert: Any, metavar: str, default: Any = None) -> Any:
    """A flag of the training; with a default of None it is one that depends on mode and head."""
    group = "training (what has no default here has one by mode and head: see the end)"
    return flag(help, convert, metavar=metavar, default=default, group=group)


@dataclass(frozen=True)
class Settings(SavingSettings, LabelSettings):
    """The flags of `python -m finetune.imdb`. config.json has encoder and reviews by their fingerprints.

    Two fields may be None until more is known: `epochs` depends on the number of labels, `max_tokens` on the encoder.
    """

    prog = "python -m finetune.imdb"
    description = DESCRIPTION
    epilog = _defaults_table()

    encoder: str = flag("a finished run of pretrain.bilm, bert, gpt or static; scratch takes only its shape",
                        directory_name, metavar="DIR", default="runs/bilm", decides=False)
    mode: str = flag(
        "how much of the encoder learns beside mix and head. frozen: nothing; top: its upper layers; finetune: all "
        "layers, lower ones more slowly; gradual: one more layer in each epoch; scratch: all, from random weights "
        "instead of pretrained ones", choices=MODES, default="frozen")
    unfreeze: int = flag("how many upper layers learn in mode top", positive_int, metavar="N", default=1)
    head: str = flag(
        "mean: W2 tanh(W1 mean) + b; bilstm: an LSTM over the tokens, which must be encoded anew in each epoch; cls: "
        "W h_[CLS] + b, for a pretrain.bert run; last: the same of the last token, for a pretrain.gpt run",
        choices=HEADS, default="mean")
    pool: str = flag("how the mean head's vector is made of tokens (default: mean, as in the lecture)",
                     choices=tuple(POOLS), default="mean")
    max_tokens: int | None = flag(
        "tokens encoded of a review; a longer one keeps its head and tail (default: 512, or as many as a BERT was "
        "pretrained on, if fewer)", positive_int, metavar="N", default=None)
    no_cache: bool = flag(
        "encode the texts anew, and do not keep their features (otherwise kept in `cache` beside --out)", bool,
        default=False)
    measure_forgetting: bool = flag(
        "report the encoder's loss on text that its pretraining held out, before and after; reads that corpus again, "
        "and at most 100,000 held-out tokens", bool, default=False)
    epochs: int | None = training_flag("epochs over the labelled reviews at most", positive_int, "N")
    batch_size: int = training_flag("reviews per step", positive_int, "N", 32)
    learning_rate: float = training_flag("of AdamW for the head, at its highest", step_size, "X", 1e-3)
    encoder_rate: float | None = training_flag("learning rate of the encoder's uppermost layer", step_size, "X")
    layer_decay: float | None = training_flag("each layer's rate is X times that of the layer above it", share, "X")
    weight_decay: float = training_flag("of matrices, by AdamW", non_negative_float, "X")
    dropout: float = training_flag("share of the head's inputs dropped", probability, "P")
    encoder_dropout: float | None = training_flag("share of the encoder's units dropped while it learns", probability,
                                                  "P")
    lm_weight: float = training_flag(
        "λ of L_task + λ L_lm: how much the question of pretraining counts, asked of the same reviews; takes about "
        "as long again", non_negative_float, "X", 0.0)
    adversarial: float = training_flag(
        "ε: be right as well where all token vectors are shifted by this share of their length towards a larger loss "
        "(0.02, say); takes three times as long", non_negative_float, "X", 0.0)
    patience: int = training_flag(
        "epochs without a lower validation loss before stopping; 0 trains to the end, and keeps the last weights "
        "instead of the best", non_negative_int, "N")
    head_size: int = training_flag("units of the head's hidden layer", positive_int, "N", 64)
    precision: str = precision_flag()
    out: str = out_flag("runs/imdb")

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Settings that are complete but for `epochs` and `max_tokens`.

        Raises: UsageError for values that contradict each other.
        """
        mode, head = given.get("mode", "frozen"), given.get("head", "mean")
        if head != "mean" and "pool" in given:
            needed = {"bilstm": "every token", "cls": "the first token alone", "last": "the last token alone"}[head]
            raise UsageError(f"--pool {given['pool']} is for the mean head: the {head} head takes {needed}",
                             "leave out --pool, or use --head mean")
        if head in ("cls", "last") and "head_size" in given:
            raise UsageError(f"--head-size is for the heads mean and bilstm: the {head} head has no hidden layer",
                             "leave it out, or use --head mean")
        if mode != "top" and "unfreeze" in given:
            raise UsageError(f"--unfreeze is for --mode top, not {mode}", "leave it out, or use --mode top")
        if mode == "frozen" and any(name in given for name in ONLY_LEARNING):
            raise UsageError("--encoder-rate, --encoder-dropout and --layer-decay say how an encoder learns, and a "
                             "frozen one does not", "leave them out, or use --mode finetune")
        if given.get("no_cache") and (mode != "frozen" or head == "bilstm"):
            raise UsageError("--no-cache: features are kept of a frozen encoder alone, and not under the bilstm head",
                             "leave it out, for nothing would be kept")
        if mode in WITHOUT_LM_LOSS and given.get("lm_weight"):
            raise UsageError(f"--lm-weight: {WITHOUT_LM_LOSS[mode]}", "leave it out, or use --mode finetune")
        if mode == "frozen" and given.get("adversarial"):
            raise UsageError("--adversarial: a frozen encoder does not learn to withstand anything",
                             "leave it out, or use --mode finetune")
        if mode == "scratch" and given.get("measure_forgetting"):
            raise UsageError("--measure-forgetting: what is trained from scratch has nothing to forget",
                             "leave it out, or use --mode finetune")
        usual = {**DEFAULTS[mode, head]._asdict(), "epochs": None, "pool": head if head in ("cls", "last") else "mean"}
        return super().of(**{**usual, **given})

    def with_epochs(self, num_labels: int) -> Self:
        """With the epochs that are usual for so many labelled reviews, where no flag says otherwise."""
        usual = DEFAULTS[self.mode, self.head].epochs
        if self.head == "mean" and num_labels > FEW_LABELS:
            usual = EPOCHS_OVER_MANY.get(self.mode, usual)
        return replace(self, epochs=self.epochs or usual)

    def of_head(self) -> dict[str, Any]:
        """What a classifier needs to be built again, beside its encoder."""
        return {name: getattr(self, name) for name in OF_HEAD}

    def config(self) -> dict[str, Any]:
        """What config.json has of the settings."""
        deciding = {name: value for name, value in self.deciding().items() if name not in OF_HEAD}
        return {"kind": "transfer", **deciding, "model": self.of_head()}
