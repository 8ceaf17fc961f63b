"""Part IV, around the command: the run. What happens before the training loop, and what after it?

The text is cut into pieces and packed into rows, the network built or taken over, the run directory opened; the loop
trains; loss and accuracy are measured on all held-out text, and what came of it is written down. All but loop and
measure is a GPT's as well.

Read next: `pretrain.bert.train`, the command.
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from minitransfer.apparatus.checkpoint import results
from minitransfer.apparatus.distributed import is_first, of_processes, on_first, open_run
from minitransfer.apparatus.progress import say
from minitransfer.apparatus.runtime import Stop
from minitransfer.bert.encoder import MaskedLM
from pretrain.bert.settings import PieceSettings, Settings
from pretrain.bert.start import build, check_origin, read_tokenizer
from pretrain.bert.text import PackedText, measure, read_text, report
from pretrain.bert.train import train
from pretrain.shared import finish
from pretrain.vectors import begin, training_seed


def main(settings: Settings, make: Callable[..., MaskedLM] = build,
         check: Callable[..., None] = check_origin) -> dict[str, Any]:
    """Train a BERT. make: makes the network. check: refuses an origin before text is read. Returns what it came to."""
    return run_on_pieces(settings, MaskedLM, read_text, train, measure, make, check)


def run_on_pieces(settings: PieceSettings, network: type[MaskedLM], read: Callable[..., PackedText],
                  loop: Callable[..., int], evaluate: Callable[..., dict[str, float]],
                  make: Callable[..., MaskedLM] = build,
                  check: Callable[..., None] = check_origin) -> dict[str, Any]:
    """Prepare text and network, open the run, train, measure on all held-out text, and leave a finished run.

    The first of several processes measures and writes, while the others wait. Returns what the run came to.
    """
    begun = begin(settings, partial(check, network=network), stages=2)
    if begun is None:
        return results(settings.out)
    settings, device, origin, corpus, config = begun
    seed = training_seed(settings.seed, origin)
    text = read(corpus, settings, seed, read_tokenizer(origin))
    model = make(settings, text, origin, network)
    tokenizer = text.tokenizer.to_json()
    config |= {"model": asdict(model.config), "tokenizer": hashlib.sha256(tokenizer.encode()).hexdigest()}
    V = model.config.vocab_size
    all_there_are = " (all there are)" if origin is None and V < settings.vocab_size else ""
    say(f"{settings.title}: {sum(p.numel() for p in model.parameters()):,} parameters, {V:,} pieces{all_there_are}; "
        f"{len(text.rows):,} rows of {settings.seq_length} tokens, entropy of their pieces {text.entropy:.3f} nats; "
        f"{device}, {of_processes(torch.get_num_threads())}, {settings.precision}; {settings.out}")
    if settings.warm_start == "auto":
        say(f"stage 2 of 2: {settings.task}")
    with open_run(settings.out, config, resume=settings.resume) as run, Stop() as stop:
        step = loop(model.to(device), text, settings, seed, run, stop)
        metrics = on_first(stop, lambda: evaluate(model, text, settings.batch_size, check=stop.check))
        if is_first():
            run.save_model(model.state_dict(), {"tokenizer.json": tokenizer})
            report(run, metrics, step, total=step, every=step)
            finish(run, settings, settings.title, step, metrics)
    return results(settings.out)
