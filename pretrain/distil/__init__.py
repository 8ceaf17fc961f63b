"""The command `python -m pretrain.distil`."""
