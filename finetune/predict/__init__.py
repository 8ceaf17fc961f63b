"""The command `python -m finetune.predict`."""
