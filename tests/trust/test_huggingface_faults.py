"""Claims about what is refused on the way to the transformers library and back: one line each, nothing written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_folders import (
    PIECES,
    ROOT,
    make_folder,
    make_others,
    make_runs,
    run,
    their_weights,
)

from minitransfer.apparatus.checkpoint import load_run
from minitransfer.huggingface import exchange
from minitransfer.text.wordpiece import SPECIAL_PIECES, WordPiece


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("runs"))


def one_error(capsys):
    """The line of the only error that was told, which says what to do."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error: ", "Traceback"))]
    assert len(lines) == 1 and "Fix: " in lines[0]
    return lines[0]


def tokenizer_json(**changes):
    """A tokenizer.json with some entries replaced, given by dotted names with __ for the dot."""
    found = json.loads(WordPiece([*SPECIAL_PIECES, *(p for p in PIECES if p not in SPECIAL_PIECES)]).to_json())
    for name, value in changes.items():
        *path, last = name.split("__")
        inner = found
        for key in path:
            inner = inner[key]
        inner[last] = value
    return {"vocab": None, "tokenizer_json": found}


def weights_with(**changes):
    """Their weights with some replaced, or for None left out."""
    tensors = their_weights()
    for name, tensor in changes.items():
        name = name.replace("__", ".")
        tensors.pop(name, None)
        tensors |= {} if tensor is None else {name: tensor}
    return {"tensors": tensors}


NAN, HUGE = torch.full((6,), torch.nan), torch.full((6,), 1e300, dtype=torch.float64)  # float32 ends at 3e38


