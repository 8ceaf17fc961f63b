"""Pretraining commands: `python -m pretrain.static`, `bilm`, `bert`, `gpt`, `distil`, and `inspect`."""

import minitransfer  # noqa: F401  which refuses a Python that is too old
