"""Part VI, around the command: the run, which is BERT's but for text, loop and measure.

Read next: `pretrain.gpt.train`, the command.
"""

from typing import Any

from minitransfer.apparatus.checkpoint import RunDirectory
from minitransfer.apparatus.distributed import is_first, on_first
from minitransfer.apparatus.runtime import Stop
from minitransfer.gpt.causal import CausalLM
from pretrain.bert.run import complete, run_on_pieces, save
from pretrain.gpt.settings import Settings
from pretrain.gpt.text import Text, measure, read_text
from pretrain.gpt.train import report, train


def main(settings: Settings) -> dict[str, Any]:
    """Train a GPT; returns what the run came to."""
    return run_on_pieces(settings, CausalLM, read_text, learn_and_measure)


def learn_and_measure(model: CausalLM, text: Text, settings: Settings, seed: int, run: RunDirectory,
                      stop: Stop) -> None:
    """Train, measure on all held-out text, and leave a finished run.

    The first of several processes measures and writes, while the others wait.
    """
    step = train(model, text, settings, seed, run, stop)
    metrics = on_first(stop, lambda: measure(model, text, settings.batch_size, check=stop.check))
    if is_first():
        save(model, text, run)
        report(run, metrics, step, total=step, every=step)
        complete(run, settings, step, metrics)