@pytest.mark.parametrize("changes, told", [
    ({"config": {"model_type": "roberta"}}, "model_type is 'roberta'"),
    ({"config": {"hidden_act": "gelu_new"}}, "hidden_act is 'gelu_new', and only 'gelu'"),
    ({"config": {"hidden_act": ["gelu"]}}, "hidden_act is ['gelu']"),
    ({"config": {"position_embedding_type": "relative_key"}}, "only 'absolute'"),
    ({"config": {"is_decoder": "yes"}}, "is_decoder is 'yes'"),
    ({"config": {"is_decoder": True, "add_cross_attention": True}}, "add_cross_attention is True"),
    ({"config": {"tie_word_embeddings": False}}, "tie_word_embeddings is False"),
    ({"config": {"hidden_size": None}}, "hidden_size is None"),
    ({"config": {"hidden_size": "6"}}, "hidden_size is '6'"),
    ({"config": {"hidden_size": True}}, "hidden_size is True"),
    ({"config": {"num_hidden_layers": 0}}, "num_hidden_layers is 0"),
    ({"config": {"num_attention_heads": 4}}, "4 heads cannot share a width of 6"),
    ({"config": {"hidden_dropout_prob": 1}}, "hidden_dropout_prob is 1"),
    ({"config": {"hidden_dropout_prob": float("nan")}}, "hidden_dropout_prob is nan"),
    ({"config": {"layer_norm_eps": 0}}, "layer_norm_eps is 0"),
    ({"vocab": "\n".join(PIECES[:-1])}, "10 pieces, but vocab_size in config.json is 11"),
    ({"vocab": "\n".join([*PIECES[:-1], "The"])}, "capital letters, such as 'The': the model is a cased one"),
    ({"vocab": "\n".join([*PIECES[:-1], "film"])}, "1 of its pieces come twice"),
    ({"vocab": "\n".join([*PIECES[:-1], "two words"])}, "'two words' cannot be a piece"),
    ({"vocab": "\n".join([*PIECES[:-1], ""]) + "\n"}, "'' cannot be a piece"),
    ({"vocab": "\n".join(PIECES).replace("[MASK]", "mask")}, "there is no piece [MASK]"),
    ({"vocab": ""}, "there is no piece [PAD]"),
    ({"vocab": None}, "there is no "),
    ({"tokenizer_config_json": {"do_lower_case": False}}, "do_lower_case is False, not True: the model is a cased"),
    ({"tokenizer_config_json": {"strip_accents": False}}, "strip_accents is False"),
    ({"tokenizer_config_json": {"tokenizer_class": "BertJapaneseTokenizer"}}, "'BertJapaneseTokenizer'"),
    ({"tokenizer_config_json": {"tokenizer_class": "PreTrainedTokenizerFast"}}, "without a tokenizer.json"),
    ({"tokenizer_config_json": "[]"}, "holds no JSON object"),
    (tokenizer_json(normalizer__lowercase=False), "normalizer.lowercase is False, not True: the model is a cased"),
    (tokenizer_json(normalizer=None), "normalizer.type is None, not 'BertNormalizer'"),
    (tokenizer_json(pre_tokenizer={"type": "Whitespace"}), "'BertPreTokenizer'"),
    (tokenizer_json(model__type="BPE"), "model.type is 'BPE'"),
    (tokenizer_json(model__max_input_chars_per_word=50), "is 50, not 100"),
    (tokenizer_json(model__vocab=["a"]), "its pieces have no ids"),
    (tokenizer_json(model__vocab={"a": 0, "b": 0}), "are not 0 to 1"),
    (tokenizer_json(model__vocab={"a": [0]}), "are not 0 to 0"),
    (tokenizer_json(added_tokens=[{"content": "<br />"}]), "'<br />' is added to its pieces"),
    (tokenizer_json(added_tokens=5), "added"),
    ({"tokenizer_json": "{"}, "tokenizer.json: it is not JSON"),
    ({"tokenizer_json": "[" * 100_000}, "tokenizer.json: it is not JSON"),
    (tokenizer_json(model__vocab={p: i for i, p in enumerate([*PIECES[:-1], "\ud800"])}), "cannot be a piece"),
    (weights_with(bert__pooler__dense__weight=None, cls__predictions__bias=None), "missing: cls.predictions.bias"),
    (weights_with(bert__encoder__layer__1__attention__self__key__bias=None), "missing: bert.encoder.layer.1"),
    (weights_with(bert__encoder__layer__2__output__dense__bias=torch.ones(6)), "not expected: bert.encoder.layer.2"),
    (weights_with(crf__transitions=torch.ones(2)), "not expected: crf.transitions"),
    (weights_with(embeddings__LayerNorm__weight=torch.ones(6)), "are the same tensor"),
    (weights_with(bert__embeddings__position_embeddings__weight=torch.ones(8, 6)), "(8, 6) instead of (9, 6)"),
    (weights_with(bert__embeddings__position_embeddings__weight=torch.ones(9, 6, dtype=torch.int64)), "holds I64"),
    (weights_with(bert__embeddings__token_type_embeddings__weight=torch.ones(2)), "(2,) instead of (1, 6)"),
    (weights_with(bert__embeddings__LayerNorm__weight=NAN), "not all finite (first in what is bert.embeddings.norm"),
    (weights_with(cls__predictions__transform__dense__bias=HUGE), "not all finite (first in what is dense.bias"),
    (weights_with(cls__predictions__decoder__weight=torch.ones(11, 6)), "decoder.weight and bert.embeddings"),
])  # fmt: skip
def test_a_folder_that_is_no_bert_as_it_is_here_is_refused_in_one_line(tmp_path, capsys, changes, told):
    assert run("import", make_folder(tmp_path / "folder", **changes), tmp_path / "run") == 4
    assert told in one_error(capsys) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("name, value", [
    ("num_hidden_layers", 10**9), ("hidden_size", 6 * 10**8), ("vocab_size", 10**9), ("intermediate_size", 2**31 - 1),
    ("max_position_embeddings", 10**9), ("hidden_size", 10**400), ("num_attention_heads", 10**9),
])  # fmt: skip
def test_absurd_sizes_are_refused_and_nothing_of_that_size_is_built(tmp_path, capsys, name, value):
    folder = make_folder(tmp_path / "folder", config={name: value, "num_attention_heads": 3} | {name: value})
    assert run("import", folder, tmp_path / "run") == 4
    assert one_error(capsys) and not (tmp_path / "run").exists()


def damaged(folder, name, data):
    (folder / name).unlink()
    if data is not None:
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("name, data, told", [
    ("model.safetensors", None, "has no model.safetensors, but config.json, vocab.txt"),
    ("model.safetensors", b"", "model.safetensors: "),
    ("model.safetensors", b"\xff" * 100, "model.safetensors: "),
    ("model.safetensors", (10).to_bytes(8, "little") + b'{"a":{"x":', "model.safetensors: "),
    ("config.json", None, "has no config.json, but model.safetensors, vocab.txt"),
    ("config.json", b"{", "is damaged: it is not JSON"),
    ("config.json", b"[]", "holds no JSON object"),
    ("vocab.txt", b"\xff\xfe", "is not UTF-8 text, at byte 0"),
])  # fmt: skip
def test_a_file_that_is_absent_or_damaged_is_named(tmp_path, capsys, name, data, told):
    folder = make_folder(tmp_path / "folder")
    damaged(folder, name, data)
    assert run("import", folder, tmp_path / "run") == 4
    assert told in one_error(capsys)


