"""Claims about what pretraining answers to bad input: one line, the exit code, and nothing begun that cannot end."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict

import pretrain_runs
import pytest
import torch
from commands import last_line
from encoder_runs import BILM, WORDS, make_bilm, make_static, save_run
from pretrain_runs import (
    COMMANDS,
    ROOT,
    make_wikitext,
    pretrain,
    rows,
    signal_at,
)

from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.elmo.bilm import BiLM
from minitransfer.static.skipgram import SkipGram

small_presets = pytest.fixture(scope="module", autouse=True)(pretrain_runs.small_presets)
data = pytest.fixture(scope="module")(pretrain_runs.wikitext)


@pytest.fixture
def unread(monkeypatch):
    """Fails a test in which the corpus is read: what is wrong must be found before."""
    monkeypatch.setattr("pretrain.shared.load_corpus", lambda *_, **__: pytest.fail("the corpus was read"))


BAD_FLAGS = [
    ("bilm", "--epoch 3", "did you mean --epochs?"),
    ("bilm", "--warmstart x", "did you mean --warm-start?"),
    ("bilm", "--preset smal", "did you mean small?"),
    ("bilm", "--corpus wikitext", "'wikitext' is not one of"),
    ("bilm", "--charcnn frozen", "is not one of auto, fixed, learning"),
    ("bilm", "--softmax adaptive", "is not one of sampled, full"),
    ("bilm", "--batch-size 0", "--batch-size: must be a whole number from 1"),
    ("bilm", "--batch-size 1.5", "--batch-size: must be"),
    ("bilm", "--window -3", "--window: must be"),
    ("bilm", "--epochs 99999999999", "--epochs: must be"),
    ("bilm", "--learning-rate nan", "--learning-rate: must be a number above 0 and at most 1e38"),
    ("bilm", "--learning-rate -1e-3", "--learning-rate: must be"),
    ("bilm", "--learning-rate inf", "--learning-rate: must be"),
    ("bilm", "--dropout 1", "--dropout: must be a number of at least 0 and below 1"),
    ("bilm", "--negatives 0", "--negatives: must be"),
    ("bilm", "--softmax full --negatives 5", "--negatives has no meaning where --softmax is full"),
    ("bilm", "--vocab-size 0", "--vocab-size: must be"),
    ("bilm", "--vocab-size 1", "--vocab-size 1 leaves no room for words: the first 3 are <pad>, <unk>, <eos>"),
    ("bilm", "--vocab-size 3", "--vocab-size 3 leaves no room for words"),
    ("bilm", "--highways -1", "--highways: must be"),
    ("bilm", "--highways 2147483647", "use 8 or fewer"),
    ("bilm", "--init-from a --highways 2", "--highways 2 has no meaning where --init-from brings its own"),
    ("bilm", "--init-from a --hidden-size 64", "--hidden-size 64 has no meaning where --init-from brings its own"),
    ("bilm", "--hidden-size 0", "--hidden-size: must be"),
    ("bilm", "--warm-start a --init-from b", "not allowed with argument --warm-start"),
    ("bilm", "--save-every 0", "--save-every: must be"),
    ("bilm", "--seed -1", "--seed: must be"),
    ("bilm", "--warm-start=", "must name a directory"),
    ("static", "--hidden_size 7", "did you mean --hidden-size?"),
    ("static", "--min-count 0", "--min-count: must be"),
    ("static", "--learning-rate 0", "--learning-rate: must be"),
    ("static", "--warm-start x", "unknown argument"),
]


@pytest.mark.parametrize("command, wrong, told", BAD_FLAGS)
def test_a_flag_that_means_nothing_is_named_with_what_it_takes(unread, tmp_path, capsys, command, wrong, told):
    module = COMMANDS[command]
    assert run_command(module.main, module.Settings, ["--out", str(tmp_path / "run"), *wrong.split()]) == 2
    assert told in last_line(capsys) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("argv, code", [(["--help"], 0), (["--epoch", "3"], 2)])
def test_help_and_a_typo_are_answered_without_torch(command, argv, code):
    program = (f"import sys; from pretrain.{command}.__main__ import Settings, main, run_command; "
               f"code = run_command(main, Settings, {argv!r}); print(code, 'torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith(f"{code} False\n")
    if argv == ["--help"]:
        assert "examples:" in done.stdout and f"python -m pretrain.{command} --corpus" in done.stdout
        assert "writes to --out" in done.stdout and "on 2 cores" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_a_gpu_that_is_not_there_is_not_replaced(unread, data, tmp_path, capsys, monkeypatch, command):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pretrain(command, data, tmp_path / "run", "--device", "cuda") == 2
    assert "--device cuda" in last_line(capsys)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("taken_by", ["photo.jpg", "config.json", ".hidden", "a file"])
def test_a_place_that_is_taken_is_left_alone(unread, data, tmp_path, capsys, command, taken_by):
    out = tmp_path / "run"
    if taken_by == "a file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / taken_by).write_text("mine")
    assert pretrain(command, data, out) == 2
    line = last_line(capsys)
    assert "--out" in line and str(out) in line
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]


def test_an_empty_place_is_not_taken_nor_one_in_which_a_run_died_before_it_began(data, tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("lock", ".tmp-config.json"):
        (tmp_path / "run" / name).write_text("")
    assert pretrain("static", data, tmp_path / "run", "--epochs", "1") == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_there_must_be_a_run_of_the_same_kind_to_resume(unread, data, tmp_path, capsys, command):
    assert pretrain(command, data, tmp_path / "absent", "--resume") == 4
    assert "no such directory" in last_line(capsys)
    (tmp_path / "empty").mkdir()
    assert pretrain(command, data, tmp_path / "empty", "--resume") == 4
    assert "looked for config.json, found nothing" in last_line(capsys)
    (tmp_path / "empty" / "photo.jpg").write_text("mine")
    assert pretrain(command, data, tmp_path / "empty", "--resume") == 4
    assert "found photo.jpg" in last_line(capsys)
    other = tmp_path / "other"
    make_static(other, WORDS, torch.ones(5, 3)) if command == "bilm" else make_bilm(other)
    assert pretrain(command, data, other, "--resume") == 4
    line = last_line(capsys)
    assert "kind 'static'" in line and "kind 'bilm'" in line


def test_a_run_is_not_resumed_with_other_settings(data, tmp_path, capsys):
    for command in COMMANDS:
        out = tmp_path / command
        assert pretrain(command, data, out, "--epochs", "1") == 0
        assert pretrain(command, data, out, "--epochs", "2", "--seed", "7", "--resume") == 4
        line = last_line(capsys)
        assert "seed: 0 there, 7 now" in line and "training.epochs: 1 there, 2 now" in line
    assert pretrain("bilm", data, out.with_name("bilm"), "--epochs", "1", "--charcnn", "fixed", "--resume") == 4
    other = make_wikitext(tmp_path / "other", seed=1)
    with_state = tmp_path / "cut"
    with pytest.MonkeyPatch.context() as patched:
        signal_at("bilm", 2, signal.SIGTERM, patched.setattr)
        assert pretrain("bilm", data, with_state) == 143
    assert pretrain("bilm", other, with_state, "--resume") == 4
    assert "corpus.fingerprint" in last_line(capsys)


def test_a_corpus_that_is_absent_and_may_not_be_downloaded_is_a_network_matter(tmp_path, capsys):
    for command in COMMANDS:
        assert pretrain(command, tmp_path / "nowhere", tmp_path / "run") == 7
        assert "--offline" in last_line(capsys) and not (tmp_path / "run").exists()


def test_too_little_text_is_refused_with_the_counts(data, tmp_path, capsys):
    assert pretrain("bilm", data, tmp_path / "run", "--batch-size", "5000") == 3
    line = last_line(capsys)
    assert "tokens for training" in line and "the least for 5,000 rows are 10,000 and 2" in line
    assert pretrain("static", data, tmp_path / "run", "--min-count", "999") == 3
    assert "0 running words out of those that occur 999 times or more, and 64 are the least" in last_line(capsys)
    assert not (tmp_path / "run").exists()


def make_repetitive(data_dir, lines):
    """A WikiText-2 folder whose text says the same line so many times."""
    folder = data_dir / "wikitext-2"
    folder.mkdir(exist_ok=True)
    for name in ("train", "valid"):
        (folder / f"wiki.{name}.tokens").write_text(" \n = a = \n \n" + " b c d e f g h \n" * lines)


@pytest.mark.parametrize("begins", [
    ("static", "--method", "skipgram"), ("static", "--method", "glove"), ("bilm", "--warm-start", "auto"),
])  # fmt: skip
def test_text_that_thins_out_to_nothing_is_refused_and_with_more_of_it_the_run_begins(tmp_path, capsys, begins):
    command, *flags = begins
    for lines in (30, 60, 90):
        make_repetitive(tmp_path, lines)
        assert pretrain(command, tmp_path, tmp_path / "runs" / "run", *flags) == 3
        assert "thinned out, the text has" in last_line(capsys) and not (tmp_path / "runs").exists()
    make_repetitive(tmp_path, 900)
    assert pretrain(command, tmp_path, tmp_path / "runs" / "run", *flags) == 0


def test_text_that_thins_out_to_nothing_in_a_late_epoch_is_refused_before_the_first(tmp_path, capsys):
    for lines in range(150, 450, 10):
        make_repetitive(tmp_path, lines)
        if pretrain("static", tmp_path, tmp_path / "one", "--epochs", "1") == 0:
            break  # as many as the first epoch needs just now
    assert pretrain("static", tmp_path, tmp_path / "twenty", "--epochs", "20") == 3
    assert "thinned out, the text has" in last_line(capsys) and not (tmp_path / "twenty").exists()


MODEL, TENSORS = asdict(BILM), BiLM(BILM).state_dict()
MISFITS = {  # what is wrong with a biLM to go on from, and what must be said of it
    "a word too many": ({"vocab": [*WORDS, "more"]}, "vocab_size is 5, but the vocabulary has 6 words"),
    "a row too few": ({"tensors": {**TENSORS, "softmax.weight": torch.ones(4, 7)}}, "weight (4, 7) instead of (5, 7)"),
    "no softmax": ({"tensors": {n: t for n, t in TENSORS.items() if "softmax" not in n}}, "missing: softmax.bias"),
    "a million units": ({"model": {**MODEL, "hidden_size": 10**6}}, "describes a network of"),
    "a billion layers": ({"model": {**MODEL, "num_layers": 10**9}}, "layers cannot be made of"),
    "a billion filters": ({"model": {**MODEL, "charcnn": {**MODEL["charcnn"], "filters": [[1, 10**9]]}}}, "weights"),
    "no shape": ({"model": {}}, "config.json describes no network"),
}


@pytest.mark.parametrize("wrong", MISFITS)
def test_a_bilm_to_go_on_from_must_fit_together_before_anything_is_read(unread, data, tmp_path, capsys, wrong):
    changes, told = MISFITS[wrong]
    parts = {"model": MODEL, "tensors": TENSORS, "vocab": WORDS, **changes}
    config = {"kind": "bilm", "corpus": {"name": "by hand"}, "model": parts["model"]}
    path = save_run(tmp_path / "bilm", config, parts["tensors"], {"vocab.txt": "\n".join(parts["vocab"]) + "\n"})
    assert pretrain("bilm", data, tmp_path / "run", "--init-from", str(path)) == 4
    line = last_line(capsys)
    assert told in line and str(path) in line and not (tmp_path / "run").exists()


def test_a_run_to_begin_with_must_be_there_finished_and_of_the_right_kind(unread, data, tmp_path, capsys):
    static, bilm = make_static(tmp_path / "static", WORDS, torch.rand(5, 12)), make_bilm(tmp_path / "bilm")
    unfinished = shutil.copytree(static, tmp_path / "unfinished")
    (unfinished / "manifest.json").unlink()
    (tmp_path / "file").write_text("")
    cases = [
        ("--warm-start", tmp_path / "absent", ["there is no such directory"]),
        ("--warm-start", tmp_path / "file", ["it is a file"]),
        ("--warm-start", bilm, ["kind 'bilm'", "kind 'static' is needed"]),
        ("--warm-start", unfinished, ["has not finished"]),
        ("--init-from", tmp_path / "absent", ["there is no such directory"]),
        ("--init-from", static, ["kind 'static'", "kind 'bilm' is needed"]),
        ("--warm-start", make_static(tmp_path / "narrow", WORDS, torch.rand(5, 7)),
         ["vectors of 7 dimensions", "needs 12", "pretrain.static --hidden-size 12"]),
        ("--warm-start", make_static(tmp_path / "words", WORDS[:4], torch.rand(5, 12)), ["vocab.txt has 4 words"]),
    ]
    for flag, path, told in cases:
        assert pretrain("bilm", data, tmp_path / "run", flag, str(path)) == 4
        line = last_line(capsys)
        assert all(part in line for part in told), line
        assert not (tmp_path / "run").exists()


def not_finite_from(step: int, count: int, monkeypatch) -> None:
    """Let the loss be nan in `count` steps, beginning with this one."""
    direction_loss, calls = BiLM.direction_loss, []

    def instead(self, *arguments):
        loss, memory = direction_loss(self, *arguments)
        calls.append(loss)
        spoilt = step <= (len(calls) + 1) // 2 < step + count
        return (loss * float("nan"), [(h * float("nan"), c) for h, c in memory]) if spoilt else (loss, memory)

    monkeypatch.setattr(BiLM, "direction_loss", instead)


def test_a_step_that_is_not_finite_is_skipped_and_counted(data, tmp_path, monkeypatch):
    not_finite_from(20, 4, monkeypatch)
    assert pretrain("bilm", data, tmp_path / "run", "--epochs", "1") == 0
    losses = [(row["step"], row["loss"], row["skipped"]) for row in rows(tmp_path / "run") if "loss" in row]
    assert [step for step, loss, _ in losses if loss is None] == [20, 21, 22, 23]  # and then finite again, memory too
    assert losses[18][2] == 0 and losses[-1][2] == 4
    assert load_run(tmp_path / "run").kind == "bilm"


def test_five_such_steps_in_a_row_stop_the_run_and_the_last_good_state_stays(data, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        not_finite_from(20, 5, patched)
        assert pretrain("bilm", data, tmp_path / "run", "--epochs", "1", "--save-every", "1e-9") == 5
    assert "5 steps in a row" in last_line(capsys)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    manifest = json.loads((max((tmp_path / "run" / "state").glob("step-*")) / "manifest.json").read_text())
    assert manifest["step"] == 23
    assert pretrain("bilm", data, tmp_path / "run", "--epochs", "1", "--resume") == 0
    assert all(tensor.isfinite().all() for tensor in load_run(tmp_path / "run").tensors.values())


def test_a_step_of_skip_gram_that_is_not_finite_stops_the_run_at_once(data, tmp_path, monkeypatch, capsys):
    """It has moved the vectors already, so that no later one could mend them."""
    step, calls = SkipGram.step, []

    def instead(self, *arguments):
        calls.append(step(self, *arguments))
        return calls[-1] if len(calls) < 3 else float("nan")

    monkeypatch.setattr(SkipGram, "step", instead)
    assert pretrain("static", data, tmp_path / "run") == 5
    assert "step 3 gave a loss of nan, and has already moved the vectors" in last_line(capsys)
    assert len(calls) == 3 and not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_learning_rate_beyond_reason_ends_the_run_and_leaves_no_weights(data, tmp_path, capsys, command):
    assert pretrain(command, data, tmp_path / "run", "--learning-rate", "1e38") == 5
    assert "--learning-rate" in last_line(capsys) and not (tmp_path / "run" / "model.safetensors").exists()
