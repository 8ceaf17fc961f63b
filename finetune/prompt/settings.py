"""Part V, around prompting: its flags. Nothing here imports torch.

Read next: `finetune.prompt.score`.
"""

from dataclasses import dataclass

from minitransfer.apparatus.options import directory_name, positive_int
from minitransfer.apparatus.settings import CommandSettings, device_flag, flag, threads_flag
from minitransfer.text import REVIEWS

DESCRIPTION = """Classify film reviews with no label at all, by what a masked language model thinks has been left out.

Four templates and four pairs of words, fixed in minitransfer/transfer/prompts.toml, are all asked, and all are told:
there is no label to choose one by.

examples:
  python -m finetune.prompt runs/bert
  python -m finetune.prompt runs/bert-imdb --reviews 2000

Nothing is written but stdout. On 2 cores about 8 minutes for all reviews to test on"""


@dataclass(frozen=True)
class Settings(CommandSettings):
    """What `python -m finetune.prompt` can be told."""

    prog = "python -m finetune.prompt"
    description = DESCRIPTION

    run: str = flag("the directory of a run of pretrain.bert", directory_name, metavar="RUN", positional=True)
    data: str = flag("the reviews; auto is imdb if it can be had", choices=REVIEWS, default="auto")
    reviews: int | None = flag("score N of the test reviews, always the same (default: all)", positive_int, metavar="N",
                               default=None)
    max_tokens: int | None = flag("tokens of a question at most; a long review keeps its head and tail (default: as "
                                  "many as the run was pretrained on)", positive_int, metavar="N", default=None)
    json: bool = flag("one JSON object instead of the table", bool, default=False)
    data_dir: str | None = flag("where corpora are (default: $MINITRANSFER_DATA, or ./data)", directory_name,
                                metavar="DIR", default=None)
    offline: bool = flag("never download; say what is missing instead", bool, default=False)
    device: str = device_flag()
    threads: int | None = threads_flag()
