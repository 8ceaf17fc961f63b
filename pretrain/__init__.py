"""Pretraining commands: `python -m pretrain.static`, `python -m pretrain.bilm`."""