def test_nobody_waits_for_a_pipe_in_the_place_of_a_file(tmp_path, capsys):
    for name in ("vocab.txt", "model.safetensors"):
        folder = make_folder(tmp_path / f"with a pipe for {name}")
        (folder / name).unlink()
        os.mkfifo(folder / name)
        assert run("import", folder, tmp_path / "run") == 4
        assert name in one_error(capsys)


def test_a_pickle_is_refused_unread(tmp_path, capsys):
    class Canary:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sang",)

    folder = make_folder(tmp_path / "folder")
    (folder / "model.safetensors").unlink()
    torch.save(Canary(), folder / "pytorch_model.bin")
    assert run("import", folder, tmp_path / "run") == 4
    assert "are a pickle, pytorch_model.bin" in one_error(capsys) and not (tmp_path / "sang").exists()


def test_weights_in_several_files_a_run_and_a_name_to_download_are_told_apart(runs, tmp_path, capsys):
    folder = make_folder(tmp_path / "folder")
    (folder / "model.safetensors").rename(folder / "model.safetensors.index.json")
    for given, told in [(folder, "in several files"), (runs / "bert", "is a run already"),
                        (ROOT / "README.md", "is a file"), (tmp_path / "absent", "nothing is downloaded here")]:
        assert run("import", given, tmp_path / "run") == 4
        assert told in one_error(capsys)


def test_a_run_that_cannot_be_said_there_is_refused_with_the_reason(runs, tmp_path, capsys):
    make_others(tmp_path, runs / "bert")
    for name, told in [("bilm", "no model"), ("static", "no model"), ("mean", "head 'mean'"),
                       ("of-bilm", "encoder of kind 'bilm'"), ("other-tokenizer", "the vocabulary has 6 words"),
                       ("deep", "1,000,000,000 layers"), ("no-model", "KeyError: 'model'"),
                       ("less", "no head that predicts pieces"), ("absent", "no run at")]:
        assert run("export", tmp_path / name, tmp_path / "folder") == 4
        line = one_error(capsys)
        assert told in line and not (tmp_path / "folder").exists()
        assert ("docs/format.md" in line) == (name in ("bilm", "static", "of-bilm"))


def test_weights_that_are_not_finite_do_not_leave(runs, tmp_path, capsys, monkeypatch):
    whole = load_run(runs / "classifier")
    whole.tensors["encoder.bert.blocks.1.norm.weight"][3] = np.inf
    monkeypatch.setattr(exchange, "load_run", lambda path: whole)
    assert run("export", runs / "classifier", tmp_path / "folder") == 4
    assert "first in encoder.bert.blocks.1.norm.weight" in one_error(capsys)
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("command", ["export", "import"])
def test_nothing_is_ever_overwritten(runs, tmp_path, capsys, command):
    (tmp_path / "taken").mkdir(), (tmp_path / "taken" / "photograph").touch()
    (tmp_path / "file").touch(), (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    source = {"export": runs / "bert", "import": runs / "bert-folder"}[command]
    for name, told in [("taken", "is not empty"), ("file", "is not a directory"), ("link", "is not a directory")]:
        assert run(command, source, tmp_path / name) == 2
        assert told in one_error(capsys)
    assert os.listdir(tmp_path / "taken") == ["photograph"] and not (tmp_path / "nowhere").exists()
    (tmp_path / "empty").mkdir()
    assert run(command, source, tmp_path / "empty") == 0


@pytest.mark.parametrize("argv, told", [
    ((), "required: {export,import}"), (("exprot", "a", "b"), "did you mean export"),
    (("export", "a"), "required: DIR"), (("import", "a", ""), "must name a directory"),
    (("import", "a", "b", "--fast"), "unknown argument '--fast'"),
])  # fmt: skip
def test_a_slip_of_the_finger_is_answered_at_once(capsys, argv, told):
    assert run(*argv) == 2
    assert told in one_error(capsys)


def test_flags_are_read_without_torch():
    program = "import sys, minitransfer.huggingface.__main__ as h; h.make_parser(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
