"""Benchmark: how fast is skip-gram written with matrix products, beside gensim's hand-written machine code?

    pip install gensim                         # optional: without it our own rate is printed alone
    python -m tests.benchmarks.skipgram
    python -m tests.benchmarks.skipgram --quick

Both make one pass over the same made-up running text, with the same width, window, negatives and subsampling, and
the same number of threads. Words per second count the text before subsampling. What a pass teaches is another
question, to which made-up text has no answer.

Next: frozen_pass.py.
"""

import sys

import numpy as np
import torch

from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.options import positive_int
from minitransfer.apparatus.runtime import peak_memory_gib, set_threads
from minitransfer.static.skipgram import SkipGram, SkipGramConfig, thin_out
from tests.benchmarks.synthetic import zipf_stream
from tests.benchmarks.timing import flags, print_table, seconds, speed_up, take_turns

OURS, GENSIM = "minitransfer", "gensim"
SENTENCE = 1_000  # words: gensim would cut off a sentence of more than 10,000


def our_pass(stream: np.ndarray, vocab_size: int, config: SkipGramConfig):
    """A job: one epoch as in the loop of `pretrain.static`."""
    counts = np.bincount(stream, minlength=vocab_size)
    model = SkipGram(counts, config, torch.Generator().manual_seed(0))
    T = config.block_size

    def epoch():
        chance = torch.Generator().manual_seed(1)
        thinned = thin_out(stream, counts, config.subsample, chance)
        blocks = torch.from_numpy(thinned[: len(thinned) // T * T].reshape(-1, T)).long()
        for block in blocks[torch.randperm(len(blocks), generator=chance)].split(config.blocks_per_step):
            reach = torch.randint(1, config.window + 1, block.shape, generator=chance)
            model.step(block, reach, model.draw_negatives(chance), 0.1)

    return epoch


def gensim_pass(stream: np.ndarray, config: SkipGramConfig, threads: int):
    """A job: one epoch of gensim's Word2Vec, or None if gensim is not installed. Counting words is not timed."""
    try:
        from gensim.models import Word2Vec
    except ImportError:
        return None
    words = [str(i) for i in range(int(stream.max()) + 1)]
    sentences = [[words[i] for i in part] for part in np.split(stream, range(SENTENCE, len(stream), SENTENCE))]
    model = Word2Vec(vector_size=config.hidden_size, window=config.window, negative=config.negatives, sg=1, hs=0,
                     sample=config.subsample, min_count=1, workers=threads, seed=0)
    model.build_vocab(sentences)
    # A rate that does not fall, since gensim warns when a second pass begins above where the first one ended.
    return lambda: model.train(sentences, total_examples=len(sentences), epochs=1, start_alpha=0.025, end_alpha=0.025)


def main(args) -> None:
    """Time one pass each, in turns, and print the table."""
    threads = set_threads(args.threads)
    length, vocab_size = (20_000, 500) if args.quick else (args.words, max(args.vocab_size, 4))
    config = SkipGramConfig(hidden_size=32 if args.quick else args.hidden_size)
    stream = zipf_stream(vocab_size, length, np.random.default_rng(0))
    jobs = {OURS: our_pass(stream, vocab_size, config), GENSIM: gensim_pass(stream, config, threads)}
    times = take_turns({name: job for name, job in jobs.items() if job}, args.rounds)
    reference = GENSIM if jobs[GENSIM] else OURS
    rows = [[name, f"{length / seconds(times, name):,.0f}", f"{speed_up(times, name, reference):.2f}"]
            for name in times]
    print_table(["one pass of skip-gram", "words/s", f"× {reference}"], rows)
    if not jobs[GENSIM]:
        print("gensim is not installed: `pip install gensim` adds its row")
    print(f"{threads} threads, {length:,} running words, {vocab_size:,} different ones, {config.hidden_size} wide, "
          f"window {config.window}, {config.negatives} negatives; peak memory {peak_memory_gib():.1f} GiB")


def parser():
    """The flags of this benchmark."""
    p = flags("tests.benchmarks.skipgram", __doc__, network=False)
    p.add_argument("--words", type=positive_int, metavar="N", default=2_000_000,
                   help="running words of a pass (default: %(default)s)")
    p.add_argument("--vocab-size", type=positive_int, metavar="N", default=50_000,
                   help="different words (default: %(default)s)")
    p.add_argument("--hidden-size", type=positive_int, metavar="N", default=256,
                   help="width of a vector (default: %(default)s)")
    return p


if __name__ == "__main__":
    sys.exit(run_command(main, parser()))
