"""Transfer commands: `python -m finetune.imdb`, `python -m finetune.predict`."""
