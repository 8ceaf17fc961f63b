"""The command `python -m pretrain.inspect`."""
