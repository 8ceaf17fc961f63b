"""Part VI, around prompting: its flags. Nothing here imports torch.

Read next: `finetune.prompt.score`.
"""

from dataclasses import dataclass
from typing import Any, Self

from finetune.settings import check_labels
from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import directory_name, non_negative_int, positive_int, step_size
from minitransfer.apparatus.settings import CommandSettings, device_flag, flag, threads_flag
from minitransfer.text import REVIEWS

DESCRIPTION = """Classify film reviews by what a language model thinks has been left out, with no label or with few.

Four templates and four pairs of words, fixed in minitransfer/transfer/prompts.toml, are all asked and all reported:
there is no label to choose one by. A BERT is asked what stands at [MASK]; a GPT what comes next, so only where the gap
follows the review. With --labels the network learns first, by the first template and the first pair alone.

examples:
  python -m finetune.prompt runs/bert
  python -m finetune.prompt runs/bert-imdb --reviews 2000
  python -m finetune.prompt runs/bert-imdb --labels 100
  python -m finetune.prompt runs/gpt-imdb --examples 4 --reviews 2000

Nothing is written but stdout. On 2 cores about 8 minutes for all reviews to test on"""
TUNING = "tuning, with --labels"
ONLY_TUNING = ("epochs", "batch_size", "learning_rate")


@dataclass(frozen=True)
class Settings(CommandSettings):
    """The flags of `python -m finetune.prompt`."""

    prog = "python -m finetune.prompt"
    description = DESCRIPTION

    run: str = flag("the directory of a run of pretrain.bert or gpt", directory_name, metavar="RUN", positional=True)
    labels: int | None = flag(
        "first tune the whole network on N labelled reviews, as many of each class, a fifth of them for validation "
        "(default: no training)", positive_int, metavar="N", default=None)
    examples: int | None = flag(
        "show N labelled reviews with their answers before the one that is asked about, as many of each class "
        "(default: none)", positive_int, metavar="N", default=None)
    data: str = flag("the reviews; auto is imdb if it can be had", choices=REVIEWS, default="auto")
    reviews: int | None = flag("score N of the test reviews, always the same (default: all)", positive_int, metavar="N",
                               default=None)
    max_tokens: int | None = flag("tokens of a question at most; a long review keeps its head and tail (default: as "
                                  "many as the run was pretrained on)", positive_int, metavar="N", default=None)
    epochs: int = flag("epochs over the labelled reviews at most", positive_int, metavar="N", default=20, group=TUNING)
    batch_size: int = flag("reviews per step", positive_int, metavar="N", default=8, group=TUNING)
    learning_rate: float = flag("of AdamW, at its highest", step_size, metavar="X", default=2e-4, group=TUNING)
    seed: int = flag("decides which reviews are labelled or shown, their order, and dropout if pretraining had it",
                     non_negative_int, metavar="N", default=0)
    json: bool = flag("one JSON object instead of the table", bool, default=False)
    data_dir: str | None = flag("where corpora are (default: $MINITRANSFER_DATA, or ./data)", directory_name,
                                metavar="DIR", default=None)
    offline: bool = flag("never download; say what is missing instead", bool, default=False)
    device: str = device_flag()
    threads: int | None = threads_flag()

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Complete settings. Raises: UsageError for values that contradict each other."""
        settings = super().of(**given)
        if settings.labels is None and (name := next((name for name in ONLY_TUNING if name in given), None)):
            raise UsageError(f"--{name.replace('_', '-')} is for tuning, and without --labels nothing is tuned",
                             "leave it out, or give --labels")
        if settings.labels and settings.examples:
            raise UsageError("--labels trains the network, and --examples are for one that is not trained",
                             "leave out one of them")
        if "seed" in given and not (settings.labels or settings.examples):
            raise UsageError("--seed decides which reviews are labelled or shown, and none are",
                             "leave it out, or give --labels or --examples")
        if settings.examples and settings.examples % 2:
            raise UsageError(f"--examples {settings.examples}: as many are shown of each class", "give an even number")
        check_labels(settings.labels, own=False)
        return settings
