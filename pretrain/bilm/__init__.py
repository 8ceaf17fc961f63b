"""The command `python -m pretrain.bilm`."""
