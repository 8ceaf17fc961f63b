"""The command `python -m pretrain.static`."""
