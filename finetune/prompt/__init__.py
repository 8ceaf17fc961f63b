"""The command `python -m finetune.prompt`."""
