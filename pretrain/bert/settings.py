"""Part IV, around the command: its flags. Which text, which network, how long?

Nothing here imports torch. Read next: `pretrain.bert.text`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import directory_name, fraction, positive_int
from minitransfer.apparatus.settings import flag, out_flag, sized
from pretrain.settings import NetworkSettings, recipe_flag, training_flag

SHAPES = {  # of GPT too
    "tiny": dict(hidden_size=64, num_layers=2, num_heads=2, intermediate_size=256, max_positions=128,
                 vocab_size=2_000, seq_length=64, epochs=6, batch_size=16, learning_rate=4e-3, dropout=0.0),
    "small": dict(hidden_size=256, num_layers=4, num_heads=4, intermediate_size=1024, max_positions=512,
                  vocab_size=16_000, seq_length=256, epochs=4, batch_size=8, learning_rate=1e-3, dropout=0.0),
    "base": dict(hidden_size=512, num_layers=8, num_heads=8, intermediate_size=2048, max_positions=512,
                 vocab_size=30_000, seq_length=256, epochs=4, batch_size=128, learning_rate=5e-4, dropout=0.1),
}
MASKED = {"tiny": 0.15, "small": 0.4, "base": 0.15}  # the paper's, or what docs/recipe.md found better
PRESETS = {name: {**shape, "mask_probability": MASKED[name]} for name, shape in SHAPES.items()}
SIZES = ("hidden_size", "num_layers", "num_heads", "intermediate_size", "max_positions", "vocab_size")
LEAST_VOCABULARY = 100
LEAST_LENGTH = 3  # of a row: [CLS], a piece, [SEP]

DESCRIPTION = """Train a mini BERT by masked language modelling.

In two stages: word pieces and their static vectors, then the network, which begins with them.

examples:
  python -m pretrain.bert
  python -m pretrain.bert --corpus sample --out runs/bert-sample
  python -m pretrain.bert --warm-start none --out runs/bert-cold
  python -m pretrain.bert --corpus imdb --init-from runs/bert --epochs 1 --out runs/bert-imdb
  python -m pretrain.bert --init-from runs/bert --seq-length 512 --epochs 1 --out runs/bert-long
  torchrun --nproc-per-node 2 -m pretrain.bert

writes to --out: config.json, model.safetensors (encoder and head), tokenizer.json, metrics.jsonl, state/
on 2 cores: tiny a minute on the sample; small half an hour on WikiText-2; base is for a GPU and WikiText-103"""


def check_seq_length(seq_length: int, max_positions: int) -> None:
    """Raises: UsageError if rows of this length have no place for a piece, or more tokens than positions."""
    if not LEAST_LENGTH <= seq_length <= max_positions:
        what = f"--seq-length {seq_length} is outside {LEAST_LENGTH} to {max_positions}"
        raise UsageError(what, f"the network has {max_positions} positions, so choose a length among these")


def init_from_flag(kind: str) -> Any:
    """The flag --init-from of a command that trains a network of this kind."""
    return flag(f"a pretrain.{kind} run, to go on from with new text; its sizes and pieces are taken over, all else is "
                "the preset's", directory_name, metavar="RUN", default=None, exclusive="start", decides=False)


@dataclass(frozen=True)
class PieceSettings(NetworkSettings):
    """The flags of commands whose networks take pieces; config.json has the origin by its fingerprint.

    title: of its network.  task: what it is asked.  goes_on_from: how a user names the run whose pieces are taken over.
    """

    sizes, goes_on_from = SIZES, "--init-from"
    title: ClassVar[str]
    task: ClassVar[str]

    warm_start: str = flag(
        "a pretrain.static run with --pieces, whose pieces and vectors are begun with; auto is `static-pieces` beside "
        "--out, which is trained first where it does not suit; none: pieces from the text, embeddings at random",
        directory_name, metavar="RUN", default="auto", exclusive="start", decides=False)
    hidden_size: int = sized()
    num_layers: int = sized()
    num_heads: int = sized()
    intermediate_size: int = sized()
    max_positions: int = sized()
    batch_size: int = training_flag("rows of text in a step", positive_int, "N")
    seq_length: int = training_flag("tokens in a row, [CLS] and [SEP] too", positive_int, "N")
    vocab_size: int = training_flag("most pieces to learn from the text", positive_int, "N")

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Complete settings. Raises: UsageError for a --vocab-size or a --seq-length that cannot be."""
        settings, asked = super().of(**given), given.get("vocab_size")
        if asked is not None and asked < LEAST_VOCABULARY:
            what = f"--vocab-size {asked} leaves no room for the letters"
            raise UsageError(what, f"allow {LEAST_VOCABULARY} or more")
        if asked is not None and (settings.warm_start not in ("auto", "none") or settings.init_from):
            brought_by = cls.goes_on_from if settings.init_from else "--warm-start"
            raise UsageError(f"--vocab-size {asked} has no meaning where {brought_by} brings its own pieces",
                             "leave one out")
        if not settings.init_from:  # else the positions are those of that run
            check_seq_length(settings.seq_length, settings.max_positions)
        return settings

    @property
    def pieces(self) -> int:
        """How many pieces static vectors must be of, at most, to begin with."""
        return self.vocab_size

    @property
    def vector_size(self) -> int:
        """How wide static vectors must be to begin with."""
        return self.hidden_size


@dataclass(frozen=True)
class Settings(PieceSettings):
    """The flags of `python -m pretrain.bert`."""

    prog = "python -m pretrain.bert"
    description = DESCRIPTION
    presets = PRESETS
    kind, title, task = "bert", "BERT", "the masked language model"

    init_from: str | None = init_from_flag("bert")
    whole_words: bool = flag("mask all pieces of a word, or none", bool, default=False, decides=False)
    mask_probability: float = training_flag("share of pieces to be predicted; of held-out text always 15 %", fraction,
                                            "P", decides=False)
    mask_probability_end: float | None = recipe_flag(
        "that share at the end of the run, reached in a straight line", fraction, metavar="P", default=None)
    masks: str = recipe_flag("dynamic: drawn anew in each epoch; static: once for each row",
                             choices=("dynamic", "static"), default="dynamic")
    out: str = out_flag("runs/bert")

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Complete settings. Raises: UsageError as before, and for static masks of a share that changes."""
        settings = super().of(**given)
        if settings.masks == "static" and settings.mask_probability_end is not None:
            what = "--mask-probability-end has no meaning where --masks static draws once for the whole run"
            raise UsageError(what, "leave one out")
        return settings

    def masked_share(self, done: float) -> float:
        """The share of pieces to be masked after a share `done` of the steps."""
        p, end = self.mask_probability, self.mask_probability_end
        return p if end is None else p + (end - p) * done

    def config(self, origin: Any) -> dict[str, Any]:
        """What of the run's config is known before any text is read, how it masks among it."""
        masking = {"probability": self.mask_probability, "whole_words": self.whole_words}
        return {**super().config(origin), "masking": masking}
