"""Part III, around the command: the run. What happens before the training loop, and what after it?

The text is encoded, the network built or taken over, the run directory opened; the vectors and their spelling are
learned; the loop trains; perplexity is measured on all held-out text, and what came of it is written down.

Read next: `pretrain.bilm.train`, the command.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from minitransfer.apparatus.checkpoint import RunDirectory, results
from minitransfer.apparatus.distributed import is_first, of_processes, on_first, open_run
from minitransfer.apparatus.progress import say
from minitransfer.apparatus.runtime import SideBySide, Stop
from minitransfer.elmo.bilm import BiLM
from pretrain.bilm.settings import Settings
from pretrain.bilm.spelling import restore_or_warm_start
from pretrain.bilm.start import build, check_origin
from pretrain.bilm.text import Text, WordVectors, perplexity_of_all, read_text
from pretrain.bilm.train import train
from pretrain.shared import finish
from pretrain.vectors import begin, training_seed


def main(settings: Settings) -> dict[str, Any]:
    """Prepare text and network, open the run, train, measure perplexity over the full vocabulary, and finish the run.

    The first of several processes measures and writes, while the others wait. Returns what the run came to.
    """
    begun = begin(settings, check_origin, stages=3)
    if begun is None:
        return results(settings.out)
    settings, device, origin, corpus, config = begun
    text = read_text(corpus, settings.vocab_size, settings.batch_size)
    model = build(settings, text, origin)
    config["model"] = asdict(model.config)
    all_there_are = " (all there are)" if text.vocab_size < settings.vocab_size else ""
    asked = f", in training among {settings.negatives:,} drawn ones" if settings.softmax == "sampled" else ""
    say(f"biLM: {sum(p.numel() for p in model.parameters()):,} parameters, character CNN {config['charcnn']}; "
        f"{text.num_tokens:,} tokens, softmax over {text.vocab_size:,} words{all_there_are}{asked}; {device}, "
        f"{of_processes(torch.get_num_threads())}, {settings.precision}; {settings.out}")
    with (open_run(settings.out, config, resume=settings.resume) as run, Stop() as stop,
          SideBySide(2, device) as side_by_side):
        restore_or_warm_start(model, origin, settings, run, stop)
        word_vectors = WordVectors(model.to(device), text, config["charcnn"] == "fixed")
        if settings.warm_start == "auto":
            say("stage 3 of 3: the language model")
        seed = training_seed(settings.seed, origin)
        step = train(model, word_vectors, text, settings, seed, run, stop, side_by_side)
        metrics = on_first(stop, lambda: perplexity_of_all(model, word_vectors.table(), text, side_by_side, stop.check))
        if is_first():
            complete(run, model, text, settings, step, metrics)
    return results(settings.out)


def complete(run: RunDirectory, model: BiLM, text: Text, settings: Settings, step: int,
             metrics: Mapping[str, float]) -> None:
    """Leave a finished run, with what was measured last, and say what came of it."""
    run.save_model(model.state_dict(), {"vocab.txt": "\n".join(text.predicted_words) + "\n"})
    run.log_metrics({"step": step, **metrics}, once=True)
    say(f"held-out perplexity over all {text.vocab_size:,} words of {run.config['corpus']['name']}, <eos> counted: "
        f"forward {metrics['perplexity_forward']:.1f}, backward {metrics['perplexity_backward']:.1f}")
    finish(run, settings, "biLM", step, metrics)
