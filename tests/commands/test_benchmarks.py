"""Claims about the benchmarks: each runs from a clone and prints ratios, and what it divides by is right.

How fast anything is, is not a claim of these tests: a busy machine would refute it.
"""

import importlib
import os
import re
import statistics
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from minitransfer.elmo.bilm import BiLM, BiLMConfig
from minitransfer.elmo.charcnn import CharCNNConfig
from minitransfer.text.words import EOS_ID, UNK_ID

ROOT = Path(__file__).resolve().parents[2]
RATIO = re.compile(r"\b\d+\.\d\d\b")


@pytest.fixture
def chapter(monkeypatch):
    """Imports a module of the benchmarks by its name, as `python -m` in the repository would."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"tests.benchmarks.{name}")


def run(name: str) -> subprocess.CompletedProcess:
    """A benchmark, in the smallest size, in a process of its own."""
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", "--quick", "--rounds", "1", "--threads", "1"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})


def table_of(done: subprocess.CompletedProcess, rows: int) -> list[list[str]]:
    """The rows of the table that a benchmark printed, each as its name and its ratios."""
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "words/s" in lines[0] and "×" in lines[0] and len(lines) > rows + 1
    return [[line.split("  ")[0], *RATIO.findall(line)] for line in lines[1 : rows + 1]]


@pytest.mark.slow
def test_the_bilm_benchmark_prints_each_way_beside_the_plain_one():
    table = table_of(run("bilm"), rows=6)
    assert all(len(row) == 3 and float(row[1]) > 0 and float(row[2]) > 0 for row in table)
    assert table[5][:2] == ["the plain way", "1.00"] and table[1][2] == "1.00"


@pytest.mark.slow
def test_the_benchmark_of_the_character_cnn_compares_ways_that_give_the_same_gradients():
    done = run("charcnn")
    table = table_of(done, rows=5)
    assert all(float(row[1]) > 0 for row in table) and table[2][1] == table[4][1] == "1.00"
    for profile in done.stdout.split("share of its time")[1:]:
        shares = [int(share) for share in re.findall(r"(\d+)%", profile)]
        assert abs(sum(shares) - 100) <= len(shares)  # each is rounded
        assert "maximum" in profile and "matrix products" in profile
    assert done.stdout.count("share of its time") == 2
    difference = re.search(r"largest difference of the gradients from those of the plain way: (\S+)", done.stdout)
    assert float(difference[1]) < 1e-5


@pytest.mark.slow
def test_the_skipgram_benchmark_needs_no_gensim_and_says_how_to_get_it():
    hidden = "import sys; sys.modules['gensim'] = None; from tests.benchmarks import skipgram as s; "
    call = "sys.exit(s.run_command(s.main, s.parser(), ['--quick', '--rounds', '1', '--threads', '1']))"
    done = subprocess.run([sys.executable, "-c", hidden + call], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert table_of(done, rows=1) == [["minitransfer", "1.00"]] and "pip install gensim" in done.stdout


def learned(name: str) -> list[list[str]]:
    """The rows of cells of the table that a benchmark by what is learned printed, in the smallest size."""
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", "--quick", "--threads", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [re.split(r"  +", line.strip()) for line in done.stdout.splitlines()[:-1]]


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("transformers"), reason="needs transformers")
def test_the_time_to_a_loss_is_told_of_both_beside_guessing():
    _, guess, ours, theirs = learned("time_to_loss")
    assert (guess[0], ours[0], theirs[0]) == ("guessing by frequency", "ours", "transformers")
    assert float(ours[4]) < float(guess[1]) and ours[1] == "1.0" and int(theirs[2].replace(",", "")) > 1
    assert theirs[5] == ("yes" if float(theirs[4]) <= float(ours[4]) else "no")


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("fastai"), reason="needs fastai")
def test_the_awd_lstm_learns_for_a_part_of_our_time():
    header, ours, theirs = learned("awd_lstm")
    assert header[1:3] == ["× our time", "words"] and ours[1] == "1.0"
    assert float(ours[5]) < float(theirs[5])  # which had a tenth of the time


def test_a_benchmark_beside_a_missing_library_says_so_before_it_trains(chapter, monkeypatch, capsys):
    for name, package in (("awd_lstm", "fastai"), ("time_to_loss", "transformers")):
        benchmark = chapter(name)
        monkeypatch.setitem(sys.modules, package, None)
        assert benchmark.run_command(benchmark.main, benchmark.parser(), ["--quick"]) == 2
        assert f"pip install {package}" in capsys.readouterr().err.splitlines()[-1]


def test_their_text_is_so_many_words_in_whole_documents_each_in_a_pass_once(chapter):
    V, documents = 5, [np.arange(first, last, dtype=np.int32) for first, last in ((0, 3), (3, 4), (4, 9))]
    text = SimpleNamespace(documents=documents, vocab_size=V)
    cut = [d.tolist() for d in chapter("awd_lstm").documents_for(text, 9 + 9 + 1)]
    in_softmax = [[0, 1, 2], [3], [4, UNK_ID, UNK_ID, UNK_ID, UNK_ID]]
    assert sorted(cut[:3]) == sorted(cut[3:6]) == sorted(in_softmax)
    assert len(cut) == 7 and any(cut[6] == d[:1] for d in in_softmax)


def test_their_perplexity_is_that_of_every_token_once(chapter):
    """Of a network that looks at the last word alone, by a loop over the text."""
    V, N = 7, 2 * 16 * 128 + 5  # more than one window, and rows that end in padding
    rng = np.random.default_rng(0)
    token_ids, logits = rng.integers(1, V + 2, N), torch.from_numpy(rng.normal(size=(V, V)))

    class LastWord(torch.nn.Module):
        reset = staticmethod(lambda: None)
        forward = staticmethod(lambda inputs: (logits[inputs], None, None))

    known = [int(w) if w < V else UNK_ID for w in [EOS_ID, *token_ids]]
    nats = -sum(logits[before].log_softmax(0)[after].item() for before, after in zip(known, known[1:]))
    assert chapter("awd_lstm").their_perplexity(LastWord(), token_ids, V) == pytest.approx(np.exp(nats / N))


@pytest.mark.slow
def test_the_frozen_pass_benchmark_compares_ways_that_give_the_same_features():
    done = run("frozen_pass")
    table = table_of(done, rows=4)
    assert all(float(row[1]) > 0 for row in table) and table[3][:2] == ["CNN per running word, in turn", "1.00"]
    difference = re.search(r"largest difference from the features of finetune.imdb: (\S+);", done.stdout)
    assert float(difference[1]) < 1e-5


@pytest.mark.slow
def test_the_transfer_benchmark_times_learning_and_reading_on_the_same_reviews():
    done = run("transfer")
    assert done.returncode == 0, done.stderr
    lines = [re.split(r"  +", line) for line in done.stdout.splitlines()]
    titles = [i for i, line in enumerate(lines) if line[0] in ("fine-tuning", "classifying")]
    assert len(titles) == 2
    for i in titles:
        assert lines[i][1] == "tokens/s" and [line[0] for line in lines[i + 1 : i + 3]] == [
            "ours", "ours, batches as they come"]
        assert lines[i + 2][2] == "1.00" and float(lines[i + 1][2]) > 0


@pytest.mark.slow
def test_the_growth_benchmark_doubles_each_size_by_itself(chapter):
    growth = chapter("growth")
    assert growth.doubled((3, 5, 7)) == {
        "as it is": (3, 5, 7), "twice the rows": (6, 5, 7), "twice the length": (3, 10, 7),
        "twice the vocabulary": (3, 5, 14)}
    done = run("growth")
    assert done.returncode == 0, done.stderr
    table = [re.split(r"  +", line) for line in done.stdout.splitlines()[1:11]]
    assert [row[2] for row in table if row[0].endswith(growth.AS_IS)] == ["1.00"] * 3
    assert all(float(row[4]) > 0.1 for row in table[:8])


@pytest.mark.slow
def test_the_benchmark_of_processes_times_one_beside_several():
    done = run("processes")
    assert done.returncode == 0, done.stderr
    table = [re.split(r"  +", line) for line in done.stdout.splitlines()[1:5]]
    assert [row[0].partition(",")[0] for row in table] == ["biLM", "biLM", "BERT", "BERT"]
    assert table[0][2] == table[2][2] == "1.00" and all(float(row[2]) > 0 for row in table)


@pytest.mark.slow
def test_the_startup_benchmark_asks_each_command_for_help(chapter):
    command = [sys.executable, "-m", "tests.benchmarks.startup", "--quick", "--rounds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert [line.split("  ")[0] for line in done.stdout.splitlines()[1:]] == [
        *(chapter("startup").NOTHING, chapter("startup").TORCH), *chapter("startup").COMMANDS[:2]]


def test_a_mistyped_flag_is_answered_by_one_line_and_the_nearest_flag(chapter, capsys):
    benchmark = chapter("skipgram")
    assert benchmark.run_command(benchmark.main, benchmark.parser(), ["--wrods", "5"]) == 2
    assert "did you mean --words?" in capsys.readouterr().err.splitlines()[-1]


def test_a_ratio_is_taken_within_each_round_so_that_a_machine_that_slows_down_does_not_move_it(chapter):
    timing = chapter("timing")
    slowness = [1.0, 1.5, 4.0, 9.0, 2.0]
    times = {"a": [0.3 * s for s in slowness], "b": [0.6 * s for s in slowness], timing.MATRIX: slowness}
    assert timing.speed_up(times, "a", "b") == pytest.approx(2.0)
    assert timing.seconds(times, "a") == pytest.approx(0.3 * statistics.median(slowness))
    # 30 FLOP in 0.3 s, where the product does 200 in 1 s: half of its rate.
    assert timing.share_of_matrix_rate(times, "a", 30.0, 200.0) == pytest.approx(0.5)


def test_jobs_take_turns_and_the_first_round_is_not_timed(chapter):
    order = []
    times = chapter("timing").take_turns({name: lambda name=name: order.append(name) for name in "abc"}, rounds=3)
    assert order == list("abc") * 4
    assert {name: len(t) for name, t in times.items()} == {"a": 3, "b": 3, "c": 3}


@pytest.mark.filterwarnings("ignore:TF32")  # torch says so on leaving `mkldnn.flags`
def test_the_flop_formula_counts_what_torch_counts(chapter):
    """torch's own counter, on one way forward; without oneDNN, whose fused LSTM it cannot look into."""
    flop, B, T, U, C, V = chapter("flop"), 3, 5, 7, 9, 13
    config = BiLMConfig(V, hidden_size=11, projection_size=4, num_layers=3,
                        charcnn=CharCNNConfig(8, char_size=6, filters=((1, 2), (3, 5))))
    model, counter = BiLM(config), FlopCounterMode(display=False)
    chapter("steps").with_plain_maximum(model.charcnn)  # whose products are all there, instead of a table of sums
    with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False), counter:
        model.charcnn(torch.ones(U, C, dtype=torch.int64))
        for stack in model.stacks():
            outputs, _ = stack(torch.zeros(B, T, 8))
            model.softmax.full_loss(outputs[-1].flatten(0, 1), torch.zeros(B * T, dtype=torch.int64))
    forward = flop.training_flop(config, V, U / (B * T), C) / 3 * B * T
    assert counter.get_total_flops() == pytest.approx(forward)


