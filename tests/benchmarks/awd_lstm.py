"""Benchmark: how fast does the biLM learn beside fastai's AWD-LSTM, the network of ULMFiT, on the same words?

    pip install fastai
    python -m tests.benchmarks.awd_lstm                      # the sample: a quarter of an hour
    python -m tests.benchmarks.awd_lstm --corpus wikitext-2 --data-dir DATA --epochs 1 --times 1 4    # hours
    python -m tests.benchmarks.awd_lstm --quick              # seconds, to see that it works

First `pretrain.bilm` is run, all of it: static vectors, how to spell them, two language models, the last measurement.
Then an AWD-LSTM, of as many layers as wide as ours, learns to predict the same words forward by fastai's own `Learner`
and one-cycle schedule, for so many --times as long, each time from the beginning. Both choose among the same words, and
are asked about the same held-out text, which is not counted for theirs.

What is not the same: ours is two networks, one for each direction, and spells words that its softmax does not have; to
theirs such words are all alike. Theirs ties its softmax to its word vectors, which are of --width. Rows and windows are
ours; dropout and regularisation are fastai's defaults, and the rate is that of its example `train_wt2.py`. --rates
takes others.

Next: profile.py, where the time goes.
"""

import math
import sys
import time
from contextlib import AbstractContextManager
from itertools import count, product
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.options import positive_float, positive_int
from minitransfer.apparatus.runtime import autocast
from minitransfer.elmo.evaluation import ROWS, WINDOW, as_targets
from minitransfer.text.batching import as_rows, windows
from minitransfer.text.words import PAD_ID
from pretrain.bilm.text import Text, read_text
from pretrain.shared import read_corpus
from tests.benchmarks.timing import print_table
from tests.benchmarks.whole_run import learning_flags, need, whole_run

CPU = torch.device("cpu")
TRIED_STEPS = 5  # by which it is judged how many words a time allows


def their_model(V: int, layers: int, hidden: int, width: int) -> torch.nn.Module:
    """An AWD-LSTM with its tied softmax over V words, with weights by chance and the dropout of fastai."""
    from fastai.text.models import AWD_LSTM, awd_lstm_lm_config, get_language_model

    torch.manual_seed(0)
    shape = {"emb_sz": width, "n_hid": hidden, "n_layers": layers, "pad_token": PAD_ID}
    return get_language_model(AWD_LSTM, V, awd_lstm_lm_config | shape)


def documents_for(text: Text, words: int) -> list[torch.Tensor]:
    """So many running words of the text, in documents, each int64 (N_i,): in a new order each time through."""
    rng, documents, found = np.random.default_rng(0), [], 0
    for i in count():
        if i % len(text.documents) == 0:
            order = rng.permutation(len(text.documents))
        document = as_targets(text.documents[order[i % len(order)]], text.vocab_size)[: words - found]
        documents.append(torch.from_numpy(document.astype(np.int64)))
        found += len(document)
        if found == words:
            return documents


def train_theirs(model: torch.nn.Module, documents: list[torch.Tensor], B: int, T: int, rate: float,
                 precision: str) -> float:
    """One cycle of fastai's `Learner` over the documents, in windows (B, T); returns the seconds that it took."""
    from fastai.text.all import Callback, CrossEntropyLossFlat, DataLoaders, Learner, LMDataLoader, rnn_cbs

    class InPrecision(Callback):
        """The forward pass in `precision`; fastai's own callback for it knows GPUs alone."""

        def before_batch(self) -> None:
            self.region: AbstractContextManager[Any] = autocast(CPU, precision)
            self.region.__enter__()

        def after_loss(self) -> None:
            self.region.__exit__(None, None, None)

    train, none_held_out = (LMDataLoader(d, [len(x) for x in d], bs=B, seq_len=T) for d in (documents, []))
    learner = Learner(DataLoaders(train, none_held_out), model, loss_func=CrossEntropyLossFlat(),
                      cbs=[*rnn_cbs(alpha=2, beta=1), InPrecision()])
    with learner.no_bar(), learner.no_logging():
        started = time.perf_counter()
        learner.fit_one_cycle(1, rate)
        return time.perf_counter() - started


@torch.no_grad()
def their_perplexity(model: torch.nn.Module, token_ids: np.ndarray, V: int) -> float:
    """Perplexity of a text, laid out in rows and windows as ours is measured: e to the mean −log p of its tokens."""
    total, model = 0.0, model.eval()
    model.reset()
    for inputs, targets in zip(*(windows(rows, WINDOW) for rows in as_rows(token_ids, ROWS))):
        inputs, known = as_targets(inputs, V), as_targets(targets, V)
        logits = model(torch.from_numpy(inputs))[0].flatten(0, 1)
        total += F.cross_entropy(logits, torch.from_numpy(known).flatten(), ignore_index=PAD_ID, reduction="sum").item()
    return math.exp(total / len(token_ids))


def main(args) -> None:
    """Run ours, then theirs for each time and rate, and print the table."""
    need("fastai")
    with whole_run("pretrain.bilm", args) as ours:
        settings, config, precision = ours.settings, ours.run.config["model"], ours.run.config["precision"]
        text = read_text(read_corpus(settings), settings.vocab_size, settings.batch_size)

    def row(name: str, words: int, seconds: float, perplexity: float) -> list[str]:
        return [name, f"{seconds / ours.seconds:.1f}", f"{words:,}", f"{words / seconds:,.0f}", f"{seconds / 60:.1f}",
                f"{perplexity:.1f}"]

    rows = [row("ours, both directions", settings.epochs * text.num_tokens, ours.seconds,
                ours.results["perplexity_forward"])]
    B, T, V, width = settings.batch_size, settings.window, text.vocab_size, args.width or settings.vector_size
    shape, tried = (V, config["num_layers"], config["hidden_size"], width), documents_for(text, TRIED_STEPS * B * T)
    train_theirs(their_model(*shape), tried, B, T, args.rates[0], precision)  # in which torch plans and allocates
    per_word = train_theirs(their_model(*shape), tried, B, T, args.rates[0], precision) / (TRIED_STEPS * B * T)
    for times, rate in product([0.1] if args.quick else args.times, args.rates):
        model, words = their_model(*shape), round(times * ours.seconds / per_word)
        seconds = train_theirs(model, documents_for(text, words), B, T, rate, precision)
        found = their_perplexity(model, text.validation, V)
        rows.append(row(f"AWD-LSTM, forward, rate {rate:g}", words, seconds, found))
    print_table(["network", "× our time", "words", "words/s", "minutes", "held-out perplexity, forward"], rows)
    print(f"{ours.threads} threads, {precision}; {config['num_layers']} layers of {config['hidden_size']}, {V:,} words "
          f"in the softmax, {text.num_tokens:,} running words; {B} rows of {T} a step; their word vectors: {width}")


def parser():
    """The flags of this benchmark."""
    p = learning_flags("tests.benchmarks.awd_lstm", __doc__, [1.0, 4.0])
    p.add_argument("--rates", nargs="+", type=positive_float, metavar="X", default=[5e-3],
                   help="their learning rates, each tried from the beginning (default: %(default)s)")
    p.add_argument("--width", type=positive_int, metavar="N", help="their word vectors (default: as wide as ours)")
    return p


if __name__ == "__main__":
    sys.exit(run_command(main, parser()))
