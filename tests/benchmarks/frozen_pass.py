"""Benchmark: how long does a frozen biLM take to read 50,000 reviews, and what do its two shortcuts save?

    python -m tests.benchmarks.frozen_pass
    python -m tests.benchmarks.frozen_pass --quick

The shortcuts are the type cache, by which the character CNN spells each distinct word once and not each time it
occurs, and reading the two directions side by side. Reviews are made up, of the lengths that IMDB's have, cut to 256
words; as in `finetune.imdb`, the cache is filled with all words of all the reviews. A sample of them is timed, and
from it follows what all would take: reading grows with the reviews, the cache is filled once.

Next: transfer.py, fine-tuning.
"""

import sys

import numpy as np
import torch

from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.options import positive_int
from minitransfer.apparatus.runtime import (
    SideBySide,
    choose_precision,
    peak_memory_gib,
    set_threads,
)
from minitransfer.elmo.bilm import BiLMConfig, one_after_the_other
from minitransfer.elmo.charcnn import CharCNNConfig, word_vectors
from minitransfer.text.batching import batches_by_length, pad
from minitransfer.text.words import spell_all
from minitransfer.transfer.encoders import BiLMEncoder
from minitransfer.transfer.features import frozen_pass, pool_tokens
from minitransfer.transfer.tokens import TOKENS_PER_BATCH, TokenisedTexts
from pretrain.bilm.settings import PRESETS
from tests.benchmarks.steps import CPU
from tests.benchmarks.synthetic import made_up_words, review_lengths, zipf_stream
from tests.benchmarks.timing import flags, print_table, seconds, speed_up, take_turns

REVIEWS, MAX_TOKENS = 50_000, 256
FILL = "filling the cache"
OURS, PLAIN = "type cache, side by side", "CNN per running word, in turn"


def make_texts(reviews: int, vocab_size: int) -> TokenisedTexts:
    """Reviews of made-up words, and the vocabulary of all 50,000."""
    rng = np.random.default_rng(0)
    lengths = review_lengths(reviews, MAX_TOKENS, rng)
    stream = zipf_stream(vocab_size, int(lengths.sum()), rng)
    texts = np.split(stream, np.cumsum(lengths)[:-1])
    return TokenisedTexts(made_up_words(vocab_size, rng), texts, np.zeros(reviews, bool))


def make_encoder(preset: dict) -> BiLMEncoder:
    """A biLM of a preset's shape, frozen; its weights are random, which takes as long as any others."""
    torch.manual_seed(0)
    chars = CharCNNConfig(2 * preset["projection_size"], filters=preset["filters"])
    return BiLMEncoder(BiLMConfig(1, preset["hidden_size"], preset["projection_size"], charcnn=chars)).freeze()


def read(encoder: BiLMEncoder, texts: TokenisedTexts, vectors_of, run_both) -> torch.Tensor:
    """The loop of `frozen_pass`, with its two shortcuts to choose: (N, L + 1, D).

    `vectors_of` gives word vectors for token ids, (B, T) -> (B, T, D); `run_both` runs the two directions.
    """
    features = torch.empty(len(texts.token_ids), encoder.num_layers, encoder.hidden_size)
    with torch.no_grad():
        for rows in batches_by_length(texts.lengths, TOKENS_PER_BATCH):
            token_ids, mask = map(torch.from_numpy, pad([texts.token_ids[i] for i in rows]))
            layers = encoder.encode(vectors_of(token_ids), mask, run_both)
            features[torch.from_numpy(rows)] = pool_tokens(layers, mask, "mean")
    return features


def main(args) -> None:
    """Check that all ways give the same features, time them in turns, and print the table."""
    threads = set_threads(args.threads)
    reviews, vocab_size = (8, 300) if args.quick else (args.reviews, max(args.vocab_size, 4))
    texts, encoder = make_texts(reviews, vocab_size), make_encoder(PRESETS["tiny" if args.quick else "small"])
    encoder.precision = choose_precision(args.precision, CPU, encoder.hidden_size)
    words, charcnn = texts.tokens, encoder.bilm.charcnn
    expected = frozen_pass(encoder, texts, "mean", device=CPU)
    memory = peak_memory_gib()  # before the plain way, which is not to be counted in
    table, spelling = encoder.token_table(words), torch.from_numpy(spell_all(words))
    look_up = lambda ids: table[ids]  # noqa: E731
    # In chunks, and short words together, or the plain way would run out of memory before it was slow.
    spell = lambda ids: word_vectors(charcnn, spelling[ids.flatten()]).view(*ids.shape, -1)  # noqa: E731
    with SideBySide(2) as both:
        ways = {OURS: (look_up, both), "type cache, in turn": (look_up, one_after_the_other),
                "CNN per running word, side by side": (spell, both), PLAIN: (spell, one_after_the_other)}
        difference = max((read(encoder, texts, *way) - expected).abs().max().item() for way in ways.values())
        jobs = {name: lambda way=way: read(encoder, texts, *way) for name, way in ways.items()}
        times = take_turns({FILL: lambda: encoder.token_table(words)} | jobs, args.rounds)
    whole = {name: [REVIEWS / reviews * reading + (fill if ways[name][0] is look_up else 0.0)
                    for reading, fill in zip(times[name], times[FILL])] for name in ways}
    report(whole, REVIEWS / reviews * texts.lengths.sum())
    print(f"{threads} threads, {encoder.precision}; from {reviews:,} reviews of {texts.lengths.mean():.0f} words, and "
          f"{vocab_size:,} different words in all\n"
          f"largest difference from the features of finetune.imdb: {difference:.0e}; "
          f"peak memory of its frozen pass {memory:.1f} GiB, texts not counted")


def report(whole: dict[str, list[float]], words: float) -> None:
    """Print what all the reviews would take each way, from the seconds of each round."""
    rows = [[name, f"{words / seconds(whole, name):,.0f}", f"{speed_up(whole, name, PLAIN):.2f}",
             f"{seconds(whole, name) / 60:.1f}"] for name in whole]
    print_table([f"frozen pass over {REVIEWS:,} reviews", "words/s", "× plain", "minutes"], rows)


def parser():
    """The flags of this benchmark."""
    p = flags("tests.benchmarks.frozen_pass", __doc__)
    p.add_argument("--reviews", type=positive_int, metavar="N", default=400,
                   help="how many are timed (default: %(default)s)")
    p.add_argument("--vocab-size", type=positive_int, metavar="N", default=130_000,
                   help="different words of all 50,000 reviews, each spelled once for the cache (default: %(default)s)")
    return p


if __name__ == "__main__":
    sys.exit(run_command(main, parser()))
