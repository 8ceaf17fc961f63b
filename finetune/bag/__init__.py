"""The command `python -m finetune.bag`."""
