"""Part II, around the command: its flags. What may be asked of skip-gram and of GloVe?

Nothing here imports torch. Read next: `pretrain.static.units`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import positive_int, step_size
from minitransfer.apparatus.settings import flag, out_flag
from minitransfer.text.wordpiece import SPECIAL_PIECES
from pretrain.settings import PretrainSettings, training_flag

PRESETS = {  # glove: what differs for it
    "tiny": dict(hidden_size=64, window=8, epochs=20, learning_rate=0.2, min_count=2,
                 glove=dict(epochs=60, learning_rate=0.1)),
    "small": dict(hidden_size=256, window=8, epochs=3, learning_rate=0.15, min_count=5,
                  glove=dict(epochs=10, learning_rate=0.1)),
    "base": dict(hidden_size=512, window=8, epochs=5, learning_rate=0.15, min_count=5,
                 glove=dict(epochs=10, learning_rate=0.1)),
}

DESCRIPTION = """Train a vector for each word, or piece of a word, by skip-gram with negative sampling,
or by GloVe, from counts of which stand near each other.

examples:
  python -m pretrain.static --corpus sample --preset tiny --out runs/static-tiny
  python -m pretrain.static --corpus wikitext-2 imdb
  python -m pretrain.static --corpus wikitext-2 imdb --method glove
  python -m pretrain.static --corpus wikitext-2 imdb --pieces 16000

writes to --out (default: runs/static, with --pieces runs/static-pieces; of GloVe runs/glove, runs/glove-pieces):
config.json, model.safetensors (vectors, contexts, counts; of GloVe biases, too), vocab.txt, tokenizer.json for pieces,
metrics.jsonl, state/
on 2 cores: tiny 10 seconds on the sample; small 20 seconds on WikiText-2, 3 minutes with IMDB; base 3 times that"""


@dataclass(frozen=True)
class Settings(PretrainSettings):
    """The flags of `python -m pretrain.static`."""

    prog = "python -m pretrain.static"
    description = DESCRIPTION
    epilog = "glove: what differs with --method glove"
    presets = PRESETS

    method: str = flag("how vectors are learned", choices=("skipgram", "glove"), default="skipgram",
                      decides=False)  # config.json names glove with its model
    pieces: int | None = flag(
        "learn up to N word pieces from the text, and vectors of these, for pretrain.bert (default: vectors of words)",
        positive_int, metavar="N", default=None, decides=False)  # config.json names it with its unit
    hidden_size: int = training_flag("width of a vector", positive_int, "N")
    window: int = training_flag("words or pieces looked at to each side", positive_int, "N")
    epochs: int = training_flag("epochs over the text, or of GloVe over its counts", positive_int, "N")
    learning_rate: float = training_flag("of AdaGrad, at its highest", step_size, "X")
    min_count: int = training_flag("rarer words get no vector", positive_int, "N")
    out: str = out_flag(None)  # it depends on --pieces and --method

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Complete settings. Raises: UsageError for too few --pieces, and for --min-count beside them."""
        pieces, few = given.get("pieces"), len(SPECIAL_PIECES)
        if pieces is not None and pieces <= few:
            what = f"--pieces {pieces} leaves no room beside the {few} special ones"
            raise UsageError(what, "ask for some thousands")
        if pieces is not None and "min_count" in given:
            raise UsageError("--min-count has no meaning with --pieces: all have vectors", "leave one of the two out")
        place = "runs/glove" if given.get("method") == "glove" else "runs/static"
        return super().of(**{"out": place if pieces is None else f"{place}-pieces", **given})

    @classmethod
    def preset_values(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the preset fills in: of --method glove something of its own."""
        values = dict(super().preset_values(given))
        glove = values.pop("glove", {})
        return values | glove if given.get("method") == "glove" else values

    def config(self) -> dict[str, Any]:
        """What of the run's config is known before any text is read."""
        training = self.deciding(by_preset=True)
        model = {"hidden_size": self.hidden_size, **({"method": "glove"} if self.method == "glove" else {})}
        known = {"kind": "static", **self.deciding(), "model": model, "training": training}
        if self.pieces is not None:
            del training["min_count"]
            known |= {"unit": "pieces", "most_pieces": self.pieces}
        return known
