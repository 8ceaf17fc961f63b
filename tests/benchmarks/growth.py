"""Benchmark: what does it cost to double something: the rows of a batch, their length, the vocabulary, the corpus?

    python -m tests.benchmarks.growth
    python -m tests.benchmarks.growth --quick

Steps of pretraining, of the preset `small`, on made-up text, each as it is and with one size doubled. Twice the rows
and twice the length are twice the tokens, so a step that takes twice as long has the same rate. Peak memory is that
of a process that takes one such step and nothing else.

Next: processes.py, who may share a step.
"""

import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.runtime import (
    choose_precision,
    peak_memory_gib,
    set_threads,
)
from minitransfer.bert.encoder import BertConfig, MaskedLM
from minitransfer.elmo.bilm import BiLMConfig, one_after_the_other
from minitransfer.elmo.charcnn import CharCNNConfig
from minitransfer.text.words import Vocabulary
from pretrain.bert import run as bert
from pretrain.bilm import run as bilm
from tests.benchmarks.bert import make_rows, make_step
from tests.benchmarks.steps import CPU, our_step
from tests.benchmarks.synthetic import made_up_words, make_text, zipf_stream
from tests.benchmarks.timing import flags, print_table, seconds, speed_up, take_turns

ROWS, LENGTH, VOCABULARY, CORPUS = "twice the rows", "twice the length", "twice the vocabulary", "twice the corpus"
AS_IS = "as it is"
Sizes = tuple[int, int, int]  # rows, tokens of a row, words or pieces of the vocabulary


def doubled(sizes: Sizes) -> dict[str, Sizes]:
    """These sizes, and each of them doubled by itself."""
    B, T, V = sizes
    return {AS_IS: sizes, ROWS: (2 * B, T, V), LENGTH: (B, 2 * T, V), VOCABULARY: (B, T, 2 * V)}


def bilm_step(sizes: Sizes, preset: str, precision: str,
              run_both: Callable = one_after_the_other) -> Callable[[], None]:
    """A job: one step of the biLM, its character CNN fixed and its softmax sampled."""
    (B, T, V), values = sizes, bilm.Settings.presets[preset]
    chars = CharCNNConfig(2 * values["projection_size"], filters=values["filters"])
    config = BiLMConfig(V, values["hidden_size"], values["projection_size"], dropout=values["dropout"], charcnn=chars)
    return our_step(config, values, make_text(V, B, T), run_both, precision=precision)


def bert_step(sizes: Sizes, preset: str, precision: str) -> Callable[[], None]:
    """A job: one step of BERT."""
    (B, T, V), values = sizes, bert.Settings.presets[preset]
    names = ("hidden_size", "num_layers", "num_heads", "intermediate_size", "max_positions", "dropout")
    config = BertConfig(V, **{name: values[name] for name in names})
    config = replace(config, max_positions=max(T, config.max_positions))
    model = MaskedLM(config)
    return make_step(model, lambda *batch: model.loss(*batch[:2], generator=batch[2]), make_rows(V, B, T), V,
                     values["learning_rate"], precision)


def counting(words: int, V: int) -> Callable[[], None]:
    """A job: a vocabulary made of so many running words, and these encoded."""
    spelled = made_up_words(V, np.random.default_rng(0))
    lines = [[spelled[i] for i in line] for line in zipf_stream(V, words, np.random.default_rng(1)).reshape(-1, 20)]
    return lambda: Vocabulary.from_tokens(lines).encode(lines)


KINDS = {"biLM": bilm_step, "BERT": bert_step}


def peak(kind: str, sizes: Sizes, preset: str, precision: str, threads: int) -> float:
    """Peak memory, in GiB, of a process that takes one step."""
    set_threads(threads)
    KINDS[kind](sizes, preset, precision)()
    return peak_memory_gib()


def alone(work: Callable, *arguments):
    """What `work` returns in a new process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def rows_of(kind: str, sizes: Sizes, args, precision: str, threads: int) -> list[list[str]]:
    """The rows of the table that tell of one kind of network."""
    variants, preset = doubled(sizes), "tiny" if args.quick else "small"
    times = take_turns({name: KINDS[kind](some, preset, precision) for name, some in variants.items()}, args.rounds)
    peaks = {name: alone(peak, kind, some, preset, precision, threads) for name, some in variants.items()}
    return [[f"{kind}, {name}", f"{1000 * seconds(times, name):.0f}", f"{1 / speed_up(times, name, AS_IS):.2f}",
             f"{B * T / seconds(times, name):,.0f}", f"{peaks[name]:.2f}"] for name, (B, T, _) in variants.items()]


def main(args) -> None:
    """Time each size in turns, and print the table."""
    threads = set_threads(args.threads)
    precision = choose_precision(args.precision, CPU, 16 if args.quick else 256)
    torch.manual_seed(0)
    bilm_sizes, bert_sizes, words = (32, 64, 30_000), (16, 128, 16_000), 1_000_000
    if args.quick:
        bilm_sizes, bert_sizes, words = (3, 5, 300), (2, 16, 300), 2_000
    table = rows_of("biLM", bilm_sizes, args, precision, threads)
    table += rows_of("BERT", bert_sizes, args, precision, threads)
    times = take_turns({n: counting(n * words, bilm_sizes[2]) for n in (1, 2)}, args.rounds)
    table += [[f"counting words, {name}", f"{1000 * seconds(times, n):.0f}", f"{1 / speed_up(times, n, 1):.2f}",
               f"{n * words / seconds(times, n):,.0f}", "-"] for n, name in ((1, AS_IS), (2, CORPUS))]
    print_table(["one step", "ms", "× as it is", "tokens/s", "GiB"], table)
    print(f"{threads} threads, {precision}; biLM {bilm_sizes}, BERT {bert_sizes}: rows, tokens of each, vocabulary")


if __name__ == "__main__":
    sys.exit(run_command(main, flags("tests.benchmarks.growth", __doc__)))
