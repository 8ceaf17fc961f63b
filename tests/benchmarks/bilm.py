"""Benchmark: how fast does the biLM train, and what is each of its shortcuts worth?

    python -m tests.benchmarks.bilm            # some minutes; all ways in bfloat16 where the machine is made for it
    python -m tests.benchmarks.bilm --quick    # seconds, to see that it works

Training steps of the preset `small` (2 × 256 units) with a softmax over --vocab-size words, on made-up text. The last
row is the plain way: every running word is spelled anew, by a character CNN that learns; the softmax is over all words;
dropout draws a number for every unit of every token; and the directions are read in turn.

Next: charcnn.py, the row of a character CNN that learns.
"""

import sys

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
from minitransfer.elmo.charcnn import CharCNNConfig
from minitransfer.elmo.softmax import draw
from pretrain.bilm.settings import PRESETS
from tests.benchmarks.flop import training_flop
from tests.benchmarks.steps import CPU, our_step, plain_step
from tests.benchmarks.synthetic import make_text
from tests.benchmarks.timing import (
    MATRIX,
    flags,
    matrix_product,
    print_table,
    seconds,
    share_of_matrix_rate,
    speed_up,
    take_turns,
)

OURS, IN_TURN, PLAIN = "side by side, sampled softmax", "the same, directions in turn", "the plain way"


def ways(config: BiLMConfig, sizes: dict, text, both, precision: str) -> dict[str, tuple]:
    """Of each way: a step, the outcomes of its softmax, and how many words it spells per running word."""
    V, words = sizes["vocab_size"], text.inputs[0].numel()
    sampled = 1 + len(draw(text.log_q, sizes["negatives"], torch.Generator().manual_seed(0)).unique())
    distinct = len(torch.cat(text.inputs).unique()) / words

    def ours(run_both=both, precision=precision, **settings):
        return our_step(config, sizes, text, run_both, precision=precision, **settings)

    return {
        OURS: (ours(), sampled, 0),
        IN_TURN: (ours(one_after_the_other), sampled, 0),
        **({} if precision == "fp32" else {"side by side, in float32": (ours(precision="fp32"), sampled, 0)}),
        "side by side, character CNN learning": (ours(fixed=False), sampled, distinct),
        "side by side, gradients for all of the softmax": (ours(whole=True), sampled, 0),
        "side by side, full softmax": (ours(full=True), V, 0),
        PLAIN: (plain_step(config, sizes, text, precision), V, 1),
    }


def main(args) -> None:
    """Time a step each way, in turns, and print the table."""
    threads = set_threads(args.threads)
    sizes = PRESETS["small"] | {"vocab_size": args.vocab_size}
    if args.quick:
        sizes = PRESETS["tiny"] | {"vocab_size": 1_000, "window": 8}
    chars = CharCNNConfig(2 * sizes["projection_size"], filters=sizes["filters"])
    config = BiLMConfig(sizes["vocab_size"], sizes["hidden_size"], sizes["projection_size"], dropout=0.1,
                        charcnn=chars)
    text = make_text(sizes["vocab_size"], sizes["batch_size"], sizes["window"])
    precision = choose_precision(args.precision, CPU, config.hidden_size)
    product, matrix_flop = matrix_product(256 if args.quick else 2048, precision)
    words, rows = text.inputs[0].numel(), []
    with SideBySide(2) as both:
        compared = ways(config, sizes, text, both, precision)
        compared[OURS][0]()
        memory = peak_memory_gib()  # before the other ways, which take more
        times = take_turns({MATRIX: product} | {name: way[0] for name, way in compared.items()}, args.rounds)
    for name, (_, outcomes, spelled) in compared.items():
        flop = training_flop(config, outcomes, spelled, text.width)
        rows.append([name, f"{words / seconds(times, name):,.0f}", f"{speed_up(times, name, PLAIN):.2f}",
                     f"{speed_up(times, name, IN_TURN):.2f}", f"{flop / 1e6:.1f}",
                     f"{share_of_matrix_rate(times, name, flop * words, matrix_flop):.0%}"])
    print_table(["one training step", "words/s", "× plain", "× in turn", "MFLOP/word", "of matrix rate"], rows)
    print(f"{threads} threads, {precision}, {words:,} words a step, {config.vocab_size:,} in the softmax; matrix rate "
          f"{matrix_flop / seconds(times, MATRIX) / 1e9:.0f} GFLOP/s; "
          f"peak memory {memory:.1f} GiB after a step of the first row, {peak_memory_gib():.1f} GiB after all")


if __name__ == "__main__":
    parser = flags("tests.benchmarks.bilm", __doc__)
    parser.add_argument("--vocab-size", type=positive_int, metavar="N", default=30_000,
                        help="words in the softmax (default: %(default)s)")
    sys.exit(run_command(main, parser))
