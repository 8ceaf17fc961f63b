"""Claims about pretraining: stopped anywhere, it ends as if never stopped, and it measures what it says."""

import math
import os
import shlex
import shutil
import signal
from collections import Counter

import pretrain_runs
import pytest
import torch
from pretrain_runs import (
    PRESETS,
    die_at,
    pretrain,
    rows,
    signal_at,
    skip_without_bfloat16,
)

from minitransfer.apparatus import runtime
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.errors import DataError, NumericsError
from minitransfer.apparatus.runtime import derived_seed
from minitransfer.elmo.bilm import BiLM, BiLMConfig, one_after_the_other
from minitransfer.elmo.charcnn import CharCNNConfig
from minitransfer.elmo.softmax import CandidateSoftmax
from minitransfer.text.corpora import Corpus, load_reviews
from minitransfer.text.words import EOS_ID, PAD_ID, UNK_ID
from pretrain import shared
from pretrain.bilm import run as bilm
from pretrain.bilm import text as reading
from pretrain.bilm.directions import Directions
from pretrain.bilm.text import WordVectors, epoch_windows, perplexity, read_text
from pretrain.static import train as static

small_presets = pytest.fixture(scope="module", autouse=True)(pretrain_runs.small_presets)
data = pytest.fixture(scope="module")(pretrain_runs.wikitext)


@pytest.fixture(scope="module")
def vectors(data, tmp_path_factory):
    """A finished run of static vectors."""
    out = tmp_path_factory.mktemp("runs") / "static"
    assert pretrain("static", data, out) == 0
    return out


@pytest.fixture
def one_thread_afterwards():
    yield
    torch.set_num_threads(1)


def weights(path):
    return load_run(path).tensors


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


