"""Part VI, around the baseline's command: its flags. Nothing here imports torch.

Read next: `finetune.bag.train`.
"""

from dataclasses import dataclass
from typing import Any, Self

from finetune.settings import LabelSettings
from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import positive_float, positive_int
from minitransfer.apparatus.settings import flag, out_flag

LONGEST = 3  # words of an n-gram; the numbers that tell n-grams of four words apart would not fit 64 bits
STRENGTHS = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03)

DESCRIPTION = """Train a classifier that counts words and pairs of words, and knows nothing beforehand.

examples:
  python -m finetune.bag
  python -m finetune.bag --labels 500 --out runs/bag-500
  python -m finetune.bag --ngrams 3 --out runs/bag-3
  python -m finetune.bag --data sample --strengths 10 1 --out runs/bag-sample

writes to --out: config.json, model.safetensors (one weight per n-gram), ngrams.txt, logits.safetensors,
metrics.jsonl, results.json
on 2 cores, all of IMDB: about a minute"""


@dataclass(frozen=True)
class Settings(LabelSettings):
    """The flags of `python -m finetune.bag`. config.json has the reviews by their fingerprints."""

    prog = "python -m finetune.bag"
    description = DESCRIPTION

    ngrams: int = flag(f"words of the longest n-grams that are counted, {LONGEST} at most", positive_int, metavar="N",
                       default=2)
    strengths: tuple[float, ...] = flag(
        "L2 penalties λ; that with the lowest validation loss is kept "
        f"(default: {' '.join(f'{strength:g}' for strength in STRENGTHS)})", positive_float, metavar="X", many=True,
        default=STRENGTHS)
    out: str = out_flag("runs/bag")

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Complete settings, each strength once. Raises: UsageError for longer n-grams than can be told apart."""
        settings = super().of(**{**given, "strengths": tuple(dict.fromkeys(given.get("strengths", STRENGTHS)))})
        if settings.ngrams > LONGEST:
            raise UsageError(f"--ngrams {settings.ngrams}: n-grams have {LONGEST} words at most", "choose 1, 2 or 3")
        return settings

    def config(self) -> dict[str, Any]:
        """What config.json has of the settings."""
        return {"kind": "bag", "mode": "bag", **self.deciding()}
