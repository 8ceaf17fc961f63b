"""Part V, around the command: its flags. They are BERT's, but for what is asked of the network.

Nothing here imports torch. Read next: `pretrain.gpt.text`.
"""

from dataclasses import dataclass
from typing import Any, Self

from minitransfer.apparatus.options import positive_int
from minitransfer.apparatus.settings import out_flag
from pretrain.bert.settings import SHAPES, PieceSettings, init_from_flag
from pretrain.settings import check_negatives, training_flag

SOFTMAX = {  # docs/recipe.md: at 16,000 pieces a sampled one takes half the time of a full one for nearly as low a loss
    "tiny": {"softmax": "full", "negatives": 256},
    "small": {"softmax": "sampled", "negatives": 1024},
    "base": {"softmax": "sampled", "negatives": 8192},
}
PRESETS = {name: {**shape, **SOFTMAX[name]} for name, shape in SHAPES.items()}

DESCRIPTION = """Train a GPT: BERT's network under a causal mask, which predicts the next piece at each place.

In two stages: word pieces and their static vectors, then the network, which begins with them.

examples:
  python -m pretrain.gpt
  python -m pretrain.gpt --corpus sample --out runs/gpt-sample
  python -m pretrain.gpt --warm-start none --out runs/gpt-cold
  python -m pretrain.gpt --corpus imdb --init-from runs/gpt --epochs 1 --out runs/gpt-imdb
  torchrun --nproc-per-node 2 -m pretrain.gpt

writes to --out: config.json, model.safetensors (encoder and head), tokenizer.json, metrics.jsonl, state/
on 2 cores: tiny a minute on the sample; small half an hour on WikiText-2, over an hour on the reviews; base is for a
GPU and WikiText-103"""


@dataclass(frozen=True)
class Settings(PieceSettings):
    """The flags of `python -m pretrain.gpt`."""

    prog = "python -m pretrain.gpt"
    description = DESCRIPTION
    presets = PRESETS
    kind, title, task = "gpt", "GPT", "the causal language model"

    init_from: str | None = init_from_flag("gpt")
    softmax: str = training_flag(
        "sampled: over the next piece and --negatives drawn pieces; full: over all of the vocabulary, as every "
        "perplexity is", choices=("sampled", "full"), decides=False)
    negatives: int = training_flag("pieces drawn for the sampled softmax", positive_int, "N")
    out: str = out_flag("runs/gpt")

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Complete settings. Raises: UsageError as those of all pieces, and for --negatives that nobody draws."""
        settings = super().of(**given)
        check_negatives(settings.softmax, given)
        return settings

    def config(self, origin: Any) -> dict[str, Any]:
        """What of the run's config is known before any text is read, its softmax among it."""
        return {**super().config(origin), "softmax": self.softmax}
