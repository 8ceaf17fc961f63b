"""Pretraining commands: `python -m pretrain.static`, `pretrain.bilm`, `pretrain.bert`, and `pretrain.inspect`."""

import minitransfer  # noqa: F401  which refuses a Python that is too old
