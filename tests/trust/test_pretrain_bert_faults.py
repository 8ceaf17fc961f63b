"""Claims about what pretraining BERT answers to bad input: one line, the exit code, and nothing begun or lost."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch
from bert_runs import TEXTS, make_bert, make_static_pieces, make_tokenizer, pretrain
from commands import last_line
from encoder_runs import WORDS, make_bilm, make_static
from faults import flip
from pretrain_runs import ROOT, make_wikitext, rows, signal_at

from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.bert.encoder import BertConfig, MaskedLM
from minitransfer.bert.evaluation import masker
from minitransfer.text.wordpiece import train_wordpiece
from pretrain.bert import __main__ as bert


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_wikitext(tmp_path_factory.mktemp("data"), words=1_500)


@pytest.fixture
def unread(monkeypatch):
    """Fails a test in which the corpus is read: what is wrong must be found before."""
    monkeypatch.setattr("pretrain.shared.load_corpus", lambda *_, **__: pytest.fail("the corpus was read"))


@pytest.fixture
def unlooked(unread, monkeypatch):
    """As `unread`; and a run may be made of weights that ours would refuse to save."""
    monkeypatch.setattr("minitransfer.apparatus.states.refuse_non_finite", lambda tensors: None)


BAD_FLAGS = [
    ("--epoch 3", "did you mean --epochs?"),
    ("--whole-word", "did you mean --whole-words?"),
    ("--preset smal", "did you mean small?"),
    ("--corpus wikitext", "'wikitext' is not one of"),
    ("--mask-probability 0", "--mask-probability: must be a number above 0 and below 1"),
    ("--mask-probability 1", "--mask-probability: must be"),
    ("--mask-probability 1.5", "--mask-probability: must be"),
    ("--mask-probability nan", "--mask-probability: must be"),
    ("--mask-probability-end 1", "--mask-probability-end: must be a number above 0 and below 1"),
    ("--masks statik", "did you mean static?"),
    ("--masks static --mask-probability-end 0.3", "--mask-probability-end has no meaning where --masks static"),
    ("--optimizer sgd", "'sgd' is not one of adamw, muon"),
    ("--weight-decay -0.1", "--weight-decay: must be a finite number of at least 0"),
    ("--average-weights 0", "--average-weights: must be a number above 0 and below 1"),
    ("--average-weights 1", "--average-weights: must be"),
    ("--batch-size 0", "--batch-size: must be a whole number from 1"),
    ("--epochs 99999999999", "--epochs: must be"),
    ("--learning-rate nan", "--learning-rate: must be a number above 0 and at most 1e38"),
    ("--learning-rate -1e-3", "--learning-rate: must be"),
    ("--dropout 1", "--dropout: must be a number of at least 0 and below 1"),
    ("--warm-start a --init-from b", "not allowed with argument --warm-start"),
    ("--warm-start=", "must name a directory"),
    ("--seed -1", "--seed: must be"),
    ("--seq-length 0", "--seq-length: must be"),
    ("--seq-length 2", "--seq-length 2 is outside 3 to 512"),
    ("--seq-length 513", "--seq-length 513 is outside 3 to 512"),
    ("--seq-length 129 --preset tiny", "--seq-length 129 is outside 3 to 128"),
    ("--vocab-size 99", "--vocab-size 99 leaves no room for the letters"),
    ("--vocab-size 500 --warm-start runs/none", "--vocab-size 500 has no meaning where --warm-start"),
    ("--vocab-size 500 --init-from runs/none", "--vocab-size 500 has no meaning where --init-from"),
]


@pytest.mark.parametrize("wrong, told", BAD_FLAGS)
def test_a_flag_that_means_nothing_is_named_with_what_it_takes(unread, tmp_path, capsys, wrong, told):
    assert run_command(bert.main, bert.Settings, ["--out", str(tmp_path / "run"), *wrong.split()]) == 2
    assert told in last_line(capsys) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("argv, code", [(["--help"], 0), (["--epoch", "3"], 2), (["--vocab-size", "9"], 2)])
def test_help_and_a_typo_are_answered_without_torch(argv, code):
    program = (f"import sys; from pretrain.bert.__main__ import Settings, main, run_command; "
               f"code = run_command(main, Settings, {argv!r}); print(code, 'torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith(f"{code} False\n")
    if argv == ["--help"]:
        assert "examples:" in done.stdout and "writes to --out" in done.stdout and "on 2 cores" in done.stdout


def test_a_gpu_that_is_not_there_is_not_replaced(unread, data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pretrain(data, tmp_path / "run", "--device", "cuda") == 2
    assert "--device cuda" in last_line(capsys)


def test_a_place_that_is_taken_is_left_alone(unread, data, tmp_path, capsys):
    out = tmp_path / "run"
    out.mkdir()
    (out / "photo.jpg").write_text("mine")
    assert pretrain(data, out) == 2
    assert "it holds photo.jpg" in last_line(capsys)
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]


def test_there_must_be_a_run_of_the_same_kind_to_resume(unread, data, tmp_path, capsys):
    assert pretrain(data, tmp_path / "absent", "--resume") == 4
    assert "no such directory" in last_line(capsys)
    assert pretrain(data, make_bilm(tmp_path / "bilm"), "--resume") == 4
    line = last_line(capsys)
    assert "kind 'bilm'" in line and "kind 'bert'" in line


@pytest.fixture(scope="module")
def cut(data, tmp_path_factory):
    """A run that was stopped at step 30, its states of steps 29 and 30 saved."""
    out = tmp_path_factory.mktemp("runs") / "cut"
    with pytest.MonkeyPatch.context() as patched:
        signal_at("bert", 30, signal.SIGTERM, patched.setattr)
        assert pretrain(data, out, "--save-every", "1e-9") == 143
    return out


@pytest.mark.parametrize("more, told", [
    (("--seed", "7"), "seed: 0 there, 7 now"), (("--epochs", "3"), "training.epochs: 2 there, 3 now"),
    (("--mask-probability", "0.2"), "masking.probability: 0.15 there, 0.2 now"),
    (("--whole-words",), "masking.whole_words: false there, true now"),
    (("--mask-probability-end", "0.3"), "mask_probability_end: null there, 0.3 now"),
    (("--masks", "static"), 'masks: "dynamic" there, "static" now'),
    (("--optimizer", "muon"), 'optimizer: "adamw" there, "muon" now'),
    (("--weight-decay", "0.1"), "weight_decay: 0.01 there, 0.1 now"),
    (("--average-weights", "0.1"), "average_weights: null there, 0.1 now"),
    (("--vocab-size", "140"), "tokenizer: "), (("--seq-length", "19"), "training.seq_length: 23 there, 19 now"),
])
def test_a_run_is_not_resumed_with_other_settings(data, cut, capsys, more, told):
    assert pretrain(data, cut, *more, "--resume") == 4
    assert told in last_line(capsys)


def test_a_run_is_not_resumed_with_other_text_or_from_a_newer_format(cut, tmp_path, capsys):
    assert pretrain(make_wikitext(tmp_path, words=1_500, seed=1), cut, "--resume") == 4
    line = last_line(capsys)
    assert "corpus.fingerprint" in line and "tokenizer" in line
    newer = shutil.copytree(cut, tmp_path / "newer")
    config = json.loads((newer / "config.json").read_text()) | {"format_version": 99}
    (newer / "config.json").write_text(json.dumps(config))
    assert pretrain(tmp_path, newer, "--resume") == 4
    assert "format v99" in last_line(capsys)


def test_a_damaged_state_is_passed_over_and_the_run_ends_with_the_same_bits(data, cut, tmp_path, capsys):
    run, good = shutil.copytree(cut, tmp_path / "run"), shutil.copytree(cut, tmp_path / "good")
    newest = max((run / "state").glob("step-*")) / "state.pt"
    flip(newest, 8 * newest.stat().st_size // 2)
    assert pretrain(data, run, "--resume") == 0
    said = capsys.readouterr().err
    assert str(newest) in said and "Going on from step-00000029 instead" in said
    assert pretrain(data, good, "--resume") == 0
    first, second = load_run(run).tensors, load_run(good).tensors
    assert all(torch.equal(first[name], second[name]) for name in first) and rows(run) == rows(good)


def test_where_no_state_is_whole_nothing_is_begun_anew(data, cut, tmp_path, capsys):
    run = shutil.copytree(cut, tmp_path / "run")
    for state in (run / "state").glob("step-*/state.pt"):
        state.write_text("not a state")
    assert pretrain(data, run, "--resume") == 4
    assert "state.pt" in last_line(capsys) and not (run / "model.safetensors").exists()


def test_a_corpus_that_is_absent_and_may_not_be_downloaded_is_a_network_matter(tmp_path, capsys):
    assert pretrain(tmp_path / "nowhere", tmp_path / "run") == 7
    assert "--offline" in last_line(capsys) and not (tmp_path / "run").exists()


def test_too_little_text_is_refused_with_the_counts(data, tmp_path, capsys):
    assert pretrain(data, tmp_path / "run", "--batch-size", "5000") == 3
    assert "and a step takes 5,000" in last_line(capsys) and not (tmp_path / "run").exists()


def test_held_out_text_of_which_nothing_comes_to_be_masked_is_refused(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pretrain.bert.text.masker", lambda tokenizer, *_: masker(tokenizer, 1e-6))
    assert pretrain(data, tmp_path / "run") == 3
    assert "came to be masked" in last_line(capsys) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("empty, told", [("train", "corpus wikitext-2: "), ("valid", "the held-out part of corpus")])
def test_text_that_does_not_fill_a_row_is_refused(tmp_path, capsys, empty, told):
    folder = tmp_path / "wikitext-2"
    folder.mkdir()
    for name in ("train", "valid"):
        lines = 1 if name == empty else 400
        (folder / f"wiki.{name}.tokens").write_text(" \n = a = \n \n" + " b c d e f g h \n" * lines)
    assert pretrain(tmp_path, tmp_path / "run") == 3
    line = last_line(capsys)
    assert told in line and "have 10 pieces" in line and "of 23 needs 21" in line and "--seq-length" in line
    assert not (tmp_path / "run").exists()


SHAPE = BertConfig(make_tokenizer().vocab_size, hidden_size=10, num_layers=1, num_heads=5, intermediate_size=9,
                   max_positions=27)
MODEL, TENSORS = asdict(SHAPE), MaskedLM(SHAPE).state_dict()
NOT_FINITE = {**TENSORS, "norm.weight": torch.full((10,), float("nan"))}
MISFITS = {  # what is wrong with a BERT to go on from, and what must be said of it
    "no JSON": ({"tokenizer": "{"}, "tokenizer.json is damaged"),
    "another tokenizer": ({"tokenizer": train_wordpiece(TEXTS, 40).to_json()}, "40 pieces, but the network has"),
    "no pieces": ({"tokenizer": train_wordpiece([], 40).to_json()}, "no pieces but the special ones"),
    "a row too few": ({"model": {**MODEL, "vocab_size": MODEL["vocab_size"] - 1}}, "of another shape"),
    "a million units": ({"model": {**MODEL, "hidden_size": 10**6}}, "describes a network of"),
    "a billion layers": ({"model": {**MODEL, "num_layers": 10**9}}, "layers cannot be made of"),
    "seven heads": ({"model": {**MODEL, "num_heads": 7}}, "7 heads cannot share a width of 10"),
    "no heads": ({"model": {**MODEL, "num_heads": 0}}, "num_heads is 0"),
    "words for numbers": ({"model": {**MODEL, "hidden_size": "wide"}}, "describes no network"),
    "more positions": ({"model": {**MODEL, "max_positions": 28}}, "describes a network of"),
    "512 positions, unsaid": ({"model": {n: v for n, v in MODEL.items() if n != "max_positions"}}, "a network of"),
    "no shape": ({"model": {}}, "config.json describes no network"),
    "another field": ({"model": {**MODEL, "width": 3}}, "config.json describes no network"),
    "no bias": ({"tensors": {n: t for n, t in TENSORS.items() if n != "bias"}}, "weights"),
    "not finite": ({"tensors": NOT_FINITE}, "not all finite"),
}


@pytest.mark.parametrize("wrong", MISFITS)
def test_a_bert_to_go_on_from_must_fit_together_before_anything_is_read(unlooked, data, tmp_path, capsys, wrong):
    changes, told = MISFITS[wrong]
    path = make_bert(tmp_path / "bert", **changes)
    assert pretrain(data, tmp_path / "run", "--init-from", str(path)) == 4
    line = last_line(capsys)
    assert told in line and str(path) in line and not (tmp_path / "run").exists()


def test_rows_longer_than_the_positions_of_the_bert_to_go_on_from_are_refused(unread, data, tmp_path, capsys):
    path = make_bert(tmp_path / "bert")
    assert pretrain(data, tmp_path / "run", "--init-from", str(path), "--seq-length", "28") == 2
    assert "--seq-length 28 is outside 3 to 27" in last_line(capsys)


V = make_tokenizer().vocab_size
COUNTS = torch.arange(V)
VECTORS = torch.rand(V, 12)
WRONG_VECTORS = {  # what is wrong with static vectors of pieces, and what must be said of them
    "words": ({"unit": "words"}, "vectors of whole words, but BERT takes pieces"),
    "a row too few": ({"tensors": {"vectors": VECTORS[1:], "counts": COUNTS[1:]}}, f"tokenizer.json has {V} pieces"),
    "no vectors": ({"tensors": {"counts": COUNTS}}, f"tokenizer.json has {V} pieces"),
    "no counts": ({"tensors": {"vectors": VECTORS}}, f"tokenizer.json has {V} pieces"),
    "nothing counted": ({"tensors": {"vectors": VECTORS, "counts": 0 * COUNTS}}, "nothing is counted"),
    "not finite": ({"tensors": {"vectors": VECTORS / 0, "counts": COUNTS}}, "not all finite"),
    "no tokenizer": ({"tokenizer": "[]"}, "tokenizer.json is damaged"),
    "too narrow": ({"hidden_size": 7}, "vectors of 7 dimensions, but --preset tiny needs 12"),
}


@pytest.mark.parametrize("wrong", WRONG_VECTORS)
def test_static_vectors_must_fit_together_before_anything_is_read(unlooked, data, tmp_path, capsys, wrong):
    changes, told = WRONG_VECTORS[wrong]
    path = make_static_pieces(tmp_path / "pieces", **changes)
    assert pretrain(data, tmp_path / "run", "--warm-start", str(path)) == 4
    line = last_line(capsys)
    assert told in line and str(path) in line and not (tmp_path / "run").exists()
    if wrong in ("words", "too narrow"):
        assert "pretrain.static --pieces N" in line


def test_a_run_to_begin_with_must_be_there_finished_and_of_the_right_kind(unread, data, tmp_path, capsys):
    pieces, other = make_static_pieces(tmp_path / "pieces"), make_bert(tmp_path / "bert")
    words, bilm = make_static(tmp_path / "words", WORDS, torch.rand(5, 12)), make_bilm(tmp_path / "bilm")
    unfinished, changed = (shutil.copytree(other, tmp_path / name) for name in ("unfinished", "changed"))
    (unfinished / "manifest.json").unlink()
    flip(changed / "model.safetensors", 8 * 1_000)
    (tmp_path / "file").write_text("")
    cases = [
        ("--warm-start", tmp_path / "absent", ["there is no such directory"]),
        ("--warm-start", tmp_path / "file", ["it is a file"]),
        ("--warm-start", other, ["kind 'bert'", "kind 'static' is needed"]),
        ("--warm-start", words, ["vectors of whole words"]),
        ("--init-from", pieces, ["kind 'static'", "kind 'bert' is needed"]),
        ("--init-from", bilm, ["kind 'bilm'", "kind 'bert' is needed", "pretrain.bert"]),
        ("--init-from", unfinished, ["has not finished"]),
        ("--init-from", changed, ["model.safetensors is damaged"]),
    ]
    for flag, path, told in cases:
        assert pretrain(data, tmp_path / "run", flag, str(path)) == 4
        line = last_line(capsys)
        assert all(part in line for part in told), line
        assert not (tmp_path / "run").exists()


def not_finite_from(step: int, count: int, monkeypatch) -> None:
    """Let the loss be nan in `count` steps, beginning with this one."""
    loss, calls = MaskedLM.loss, []

    def instead(self, *arguments, **settings):
        calls.append(1)
        return loss(self, *arguments, **settings) * (float("nan") if step <= len(calls) < step + count else 1)

    monkeypatch.setattr(MaskedLM, "loss", instead)


def test_a_step_that_is_not_finite_is_skipped_and_counted(data, tmp_path, monkeypatch):
    not_finite_from(20, 4, monkeypatch)
    assert pretrain(data, tmp_path / "run", "--epochs", "1") == 0
    found = [(row["step"], row["loss"], row["skipped"]) for row in rows(tmp_path / "run") if "loss" in row]
    assert [step for step, loss, _ in found if loss is None] == [20, 21, 22, 23]
    assert found[18][2] == 0 and found[-1][2] == 4


def test_five_such_steps_in_a_row_stop_the_run_and_the_last_good_state_stays(data, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        not_finite_from(20, 5, patched)
        assert pretrain(data, tmp_path / "run", "--epochs", "1", "--save-every", "1e-9") == 5
    assert "5 steps in a row" in last_line(capsys)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    manifest = json.loads((max((tmp_path / "run" / "state").glob("step-*")) / "manifest.json").read_text())
    assert manifest["step"] == 23
    assert pretrain(data, tmp_path / "run", "--epochs", "1", "--resume") == 0
    assert all(tensor.isfinite().all() for tensor in load_run(tmp_path / "run").tensors.values())


def test_a_learning_rate_beyond_reason_ends_the_run_and_leaves_no_weights(data, tmp_path, capsys):
    assert pretrain(data, tmp_path / "run", "--learning-rate", "1e38") == 5
    assert "--learning-rate" in last_line(capsys) and not (tmp_path / "run" / "model.safetensors").exists()
