"""Part III, around the command: its flags. Which text, which network, how long?

Nothing here imports torch. Read next: `pretrain.bilm.text`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import directory_name, non_negative_int, positive_int
from minitransfer.apparatus.settings import flag, out_flag, sized
from minitransfer.text.words import SPECIAL_WORDS
from pretrain.settings import NetworkSettings, check_negatives, recipe_flag, training_flag

# Of the paper: 2,048, a quarter of those below, which are as many as a warm start makes use of.
PAPER_FILTERS = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))
FILTERS = ((2, 512), (3, 1024), (4, 1536), (5, 2048), (6, 2048), (7, 1024))  # (width in bytes, how many)
PRESETS = {  # pure: what differs without a warm start, where each step spells its words anew
    # Chosen for its time, and by cosine with the static vectors and perplexity of the sample's held-out text: the
    # sample's labelled reviews cannot choose, since what transfer must bring is in none of those to train on.
    "tiny": dict(hidden_size=64, projection_size=32, filters=((2, 64), (3, 256), (4, 512), (5, 768), (6, 448)),
                 vocab_size=5_000, epochs=2, batch_size=16, window=32, negatives=256, learning_rate=8e-3,
                 dropout=0.0,
                 pure=dict(filters=((1, 8), (2, 8), (3, 16), (4, 32), (5, 64), (6, 128), (7, 256)), epochs=6)),
    "small": dict(hidden_size=256, projection_size=128, filters=FILTERS, vocab_size=50_000, epochs=4, batch_size=32,
                  window=64, negatives=1024, learning_rate=4e-3, dropout=0.1, pure=dict(filters=PAPER_FILTERS)),
    "base": dict(hidden_size=1024, projection_size=256, filters=FILTERS, vocab_size=200_000, epochs=2, batch_size=128,
                 window=64, negatives=8192, learning_rate=2e-3, dropout=0.1, pure=dict(filters=PAPER_FILTERS)),
}
SIZES = ("hidden_size", "projection_size", "filters")
MOST_HIGHWAYS = 8

DESCRIPTION = """Train a forward and a backward language model over a character CNN: the encoder of ELMo.

In three stages: static vectors, how to spell them, and the language model. Without the first two (--warm-start none)
the spelling is learned by the language model alone, as in the paper.

examples:
  python -m pretrain.bilm
  python -m pretrain.bilm --corpus sample --out runs/bilm-sample
  python -m pretrain.bilm --warm-start none --out runs/bilm-pure
  python -m pretrain.bilm --corpus imdb --init-from runs/bilm --epochs 1 --out runs/bilm-imdb
  torchrun --nproc-per-node 2 -m pretrain.bilm

writes to --out: config.json, model.safetensors (encoder and softmax), vocab.txt, metrics.jsonl, state/
on 2 cores: tiny a minute on the sample; small a quarter of an hour on WikiText-2, and half an hour without a warm
start; base is for a GPU and WikiText-103"""


@dataclass(frozen=True)
class Settings(NetworkSettings):
    """The flags of `python -m pretrain.bilm`. config.json has the origin by its fingerprint."""

    prog = "python -m pretrain.bilm"
    kind, sizes = "bilm", SIZES
    description = DESCRIPTION
    epilog = "pure: what differs with --warm-start none"
    presets = PRESETS

    warm_start: str = flag(
        "a pretrain.static run, whose vectors the character CNN first learns to spell; auto is `static` beside --out, "
        "which is trained first where it does not suit; none: the character CNN learns by the language model alone",
        directory_name, metavar="RUN", default="auto", exclusive="start", decides=False)
    init_from: str | None = flag(
        "a pretrain.bilm run, to go on from with new text; its sizes are taken over, all else is the preset's",
        directory_name, metavar="RUN", default=None, exclusive="start", decides=False)
    charcnn: str = flag(
        "whether the language model may change the character CNN; auto fixes one that was warm-started, and then each "
        "word is spelled only once", choices=("auto", "fixed", "learning"), default="auto", decides=False)
    highways: int = flag("highway layers of a new character CNN; the paper has 2", non_negative_int, metavar="N",
                         default=0, decides=False)  # config.json has them with the shape of the network
    softmax: str = flag(
        "sampled: over the target and --negatives drawn words; full: over all of the vocabulary, as every perplexity "
        "is", choices=("sampled", "full"), default="sampled")
    softmax_optimizer: str = recipe_flag("of the softmax; AdaGrad was ELMo's, too", choices=("adagrad", "adamw"),
                                         default="adagrad")
    hidden_size: int = training_flag("units of each LSTM layer", positive_int, "N")
    projection_size: int = sized()
    filters: tuple[tuple[int, int], ...] = sized()
    batch_size: int = training_flag("rows of text encoded side by side", positive_int, "N")
    window: int = training_flag("tokens back-propagated through", positive_int, "N")
    negatives: int = training_flag("words drawn for the sampled softmax", positive_int, "N")
    vocab_size: int = training_flag("most words the softmax can predict", positive_int, "N")
    out: str = out_flag("runs/bilm")

    @classmethod
    def preset_values(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the preset fills in: of --warm-start none something of its own."""
        values = dict(super().preset_values(given))
        pure = values.pop("pure", {})
        return values | pure if given.get("warm_start") == "none" and not given.get("init_from") else values

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Complete settings. Raises: UsageError for what cannot be, or what --init-from brings with it."""
        settings, special = super().of(**given), len(SPECIAL_WORDS)
        check_negatives(settings.softmax, given)
        if settings.vocab_size <= special:
            what = f"--vocab-size {settings.vocab_size} leaves no room for words: the first {special} are"
            raise UsageError(f"{what} {', '.join(SPECIAL_WORDS)}", "ask for some thousands")
        if settings.highways > MOST_HIGHWAYS:
            raise UsageError(f"--highways {settings.highways} is too deep", f"use {MOST_HIGHWAYS} or fewer")
        for name in ("highways", "hidden_size"):
            if settings.init_from and name in given:
                what = f"--{name.replace('_', '-')} {given[name]} has no meaning where --init-from brings its own"
                raise UsageError(what, "leave one out")
        return settings

    @property
    def vector_size(self) -> int:
        """How wide static vectors must be to begin with: as a layer, both directions together."""
        return 2 * self.projection_size

    def config(self, origin: Any) -> dict[str, Any]:
        """What of a run's config is known before any text is read, what becomes of its character CNN among it."""
        return {**super().config(origin), "charcnn": "fixed" if self.keeps_charcnn(origin) else "learning"}

    def keeps_charcnn(self, origin: Any) -> bool:
        """Whether the language model leaves the character CNN as it is; `auto` fixes one that was warm-started."""
        if self.charcnn != "auto" or origin is None:
            return self.charcnn == "fixed"
        return origin.kind == "static" or origin.config.get("charcnn") == "fixed"
