"""Part V, around the command: the run, which is BERT's but for text, loop and measure.

Read next: `pretrain.gpt.train`, the command.
"""

from typing import Any

from minitransfer.gpt.causal import CausalLM
from pretrain.bert.run import run_on_pieces
from pretrain.gpt.settings import Settings
from pretrain.gpt.text import measure, read_text
from pretrain.gpt.train import train


def main(settings: Settings) -> dict[str, Any]:
    """Train a GPT; returns what the run came to."""
    return run_on_pieces(settings, CausalLM, read_text, train, measure)