KILLED = [  # a command, its flags (last with both directions at the same time), and where it is stopped, then killed
    pytest.param("static", (), ("static", 3), ("static", 2), marks=pytest.mark.slow),
    ("bilm", ("--warm-start", "VECTORS"), ("spelling", 1), ("bilm", 17)),
    pytest.param("bilm", ("--charcnn", "learning", "--softmax", "full", "--window", "190", "--threads", "2"),
                 ("bilm", 12), ("bilm", 3), marks=pytest.mark.slow),
    pytest.param("bilm", ("--precision", "bf16"), ("bilm", 3), ("bilm", 17), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("command, more, stopped, killed", KILLED,
                         ids=["static", "fixed", "learning on two threads", "bfloat16"])
def test_stopped_then_killed_and_resumed_in_new_processes_a_run_ends_with_the_same_bits(
        data, vectors, tmp_path, one_thread_afterwards, command, more, stopped, killed):
    skip_without_bfloat16(more)
    more = [str(vectors) if flag == "VECTORS" else flag for flag in more]
    assert pretrain(command, data, tmp_path / "whole", *more) == 0
    first = die_at(command, *stopped, "SIGTERM", data, tmp_path / "cut", *more)
    assert first.returncode == 143 and f"to go on: python -m pretrain.{command}" in first.stderr
    assert "--resume" in first.stderr.splitlines()[-1]
    every_step = ("--save-every", "1e-9")
    second = die_at(command, *killed, "SIGKILL", data, tmp_path / "cut", *more, *every_step, "--resume")
    assert second.returncode == -signal.SIGKILL and "warning" not in second.stderr.replace("warning: wikitext-2", "")
    assert pretrain(command, data, tmp_path / "cut", *more, "--resume") == 0
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    steps = [row["step"] for row in rows(tmp_path / "cut") if "loss" in row]
    assert steps == list(range(1, len(steps) + 1))
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


@pytest.fixture(scope="module")
def whole(data, vectors, tmp_path_factory):
    """A run that was never stopped, of two epochs after a warm start."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert pretrain("bilm", data, out, "--warm-start", str(vectors)) == 0
    return out


@pytest.mark.parametrize("what, share", [("spelling", 0), ("bilm", 0), ("bilm", 0.5), ("bilm", 1)])
def test_stopped_at_an_edge_a_run_ends_with_the_same_bits(
        data, vectors, whole, tmp_path, monkeypatch, capsys, what, share):
    """In the first step, in the last one of an epoch, in the very last one; and before it, amid the warm start."""
    steps = sum("loss" in row for row in rows(whole))
    with monkeypatch.context() as patched:
        signal_at(what, max(1, round(share * steps)), signal.SIGTERM, patched.setattr)
        assert pretrain("bilm", data, tmp_path / "cut", "--warm-start", str(vectors)) == 143
    told = "stopped before anything was learned; to go on" if what == "spelling" else "stopped and saved; to go on"
    assert told in capsys.readouterr().err and not (tmp_path / "cut" / "model.safetensors").exists()
    assert pretrain("bilm", data, tmp_path / "cut", "--warm-start", str(vectors), "--resume") == 0
    assert same(weights(whole), weights(tmp_path / "cut")) and rows(whole) == rows(tmp_path / "cut")


@pytest.mark.parametrize("more", [
    ("--optimizer", "muon", "--weight-decay", "0.3"), ("--average-weights", "0.2"),
    ("--softmax-optimizer", "adamw", "--hidden-size", "24")])
def test_with_each_switch_of_the_recipe_too(data, vectors, whole, tmp_path, monkeypatch, more):
    warm = ("--warm-start", str(vectors), *more)
    assert pretrain("bilm", data, tmp_path / "whole", *warm) == 0
    with monkeypatch.context() as patched:
        signal_at("bilm", 17, signal.SIGTERM, patched.setattr)
        assert pretrain("bilm", data, tmp_path / "cut", *warm) == 143
    assert pretrain("bilm", data, tmp_path / "cut", *warm, "--resume") == 0
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")
    switched, plain = weights(tmp_path / "whole"), weights(whole)
    stacks = [name for name in plain if name.startswith(("forward", "backward")) and plain[name].ndim == 2]
    assert not any(torch.equal(switched[name], plain[name]) for name in stacks)


def test_stopped_while_perplexity_is_measured_nothing_is_trained_twice(data, tmp_path, monkeypatch):
    measure = reading.perplexity_of_all

    def interrupted(*arguments, **settings):
        os.kill(os.getpid(), signal.SIGTERM)
        return measure(*arguments, **settings)

    with monkeypatch.context() as patched:
        patched.setattr(bilm, "perplexity_of_all", interrupted)
        assert pretrain("bilm", data, tmp_path / "run") == 143
    monkeypatch.setattr(BiLM, "direction_loss", lambda *arguments: 1 / 0)
    assert pretrain("bilm", data, tmp_path / "run", "--resume") == 0


def test_held_out_text_is_measured_while_training_and_changes_no_weight(data, tmp_path, monkeypatch):
    assert pretrain("bilm", data, tmp_path / "measured") == 0
    found = [row for row in rows(tmp_path / "measured") if "perplexity" in row]
    monkeypatch.setattr("pretrain.bilm.train.MEASURED_TOKENS", 5)
    assert pretrain("bilm", data, tmp_path / "barely") == 0
    barely = [row for row in rows(tmp_path / "barely") if "perplexity" in row]
    assert [row["step"] for row in found] == [row["step"] for row in barely] and 3 <= len(found) <= 9
    assert {row["held_out_tokens"] for row in barely[:-1]} == {5} and barely[-1] == found[-1]
    assert found[-1]["perplexity"] < found[0]["perplexity"]
    assert same(weights(tmp_path / "measured"), weights(tmp_path / "barely"))


def test_the_warm_start_is_saved_before_a_line_is_read(data, vectors, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        patched.setattr(BiLM, "direction_loss", lambda *arguments: 1 / 0)
        assert pretrain("bilm", data, tmp_path / "run", "--warm-start", str(vectors)) == 1
    capsys.readouterr()
    assert pretrain("bilm", data, tmp_path / "run", "--warm-start", str(vectors), "--resume") == 0
    assert "solving" not in capsys.readouterr().err


def test_a_finished_run_is_only_looked_at_and_its_corpus_not_read(data, vectors, tmp_path, monkeypatch, capsys):
    shutil.copytree(vectors, tmp_path / "static")
    assert pretrain("bilm", data, tmp_path / "bilm") == 0
    for command in ("static", "bilm"):
        out = tmp_path / command
        monkeypatch.setattr("pretrain.shared.load_corpus", lambda *_, **__: 1 / 0)
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
        capsys.readouterr()
        assert pretrain(command, data, out, "--resume") == 0
        assert "already complete (step " in capsys.readouterr().err
        assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


LETTERS = "abcdefghijkl"


def corpus_of(train: list[str], validation: list[str]) -> Corpus:
    return Corpus("by hand", train, validation, marks_unknown=True, source="by hand")


def some_text(count: int, held_out: int, seed: int = 0) -> Corpus:
    """One-letter words, the first letters the commonest; of the held-out ones, "z" is in no training document."""
    draw = torch.Generator().manual_seed(seed)
    weight = torch.arange(len(LETTERS), 0, -1.0)
    ids = torch.multinomial(weight, count + held_out, replacement=True, generator=draw).tolist()
    words = [LETTERS[i] for i in ids]
    cut = [count // 3, count // 2, count]
    train = [" ".join(words[a:b]) for a, b in zip([0, *cut], cut)]
    return corpus_of(train, [" ".join(["z", *words[count:]])])


def small_bilm(vocab_size: int, seed: int = 0) -> BiLM:
    torch.manual_seed(seed)
    chars = CharCNNConfig(output_size=10, char_size=3, filters=((1, 4), (2, 7)))
    return BiLM(BiLMConfig(vocab_size=vocab_size, hidden_size=6, projection_size=5, dropout=0.3, charcnn=chars))


def test_windows_are_the_documents_in_a_new_order_and_for_the_backward_model_reversed():
    text, B, T = read_text(some_text(100, 5), vocab_size=7, batch_size=4), 4, 9
    windows = epoch_windows(text, B, T, torch.Generator().manual_seed(3))
    assert len(windows) == math.ceil(math.ceil(text.num_tokens / B) / T)
    (ahead, back), (ahead_targets, back_targets) = (
        [torch.cat([window[side][d] for window in windows], dim=1).flatten().tolist() for d in (0, 1)]
        for side in (0, 1))
    spare = len(ahead) - text.num_tokens
    order = torch.randperm(3, generator=torch.Generator().manual_seed(3)).tolist()
    stream = [i for d in order for i in text.documents[d].tolist()]
    read, predicted = stream, [i if i < 7 else UNK_ID for i in stream]
    assert max(stream) >= 7 and order != [0, 1, 2]
    assert ahead == [EOS_ID, *read[:-1]] + [PAD_ID] * spare
    assert back == [EOS_ID, *read[:0:-1]] + [PAD_ID] * spare
    assert ahead_targets == predicted + [PAD_ID] * spare and back_targets == predicted[::-1] + [PAD_ID] * spare


def test_negatives_are_drawn_by_how_often_they_are_asked_for_and_unk_by_all_that_it_stands_for():
    text = read_text(some_text(100, 5), vocab_size=7, batch_size=4)
    windows = epoch_windows(text, 4, 9, torch.Generator().manual_seed(3))
    asked = Counter(i for _, (ahead, _) in windows for i in ahead.flatten().tolist() if i != PAD_ID)
    assert asked[UNK_ID] > 5 and sum(asked.values()) == text.num_tokens
    raw = [(asked[i] + 1) ** 0.75 for i in range(7)]
    assert text.log_q.exp().tolist() == pytest.approx([x / sum(raw) for x in raw], rel=1e-5)


def log_probability(model: BiLM, h: torch.Tensor, target: int) -> float:
    """log p(target | h) by the whole softmax, one logit after the other."""
    logits = [(w @ h + b).item() for w, b in zip(model.softmax.weight, model.softmax.bias)]
    return logits[target] - math.log(sum(math.exp(logit) for logit in logits))


@torch.no_grad()
def test_perplexity_is_worked_out_word_by_word_in_each_direction():
    """The held-out text is read in 16 rows, each from a blank memory, as if in one go."""
    text = read_text(some_text(300, 2_100), vocab_size=9, batch_size=4)
    model = small_bilm(9)
    for word_vectors in (WordVectors(model, text, fixed=True), WordVectors(model, text, fixed=False)):
        found = perplexity(model, word_vectors.table(), text.validation, one_after_the_other, check=lambda: None)
    stream, expected = text.validation.tolist(), []
    assert found["held_out_tokens"] == len(stream) == 2_102 and len(text.vocabulary) > 9  # 2,100, "z" and <eos>
    table, per_row = word_vectors.table(), math.ceil(len(stream) / 16)
    for stack, tokens in zip(model.stacks(), (stream, stream[::-1])):
        before, total, counted = [EOS_ID, *tokens[:-1]], 0.0, 0
        for start in range(0, len(tokens), per_row):
            row = slice(start, start + per_row)
            layers, _ = stack(table[before[row]].unsqueeze(0))
            for h, target in zip(layers[-1][0], tokens[row]):
                total -= log_probability(model, h, target if target < 9 else UNK_ID)
                counted += 1
        assert counted == len(stream)
        expected.append(math.exp(total / counted))
    assert [found["perplexity_forward"], found["perplexity_backward"]] == pytest.approx(expected, rel=1e-4)
    assert found["perplexity"] == pytest.approx(math.sqrt(expected[0] * expected[1]), rel=1e-4)


@pytest.mark.parametrize("losses", [(math.nan, 5.0), (5.0, math.nan), (5.0, math.inf), (701.0, 5.0)])
def test_a_loss_that_no_perplexity_follows_from_is_an_error_in_either_direction(monkeypatch, losses):
    monkeypatch.setattr("pretrain.bilm.text.held_out_loss", lambda *arguments: losses)
    text, model = read_text(some_text(300, 2_100), vocab_size=9, batch_size=4), small_bilm(9)
    with pytest.raises(NumericsError, match="forwards and .* backwards"):
        perplexity(model, WordVectors(model, text, fixed=True).table(), text.validation, one_after_the_other)


def test_memory_is_carried_from_window_to_window(data, tmp_path):
    """Without learning and dropout, the loss of many windows is that of one long one."""
    still = ("--learning-rate", "1e-30", "--dropout", "0", "--epochs", "1", "--softmax", "full")
    for name, window in (("short", "13"), ("long", "1000000")):
        assert pretrain("bilm", data, tmp_path / name, *still, "--window", window) == 0
    short = [row for row in rows(tmp_path / "short") if "loss" in row]
    [long] = [row for row in rows(tmp_path / "long") if "loss" in row]
    tokens = [row["tokens"] - before for row, before in zip(short, [0, *(r["tokens"] for r in short)])]
    assert len(short) > 50 and sum(tokens) == long["tokens"]
    for name in ("loss_forward", "loss_backward"):  # up to four tokens of padding are not counted
        mean = sum(row[name] * n for row, n in zip(short, tokens)) / sum(tokens)
        assert mean == pytest.approx(long[name], rel=1e-4)


@pytest.mark.parametrize("softmax", ["full", "sampled"])
def test_gradients_put_together_by_hand_are_those_of_one_graph(softmax):
    text = read_text(some_text(100, 5), vocab_size=9, batch_size=4)
    model = small_bilm(9).double()
    inputs, targets = epoch_windows(text, 4, 11, torch.Generator().manual_seed(0))[0]
    negatives, word_vectors = torch.tensor([3, 8, 8, 5]), WordVectors(model, text, fixed=False)
    in_turn = lambda *jobs: [job() for job in jobs[::-1]][::-1]  # noqa: E731  the backward model first
    candidates = CandidateSoftmax(model.softmax, targets, negatives if softmax == "sampled" else None)
    directions = Directions(model, word_vectors, 5, "fp32", in_turn)
    losses, _ = directions.back_propagate(inputs, targets, candidates, [None, None], 0)
    found = {name: p.grad.clone() for name, p in model.named_parameters() if "softmax" not in name}
    for (name, p), copy in zip(model.softmax.named_parameters(), candidates.parameters()):
        found[f"softmax.{name}"] = torch.zeros_like(p).index_copy_(0, candidates.word_ids, copy.grad)

    model.zero_grad()
    total = 0
    for d in (0, 1):
        x = model.charcnn(word_vectors.spelling[inputs[d].flatten()]).view(*inputs[d].shape, -1)
        noise = torch.Generator().manual_seed(derived_seed(5, "dropout", 0, d))
        drawn = negatives if softmax == "sampled" else None
        total = total + model.direction_loss(d, x, targets[d], None, noise, drawn, text.log_q)[0]
    (total / 2).backward()
    assert (losses[0] + losses[1]) / 2 == pytest.approx(total.item() / 2)
    for name, p in model.named_parameters():
        assert torch.allclose(found[name], p.grad, rtol=1e-6, atol=1e-9), name
    assert found["charcnn.convolutions.0.weight"].abs().sum() > 0


def test_a_fixed_character_cnn_keeps_every_bit_and_a_learning_one_does_not(data, tmp_path):
    for name, more in (("one", ("--charcnn", "fixed", "--epochs", "1")), ("two", ("--charcnn", "fixed")),
                       ("learning", ())):
        assert pretrain("bilm", data, tmp_path / name, *more) == 0
    one, two, learning = (weights(tmp_path / name) for name in ("one", "two", "learning"))
    for name in one:
        assert torch.equal(one[name], two[name]) == name.startswith("charcnn."), name
        assert not torch.equal(two[name], learning[name]), name


def test_a_warm_started_run_says_what_it_began_with_and_keeps_the_spelling_it_learned(data, vectors, whole, tmp_path):
    run = load_run(whole)
    assert run.config["charcnn"] == "fixed" and run.config["origin"]["kind"] == "static"
    assert run.config["origin"]["fingerprint"] == load_run(vectors).fingerprint
    assert pretrain("bilm", data, tmp_path / "short", "--warm-start", str(vectors), "--epochs", "1") == 0
    short = weights(tmp_path / "short")
    assert all(torch.equal(run.tensors[n], short[n]) == n.startswith("charcnn.") for n in short)


def make_reviews(path, poison: bool):
    """A folder of reviews laid out like IMDB; with `poison` its test half cannot be decoded."""
    for folder, count in (("train/pos", 9), ("train/neg", 9), ("train/unsup", 31), ("test/pos", 3), ("test/neg", 3)):
        (path / "aclImdb" / folder).mkdir(parents=True)
        for i in range(count):
            text = f"a film = {LETTERS[i % 12]}, number {i} of {folder}. " * 5
            data = b"\xff\xfe\x81" if poison and folder.startswith("test") else text.encode()
            (path / "aclImdb" / folder / f"{i}_{1 if 'neg' in folder else 9}.txt").write_bytes(data)
    return path


def test_what_is_printed_to_go_on_with_can_be_pasted(tmp_path):
    """On the same corpora, from the same place, in the same preset, and quoted."""
    argv = ["--corpus", "sample", "--preset", "tiny", "--offline", "--out", "a run's ü", "--data-dir", "my data"]
    arguments = static.Settings.parse_args(argv)
    words = shlex.split(shared.next_command(arguments, "pretrain.bilm", "--warm-start", arguments.out))
    assert words[:3] == ["python", "-m", "pretrain.bilm"]
    found = bilm.Settings.parse_args(words[3:])
    assert (found.warm_start, found.corpus, found.preset) == ("a run's ü", ("sample",), "tiny")
    assert found.offline and found.data_dir == "my data"
    words = shlex.split(shared.next_command(arguments, "finetune.imdb", "--encoder", arguments.out))
    assert words[3:] == ["--encoder", "a run's ü", "--data", "sample", "--data-dir", "my data", "--offline"]
    plain = bilm.Settings.parse_args([])
    assert shared.next_command(plain, "finetune.imdb") == "python -m finetune.imdb"


def test_highways_stand_between_the_filters_and_the_projection_where_they_are_asked_for(data, vectors, tmp_path):
    more = ("--highways", "2", "--epochs", "1")
    assert pretrain("bilm", data, tmp_path / "pure", *more) == 0
    assert pretrain("bilm", data, tmp_path / "warm", *more, "--warm-start", str(vectors)) == 0
    for name in ("pure", "warm"):
        saved = load_run(tmp_path / name)
        assert saved.config["model"]["charcnn"]["num_highways"] == 2
        assert {f"charcnn.highways.{i}.both.weight" for i in (0, 1)} <= saved.tensors.keys()


def test_going_on_with_reviews_keeps_what_was_learned_and_never_opens_their_test_half(data, tmp_path):
    assert pretrain("bilm", data, tmp_path / "first") == 0
    make_reviews(tmp_path, poison=True)
    still = ("--learning-rate", "1e-30", "--epochs", "1", "--corpus", "imdb", "--init-from", str(tmp_path / "first"))
    assert pretrain("bilm", tmp_path, tmp_path / "second", *still) == 0
    with pytest.raises(DataError):  # but it would have been noticed
        load_reviews("imdb", tmp_path, offline=True)
    first, second = load_run(tmp_path / "first"), load_run(tmp_path / "second")
    for name in first.tensors:
        if not name.startswith("softmax."):
            assert torch.allclose(second.tensors[name], first.tensors[name], rtol=0, atol=1e-20), name
    old, new = (run.text("vocab.txt").split("\n")[:-1] for run in (first, second))
    shared = set(old) & set(new)
    assert {"<pad>", "<unk>", "<eos>"} < shared != set(new)
    for word in new:
        row = second.tensors["softmax.weight"][new.index(word)]
        if word in shared:
            assert torch.allclose(row, first.tensors["softmax.weight"][old.index(word)], rtol=0, atol=1e-20)
        else:
            assert not (first.tensors["softmax.weight"] == row).all(dim=1).any()
    assert second.config["origin"]["corpus"]["name"] == "wikitext-2" and second.config["corpus"]["name"] == "imdb"


def test_going_on_with_the_same_text_is_no_second_look_at_the_same_windows_and_negatives(
        whole, data, tmp_path, monkeypatch):
    drawn, derived_seed = [], runtime.derived_seed
    monkeypatch.setattr(runtime, "derived_seed", lambda *parts: drawn.append(parts) or derived_seed(*parts))
    uses = {}
    for name, more in (("again", ()), ("on", ("--init-from", str(whole)))):
        drawn.clear()
        assert pretrain("bilm", data, tmp_path / name, "--epochs", "1", *more) == 0
        uses[name] = {parts for parts in drawn if parts[1] in ("order", "negatives", "dropout")}
    assert {parts[1] for parts in uses["on"]} == {"order", "negatives", "dropout"}
    assert len(uses["on"]) == len(uses["again"]) and uses["on"].isdisjoint(uses["again"])


def test_a_vocabulary_asked_larger_than_the_corpus_is_what_there_is(data, tmp_path, capsys):
    assert pretrain("bilm", data, tmp_path / "run", "--vocab-size", "999999", "--epochs", "1") == 0
    run = load_run(tmp_path / "run")
    size = len(run.text("vocab.txt").splitlines())
    assert f"softmax over {size:,} words (all there are)" in capsys.readouterr().err
    assert run.config["model"]["vocab_size"] == size == len(run.tensors["softmax.weight"])
    assert size > PRESETS["bilm"]["vocab_size"]
