"""The flags that all pretraining commands have. Nothing here imports torch.

Read next: `pretrain.shared`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import fraction, non_negative_float, positive_int, probability, step_size
from minitransfer.apparatus.settings import RunSettings, SavingSettings, SeedSettings, flag, precision_flag
from minitransfer.text import CORPORA
from minitransfer.text.plain import ENDINGS, SMALL, corpus_name, is_small

WEIGHT_DECAY = 0.01


def training_flag(help: str, convert: Callable[[str], Any] = str, metavar: str | None = None, **more: Any) -> Any:
    """A flag of the training; where it is not given, the preset decides."""
    return flag(help, convert, metavar=metavar, group="training (default: by preset)", by_preset=True, **more)


def recipe_flag(help: str, convert: Callable[[str], Any] = str, **more: Any) -> Any:
    """A flag of how a network is trained, the same for all presets."""
    return flag(help, convert, group="recipe (docs/recipe.md)", **more)


@dataclass(frozen=True)
class PretrainSettings(SavingSettings, SeedSettings, RunSettings):
    """What to learn from, and how large to learn. config.json has the corpus by its fingerprint."""

    corpus: tuple[str, ...] = flag(
        f"text to learn from, one or several of {', '.join(CORPORA)}, or of your own files and folders of UTF-8 text "
        f"({', '.join(ENDINGS)}; blank lines part documents, see docs/own-text.md); auto is wikitext-2 if it can be "
        "had, and else the sample (default: auto)", corpus_name, metavar="NAME", many=True, default=("auto",),
        decides=False)
    preset: str = flag(
        "sizes of the network, and the default of every training flag below; auto is tiny for the sample and for own "
        f"text below {SMALL / 1e6:.0f} MB, and small for all other text", choices=("auto", "tiny", "small", "base"),
        default="auto")
    given: Mapping[str, Any] = field(kw_only=True, repr=False, metadata={"by_preset": False, "decides": False})

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Complete settings, the preset among them; what was `given` is kept, so that it can be completed anew."""
        preset = given.get("preset", "auto")
        if preset == "auto":
            preset = "tiny" if is_small(given.get("corpus", ("auto",))) else "small"
        return super().of(**{**given, "preset": preset, "given": given})

    def but(self, **changes: Any) -> Self:
        """What the same flags come to with some of them changed."""
        return type(self).of(**{**self.given, **changes})


def check_negatives(softmax: str, given: Mapping[str, Any]) -> None:
    """Raises: UsageError for --negatives where the softmax is over all of the vocabulary."""
    if "negatives" in given and softmax == "full":
        raise UsageError("--negatives has no meaning where --softmax is full", "add --softmax sampled, or leave it out")


@dataclass(frozen=True)
class NetworkSettings(PretrainSettings):
    """What a network begins with, and which static vectors it needs to begin with them.

    kind: of the run.  sizes: the fields that --init-from brings along.
    """

    kind: ClassVar[str]
    sizes: ClassVar[tuple[str, ...]]

    warm_start: str = flag("", default="auto")
    init_from: str | None = flag("", default=None)
    epochs: int = training_flag("epochs over the text", positive_int, "N")
    learning_rate: float = training_flag("of AdamW, at its highest", step_size, "X")
    dropout: float = training_flag("share of units dropped", probability, "P")
    precision: str = precision_flag()
    optimizer: str = recipe_flag("of hidden matrices; embeddings, biases and softmax keep theirs",
                                 choices=("adamw", "muon"), default="adamw")
    weight_decay: float = recipe_flag("share of the learning rate by which each step shrinks matrices",
                                      non_negative_float, metavar="X", default=WEIGHT_DECAY)
    average_weights: float | None = recipe_flag(
        "leave an exponential moving average of the weights, over about this share of the steps", fraction,
        metavar="SHARE", default=None)

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Complete settings; what goes on from another run needs no vectors."""
        return super().of(**({**given, "warm_start": "none"} if given.get("init_from") else given))

    @property
    def pieces(self) -> int | None:
        """How many pieces the vectors must be of, at most; None for vectors of words."""
        return None

    @property
    def vector_size(self) -> int:
        """How wide the vectors must be."""
        raise NotImplementedError

    def config(self, origin: Any) -> dict[str, Any]:
        """What of a run's config is known before any text is read; of --init-from the sizes are taken over."""
        taken_over = self.sizes if self.init_from else ()
        training = {name: value for name, value in self.deciding(by_preset=True).items() if name not in taken_over}
        return {"kind": self.kind, **self.deciding(), "training": training}