def test_made_up_text_repeats_words_as_text_does_and_cuts_reviews(chapter):
    synthetic, rng = chapter("synthetic"), np.random.default_rng(0)
    words = synthetic.made_up_words(2_000, rng)
    letters = np.array([len(word) for word in words])
    assert len(set(words)) == 2_000 and letters[1_000:].mean() > letters[3:50].mean()
    stream = synthetic.zipf_stream(2_000, 30_000, rng)
    counts = np.bincount(stream, minlength=2_000)
    assert counts[:3].sum() == 0 and counts.argmax() in (3, 4) and counts[3:13].sum() > counts[1_000:].sum()
    lengths = synthetic.review_lengths(5_000, 256, rng)
    assert lengths.max() == 256 and lengths.min() >= 10 and 185 < lengths.mean() < 205


@pytest.mark.slow
def test_the_profile_accounts_for_all_of_a_steps_time(chapter):
    done = run("profile")
    assert done.returncode == 0, done.stderr
    bilm, bert = (part.splitlines()[1:] for part in done.stdout.split("one step of the ")[1:])
    for lines, expected in ((bilm, "LSTM"), (bert, "attention")):
        shares = {line.rsplit(None, 1)[0].strip(): int(line.rsplit(None, 1)[1][:-1]) for line in lines if "%" in line}
        assert expected in shares and abs(sum(shares.values()) - 100) <= len(shares)  # each is rounded
    kind_of = chapter("profile").kind_of
    assert kind_of("aten::bernoulli_") == "random numbers" and kind_of("aten::mul") == chapter("profile").REST
