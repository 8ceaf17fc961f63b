"""Transfer commands: `python -m finetune.imdb`, `finetune.predict`, `finetune.bag`, and `finetune.compare`."""

import minitransfer  # noqa: F401  which refuses a Python that is too old
