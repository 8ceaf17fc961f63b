"""Benchmark: how fast is a BERT fine-tuned, and how fast does it classify, on texts as unequal as reviews are?

    pip install transformers                     # optional: adds the rows of its BertForSequenceClassification
    python -m tests.benchmarks.transfer          # some minutes
    python -m tests.benchmarks.transfer --quick  # seconds, to see that it works

Reviews are made up, of the lengths that IMDB's have, cut to 256 pieces; the network is that of preset `small`, read
at [CLS]. What is timed is a pass over them: learning, in batches of 32, and classifying without gradients. Ours deals
out texts of about one length together, and finishes the last layer for [CLS] alone; the row below it does not sort.
transformers has its network as it comes, each batch padded to its longest text, with the same optimiser: on batches
as they come, and on ours. All of them multiply in bfloat16 where the machine is made for it.

Next: growth.py, what happens when something is doubled.
"""

import sys
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch

from finetune.imdb.settings import Settings
from finetune.imdb.train import MAX_GRAD_NORM
from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.optim import adamw, clip_gradients, weight_decay_groups
from minitransfer.apparatus.options import positive_int
from minitransfer.apparatus.runtime import (
    autocast,
    choose_precision,
    peak_memory_gib,
    set_threads,
)
from minitransfer.bert.encoder import BertConfig
from minitransfer.text.batching import batches_by_length, pad
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.encoders import BertEncoder
from minitransfer.transfer.examples import minibatches
from minitransfer.transfer.heads import cross_entropy
from minitransfer.transfer.tokens import TOKENS_PER_BATCH, TokenisedTexts
from pretrain.bert.settings import PRESETS
from tests.benchmarks.bert import make_rows, their_model
from tests.benchmarks.steps import CPU
from tests.benchmarks.synthetic import review_lengths
from tests.benchmarks.timing import flags, print_table, seconds, speed_up, take_turns

OURS, UNSORTED, THEIRS = "ours", "ours, batches as they come", "transformers"
THEIRS_SORTED = "transformers, on our batches"
SETTINGS = Settings.of(mode="finetune", head="cls")
Logits = Callable[[np.ndarray], torch.Tensor]  # rows (B,) -> (B, 2)
Batches = list[np.ndarray]


def make_texts(reviews: int, V: int, most: int) -> TokenisedTexts:
    """Reviews of made-up pieces, as long as those of IMDB."""
    lengths = review_lengths(reviews, most, np.random.default_rng(0))
    token_ids = [row[:n] for row, n in zip(make_rows(V, reviews, most).numpy(), lengths)]
    return TokenisedTexts([str(i) for i in range(V)], token_ids, np.zeros(reviews, bool))


def make_classifier(config: BertConfig, texts: TokenisedTexts, precision: str) -> Classifier:
    """A BERT with a head at [CLS], as `finetune.imdb` makes it; its weights are random, which takes as long."""
    encoder = BertEncoder(config, SimpleNamespace(pieces=texts.tokens))
    encoder.set_dropout(SETTINGS.encoder_dropout)
    encoder.precision = precision
    return Classifier(encoder, head="cls", pool="cls", head_size=SETTINGS.head_size, dropout=SETTINGS.dropout)


def logits_of(theirs: torch.nn.Module, texts: TokenisedTexts, precision: str) -> Logits:
    """Their way from rows to logits: padded to the longest text of the batch."""

    def logits(rows: np.ndarray) -> torch.Tensor:
        token_ids, mask = map(torch.from_numpy, pad([texts.token_ids[i] for i in rows]))
        with autocast(CPU, precision):
            return theirs(input_ids=token_ids, attention_mask=mask.long()).logits.float()

    return logits


