"""The command `python -m pretrain.gpt`."""
