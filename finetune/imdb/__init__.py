"""The command `python -m finetune.imdb`."""
