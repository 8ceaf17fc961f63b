"""Benchmark: where does the time of a training step go?

    python -m tests.benchmarks.profile            # a minute
    python -m tests.benchmarks.profile --quick    # seconds, to see that it works

One step of the biLM and one of BERT, preset `small`, each told apart into torch's own operators: what share of the time
each took itself, without what it called. The biLM reads its directions in turn, since the profiler follows one thread.

This is the last benchmark.
"""

import sys
from collections import Counter
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.runtime import choose_precision, set_threads
from minitransfer.bert.encoder import BertConfig
from minitransfer.elmo.bilm import BiLMConfig, one_after_the_other
from minitransfer.elmo.charcnn import CharCNNConfig
from pretrain.bert.settings import PRESETS as BERT
from pretrain.bilm.settings import PRESETS as BILM
from tests.benchmarks.bert import OURS, make_rows, ways
from tests.benchmarks.steps import CPU, our_step
from tests.benchmarks.synthetic import make_text
from tests.benchmarks.timing import flags, print_table

KINDS = {  # the beginning of an operator's name -> what it does
    "LSTM": ("aten::mkldnn_rnn", "mkldnn_rnn", "aten::lstm"),
    "attention": ("aten::_scaled_dot_product",),
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear", "aten::matmul"),
    "maximum": ("aten::max", "aten::amax"),
    "optimiser": ("aten::_fused_adamw", "Optimizer"),
    "random numbers": ("aten::bernoulli", "aten::rand", "aten::uniform", "aten::randperm", "aten::randint"),
    "softmax, GELU, layer norm": ("aten::_log_softmax", "aten::_softmax", "aten::log", "aten::exp", "aten::gelu",
                                  "aten::native_layer_norm", "aten::nll_loss", "aten::logsumexp"),
    "looking up, copying": ("aten::index", "aten::gather", "aten::scatter", "aten::copy", "aten::cat", "aten::take",
                            "aten::embedding", "aten::clone", "aten::masked", "aten::nonzero", "aten::slice_backward"),
}
REST = "adding, multiplying, and all else"


def bilm_step(sizes: dict, precision: str) -> Callable[[], None]:
    """A training step of the biLM of these sizes."""
    chars = CharCNNConfig(2 * sizes["projection_size"], filters=sizes["filters"])
    config = BiLMConfig(sizes["vocab_size"], sizes["hidden_size"], sizes["projection_size"], charcnn=chars)
    text = make_text(sizes["vocab_size"], sizes["batch_size"], sizes["window"])
    return our_step(config, sizes, text, one_after_the_other, precision=precision)


def bert_step(sizes: dict, precision: str) -> Callable[[], None]:
    """A training step of the BERT of these sizes."""
    names = ("vocab_size", "hidden_size", "num_layers", "num_heads", "intermediate_size", "max_positions", "dropout")
    config = BertConfig(**{name: sizes[name] for name in names})
    rows = make_rows(config.vocab_size, sizes["batch_size"], sizes["seq_length"])
    return ways(config, rows, sizes["learning_rate"], precision)[OURS][0]


def shares(step: Callable[[], None], repeats: int) -> dict[str, float]:
    """What share of a step's time went into each kind of operator, the largest first."""
    step()  # in which torch plans and allocates
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(repeats):
            step()
    spent: Counter[str] = Counter()
    for event in seen.key_averages():
        spent[kind_of(event.key)] += event.self_cpu_time_total
    return {kind: time / spent.total() for kind, time in spent.most_common()}


def kind_of(operator: str) -> str:
    """Which kind an operator is of, by its name."""
    name = operator.rstrip("_")
    return next((kind for kind, beginnings in KINDS.items() if name.startswith(beginnings)), REST)


def main(args) -> None:
    """Profile both steps and print a table for each."""
    threads = set_threads(args.threads)
    torch.manual_seed(0)
    large = {"vocab_size": 30_000}, {"seq_length": 128, "batch_size": 16, "dropout": 0.1}
    small = {"vocab_size": 1_000, "window": 8}, {"vocab_size": 300, "seq_length": 16}
    preset, changes = ("tiny", small) if args.quick else ("small", large)
    for name, make, preset_sizes, change in zip(("biLM", "BERT"), (bilm_step, bert_step), (BILM, BERT), changes):
        sizes = preset_sizes[preset] | change
        precision = choose_precision(args.precision, CPU, sizes["hidden_size"])
        found = shares(make(sizes, precision), args.rounds)
        print_table([f"one step of the {name}", "share of its time"], [[k, f"{v:.0%}"] for k, v in found.items()])
        print()
    print(f"{threads} threads, {precision}; the mean of {args.rounds} steps")


if __name__ == "__main__":
    sys.exit(run_command(main, flags("tests.benchmarks.profile", __doc__)))