def learn(model: torch.nn.Module, logits: Logits, labels: torch.Tensor, batches: Batches) -> Callable[[], None]:
    """A job: one pass of the loop of `finetune.imdb` over these batches."""
    optimizer = adamw(weight_decay_groups(model, SETTINGS.encoder_rate, SETTINGS.weight_decay))

    def one_pass():
        model.train()
        for rows in batches:
            loss = cross_entropy(logits(rows), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            clip_gradients(model.parameters(), MAX_GRAD_NORM)
            optimizer.step()

    return one_pass


def read(model: torch.nn.Module, logits: Logits, batches: Batches,
         renew: Callable[[], None] = lambda: None) -> Callable[[], None]:
    """A job: the logits of all batches, without gradients, and nothing kept from the pass before."""

    def one_pass():
        model.eval()
        renew()
        with torch.no_grad():
            for rows in batches:
                logits(rows)

    return one_pass


def ways(config: BertConfig, texts: TokenisedTexts, model: Classifier, precision: str,
         batch_size: int) -> tuple[dict[str, Callable[[], None]], dict[str, Callable[[], None]]]:
    """The jobs that learn, and those that only read."""
    N = len(texts.token_ids)
    as_they_come = [np.arange(i, min(i + batch_size, N)) for i in range(0, N, batch_size)]
    dealt = minibatches(np.arange(N), texts.lengths, batch_size, torch.Generator().manual_seed(0))
    sorted_out = list(batches_by_length(texts.lengths, TOKENS_PER_BATCH))
    labels = torch.arange(N) % 2
    ours = lambda rows: model(texts.batch(rows))
    learning = {OURS: learn(model, ours, labels, dealt), UNSORTED: learn(model, ours, labels, as_they_come)}
    reading = {OURS: read(model, ours, sorted_out, model.token_vectors.renew),
               UNSORTED: read(model, ours, as_they_come, model.token_vectors.renew)}
    theirs = their_model(config, "BertForSequenceClassification")
    if theirs is not None:
        logits = logits_of(theirs, texts, precision)
        learning |= {THEIRS_SORTED: learn(theirs, logits, labels, dealt),
                     THEIRS: learn(theirs, logits, labels, as_they_come)}
        reading |= {THEIRS_SORTED: read(theirs, logits, sorted_out), THEIRS: read(theirs, logits, as_they_come)}
    return learning, reading


def report(title: str, jobs: dict[str, Callable[[], None]], tokens: int, rounds: int) -> None:
    """Time the jobs in turns, and print their table."""
    times = take_turns(jobs, rounds)
    others = [name for name in (UNSORTED, THEIRS) if name in jobs]
    table = [[name, f"{tokens / seconds(times, name):,.0f}",
              *(f"{speed_up(times, name, other):.2f}" for other in others)] for name in jobs]
    print_table([title, "tokens/s", *(f"× {other.removeprefix('ours, ')}" for other in others)], table)


def main(args) -> None:
    """Time passes over the reviews each way, in turns, and print the tables."""
    threads, sizes = set_threads(args.threads), PRESETS["small"] | {"dropout": 0.1}
    reviews, most = args.reviews, 256
    if args.quick:
        sizes, reviews, most = PRESETS["tiny"] | {"vocab_size": 300}, 9, 24
    names = ("vocab_size", "hidden_size", "num_layers", "num_heads", "intermediate_size", "max_positions", "dropout")
    config = BertConfig(**{name: sizes[name] for name in names})
    precision = choose_precision(args.precision, CPU, config.hidden_size)
    torch.manual_seed(0)
    texts = make_texts(reviews, config.vocab_size, most)
    model = make_classifier(config, texts, precision)
    learning, reading = ways(config, texts, model, precision, 4 if args.quick else SETTINGS.batch_size)
    tokens = int(texts.lengths.sum())
    report("fine-tuning", learning, tokens, args.rounds)
    report("classifying", reading, tokens, args.rounds)
    if THEIRS not in learning:
        print("transformers is not installed: `pip install transformers` adds its rows")
    print(f"{threads} threads, {precision}; {reviews:,} reviews of {tokens / reviews:.0f} tokens, "
          f"{config.vocab_size:,} pieces; peak memory {peak_memory_gib():.1f} GiB")


def parser():
    """The flags of this benchmark."""
    p = flags("tests.benchmarks.transfer", __doc__)
    p.add_argument("--reviews", type=positive_int, metavar="N", default=512,
                   help="how many are read in a pass (default: %(default)s)")
    return p


if __name__ == "__main__":
    sys.exit(run_command(main, parser()))
