"""The command `python -m minitransfer.huggingface`."""
