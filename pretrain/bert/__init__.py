"""The command `python -m pretrain.bert`."""
