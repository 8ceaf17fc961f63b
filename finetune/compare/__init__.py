"""The command `python -m finetune.compare`."""
