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
import time
from collections.abc import Iterator
from itertools import count, islice

import torch
from torch import Tensor
from torch.nn import functional as F

from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.optim import adamw, clip_gradients, set_learning_rate, weight_decay_groups
from minitransfer.apparatus.options import positive_float, positive_int
from minitransfer.apparatus.runtime import autocast, generator
from minitransfer.bert.encoder import BertConfig
from minitransfer.bert.masking import IGNORE_INDEX
from pretrain.bert.start import read_tokenizer
from pretrain.bert.text import Text, read_text
from pretrain.bert.train import MAX_GRAD_NORM
from pretrain.shared import read_corpus
from tests.benchmarks.bert import their_model
from tests.benchmarks.timing import print_table
from tests.benchmarks.whole_run import learning_flags, need, whole_run

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
    need("transformers")
    with whole_run("pretrain.bert", args) as ours:
        settings, tokenizer = ours.settings, read_tokenizer(ours.run)
        text = read_text(read_corpus(settings), settings, settings.seed, tokenizer)
    config, precision = BertConfig(**ours.run.config["model"]), ours.run.config["precision"]
    loss = ours.results["held_out_loss"]
    rows = [["guessing by frequency", "", "", "", f"{ours.results['frequency_loss']:.3f}", ""],
            ["ours", "1.0", f"{ours.results['step']:,}", f"{ours.seconds / 60:.1f}", f"{loss:.3f}", ""]]
    for times_ours in [0.1] if args.quick else args.times:
        torch.manual_seed(0)
        model = their_model(config)
        assert model is not None  # for transformers is there
        steps, seconds = train_theirs(model, text, args.rows, args.rate, times_ours * ours.seconds, precision)
        found = held_out_loss(model, text)
        rows.append(["transformers", f"{seconds / ours.seconds:.1f}", f"{steps:,}", f"{seconds / 60:.1f}",
                     f"{found:.3f}", "yes" if found <= loss else "no"])
    print_table(["network", "× our time", "steps", "minutes", "held-out loss, nats", "as low as ours"], rows)
    print(f"{ours.threads} threads, {precision}; {config.num_layers} layers of {config.hidden_size}, "
          f"{len(text.rows):,} rows of {text.rows.shape[1]} pieces; theirs: {args.rows} rows a step, "
          f"rate {args.rate:g}")


def parser():
    """The flags of this benchmark."""
    p = learning_flags("tests.benchmarks.time_to_loss", __doc__, [1.0, 4.0, 15.0])
    p.add_argument("--rate", type=positive_float, metavar="X", default=5e-5,
                   help="their learning rate (default: %(default)s)")
    p.add_argument("--rows", type=positive_int, metavar="N", default=8,
                   help="rows in a step of theirs (default: %(default)s)")
    return p


if __name__ == "__main__":
    sys.exit(run_command(main, parser()))
