"""Benchmark: how long does a BERT take to a loss, beside transformers' network trained as its example trains it?

    pip install transformers
    python -m tests.benchmarks.time_to_loss                      # the sample: a quarter of an hour
    python -m tests.benchmarks.time_to_loss --corpus wikitext-2 --data-dir DATA --epochs 1 --times 1 4 15    # hours
    python -m tests.benchmarks.time_to_loss --quick              # seconds, to see that it works

Tokens per second say how fast a step is, and not what it teaches. So `pretrain.bert` is run first, all of it: static
vectors, training, the last measurement. Then a `BertForMaskedLM` of the same shape, with weights by chance, learns from
the same rows of the same pieces, for so many --times as long, each time from the beginning and with a learning rate
that falls to zero in that time. All answer the same questions about held-out text, which is not counted for theirs.

The rate, the batch, the schedule and the share masked are the defaults of `run_mlm.py` in transformers' examples (5e-5,
8 rows, straight to zero, 15 %); --rate and --rows try others.

Next: profile.py, where the time goes.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count, islice
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from minitransfer.apparatus.calling import call
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.optim import adamw, clip_gradients, set_learning_rate, weight_decay_groups
from minitransfer.apparatus.options import positive_float, positive_int
from minitransfer.apparatus.runtime import autocast, generator, set_threads
from minitransfer.bert.encoder import BertConfig
from minitransfer.bert.masking import IGNORE_INDEX
from pretrain.bert.settings import Settings
from pretrain.bert.start import read_tokenizer
from pretrain.bert.text import Text, read_text
from pretrain.bert.train import MAX_GRAD_NORM
from pretrain.shared import read_corpus
from tests.benchmarks.bert import their_model
from tests.benchmarks.timing import flags, print_table

CPU = torch.device("cpu")
TIMED_STEPS = 5  # by which it is judged how many steps a time allows


def batches(N: int, B: int) -> Iterator[Tensor]:
    """Without end, the numbers of B of N rows, each row once in a pass: int64 (≤ B,)."""
    for epoch in count():
        yield from torch.randperm(N, generator=generator(0, "their rows", epoch)).split(B)


def train_theirs(model: torch.nn.Module, text: Text, B: int, learning_rate: float, seconds: float,
                 precision: str) -> tuple[int, float]:
    """Train for about so many seconds; returns the number of steps and the seconds that they took.

    The first few steps are taken twice: the rate must know its end, and so it is tried first how many a time allows.
    """
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def take(total: int) -> float:
        optimizer = adamw(weight_decay_groups(model, learning_rate, 0.0))
        started = time.perf_counter()
        for step, rows in enumerate(islice(batches(len(text.rows), B), total)):
            inputs, labels = text.mask(text.rows[rows].long(), generator(0, "their masks", step))
            set_learning_rate(optimizer, 1 - step / total)
            with autocast(CPU, precision):
                loss = model(input_ids=inputs, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            clip_gradients(model.parameters(), MAX_GRAD_NORM)
            optimizer.step()
        return time.perf_counter() - started

    take(1)  # in which torch plans and allocates
    total = max(1, round(seconds / take(TIMED_STEPS) * TIMED_STEPS))
    model.load_state_dict(before)
    return total, take(total)


@torch.no_grad()
def held_out_loss(model: torch.nn.Module, text: Text) -> float:
    """The loss of their network on the held-out pieces that ours was asked about, mean per piece in nats."""
    total, model = 0.0, model.eval()
    for inputs, labels in zip(*(part.split(16) for part in text.held_out)):
        logits = model(input_ids=inputs).logits.flatten(0, 1)
        total += F.cross_entropy(logits, labels.flatten(), ignore_index=IGNORE_INDEX, reduction="sum").item()
    return total / int((text.held_out[1] != IGNORE_INDEX).sum())


def main(args) -> None:
    """Run ours, then theirs for each time, and print the table."""
    if not find_spec("transformers"):  # asked before ours takes its minutes
        raise UsageError("transformers is not installed", "pip install transformers")
    threads = set_threads(args.threads)
    given = {"corpus": tuple(args.corpus), "threads": threads, "precision": args.precision, "offline": True}
    given |= {"data_dir": args.data_dir} if args.data_dir else {}
    given |= {"epochs": args.epochs} if args.epochs else {}
    times = args.times
    if args.quick:
        given, times = given | {"epochs": 1, "vocab_size": 400}, [0.1]
    with tempfile.TemporaryDirectory() as folder:
        out, started = str(Path(folder) / "bert"), time.perf_counter()
        results = call("pretrain.bert", {**given, "out": out})
        ours, run = time.perf_counter() - started, load_run(out, "bert")
        settings = Settings.of(**given, out=out)
        text = read_text(read_corpus(settings), settings, settings.seed, read_tokenizer(run))
        config, precision = BertConfig(**run.config["model"]), run.config["precision"]
    loss = results["held_out_loss"]
    rows = [["guessing by frequency", "", "", "", f"{results['frequency_loss']:.3f}", ""],
            ["ours", "1.0", f"{results['step']:,}", f"{ours / 60:.1f}", f"{loss:.3f}", ""]]
    for times_ours in times:
        torch.manual_seed(0)
        model = their_model(config)
        assert model is not None  # for transformers is there
        steps, seconds = train_theirs(model, text, args.rows, args.rate, times_ours * ours, precision)
        found = held_out_loss(model, text)
        rows.append(["transformers", f"{seconds / ours:.1f}", f"{steps:,}", f"{seconds / 60:.1f}", f"{found:.3f}",
                     "yes" if found <= loss else "no"])
    print_table(["network", "× our time", "steps", "minutes", "held-out loss, nats", "as low as ours"], rows)
    print(f"{threads} threads, {precision}; {config.num_layers} layers of {config.hidden_size}, {len(text.rows):,} "
          f"rows of {text.rows.shape[1]} pieces; theirs: {args.rows} rows a step, rate {args.rate:g}")


def parser():
    """The flags of this benchmark."""
    p = flags("tests.benchmarks.time_to_loss", __doc__, repeats=False)
    p.add_argument("--corpus", nargs="+", default=["sample"], metavar="NAME",
                   help="text, as for pretrain.bert (default: %(default)s)")
    p.add_argument("--data-dir", metavar="DIR", help="where WikiText and IMDB are")
    p.add_argument("--epochs", type=positive_int, metavar="N", help="of ours (default: by preset)")
    p.add_argument("--times", nargs="+", type=positive_float, metavar="X", default=[1.0, 4.0, 15.0],
                   help="how many times as long as ours theirs may learn (default: %(default)s)")
    p.add_argument("--rate", type=positive_float, metavar="X", default=5e-5,
                   help="their learning rate (default: %(default)s)")
    p.add_argument("--rows", type=positive_int, metavar="N", default=8,
                   help="rows in a step of theirs (default: %(default)s)")
    return p


if __name__ == "__main__":
    sys.exit(run_command(main, parser()))
