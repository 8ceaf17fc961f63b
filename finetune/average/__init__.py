"""The command `python -m finetune.average`."""
