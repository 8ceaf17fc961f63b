"""Benchmark: what does a character CNN cost that learns through the language model, and where does the time go?

    python -m tests.benchmarks.charcnn            # a minute or two
    python -m tests.benchmarks.charcnn --quick    # seconds, to see that it works

Training steps of the preset `small` with the 2,048 filters of Peters et al. (2018), no highways, and a softmax over
30,000 words, on made-up text. The plain way multiplies every window of every word with every filter, and leaves the
gradient of the maximum to autograd, which goes back through all of them; ours adds up what each byte tells each filter,
and goes back through the windows that won. Then the character CNN by itself, forward and backward, on the different
words of one step, and which operators took the time.

Next: skipgram.py.
"""

import sys
from collections.abc import Callable
from types import SimpleNamespace

import torch

from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.runtime import SideBySide, choose_precision, set_threads
from minitransfer.elmo.bilm import BiLMConfig
from minitransfer.elmo.charcnn import CharCNN, CharCNNConfig
from minitransfer.text.words import spell_all
from pretrain.bilm.settings import PRESETS
from tests.benchmarks.profile import shares
from tests.benchmarks.steps import CPU, our_step, with_plain_maximum
from tests.benchmarks.synthetic import make_text
from tests.benchmarks.timing import flags, print_table, seconds, speed_up, take_turns

PAPER = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))  # (width in bytes, how many)
FIXED, OURS, PLAIN = "character CNN fixed", "character CNN learning", "the same, plain maximum"
ALONE, ALONE_PLAIN = "character CNN alone", "the same alone, plain maximum"


def spelling_step(config: CharCNNConfig, text: SimpleNamespace, plain: bool) -> Callable[[], None]:
    """A job: the character CNN forward and backward on the different words of one step, without the language model."""
    torch.manual_seed(0)
    charcnn = with_plain_maximum(CharCNN(config)) if plain else CharCNN(config)
    distinct = torch.cat(text.inputs).unique()
    char_ids = torch.from_numpy(spell_all(text.vocabulary.words))[distinct, : text.width]

    def step():
        charcnn.zero_grad()
        charcnn(char_ids).sum().backward()

    return step


def largest_difference(config: CharCNNConfig, text: SimpleNamespace) -> float:
    """How far the gradients of the two ways are apart, at most, as a share of their own norm."""
    grads = []
    for plain in (False, True):
        torch.manual_seed(0)
        charcnn = with_plain_maximum(CharCNN(config)) if plain else CharCNN(config)
        vectors = charcnn(torch.from_numpy(spell_all(text.vocabulary.words[3:300])))
        grads.append(torch.autograd.grad(vectors.square().sum(), list(charcnn.parameters())))
    return max(((a - b).norm() / b.norm()).item() for a, b in zip(*grads))


def main(args) -> None:
    """Time the ways in turns, print their table, and a profile of the character CNN each way."""
    threads = set_threads(args.threads)
    sizes = PRESETS["small"] | {"vocab_size": 30_000, "filters": PAPER}
    if args.quick:
        sizes = PRESETS["tiny"] | {"vocab_size": 1_000, "window": 8, "filters": ((1, 3), (3, 5))}
    chars = CharCNNConfig(2 * sizes["projection_size"], filters=sizes["filters"])
    config = BiLMConfig(sizes["vocab_size"], sizes["hidden_size"], sizes["projection_size"], charcnn=chars)
    text = make_text(sizes["vocab_size"], sizes["batch_size"], sizes["window"])
    precision, words = choose_precision(args.precision, CPU, config.hidden_size), text.inputs[0].numel()
    alone = {ALONE: spelling_step(chars, text, plain=False), ALONE_PLAIN: spelling_step(chars, text, plain=True)}
    with SideBySide(2) as both:
        steps = {name: our_step(config, sizes, text, both, precision=precision, fixed=fixed, plain_maximum=plain)
                 for name, fixed, plain in ((FIXED, True, False), (OURS, False, False), (PLAIN, False, True))}
        times = take_turns(steps | alone, args.rounds)
    rows = [[name, f"{words / seconds(times, name):,.0f}",
             f"{speed_up(times, name, PLAIN if name in steps else ALONE_PLAIN):.2f}"] for name in times]
    print_table(["one training step", "words/s", "× plain"], rows)
    for name, step in alone.items():
        print()
        print_table([name, "share of its time"], [[k, f"{v:.0%}"] for k, v in shares(step, args.rounds).items()])
    print(f"\n{threads} threads, {precision}, the character CNN in fp32; {words:,} words a step, of both directions "
          f"{len(torch.cat(text.inputs).unique()):,} different\n"
          f"largest difference of the gradients from those of the plain way: {largest_difference(chars, text):.0e}")


if __name__ == "__main__":
    sys.exit(run_command(main, flags("tests.benchmarks.charcnn", __doc__)))
