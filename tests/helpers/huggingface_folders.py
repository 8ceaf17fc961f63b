"""Runs to bring to the transformers library, and folders as they are downloaded: small, and made by hand for tests.

Sizes are odd and unequal, no weight is 0 or 1, and the pieces of a folder stand in an order that no run has.
"""

import json
from pathlib import Path

import safetensors.torch
import torch
from encoder_runs import make_bert, make_bilm, make_static, save_run

from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.huggingface import __main__ as huggingface
from minitransfer.text.wordpiece import SPECIAL_PIECES, WordPiece
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.loading import load_encoder

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]
PIECES = ["[PAD]", "film", "[UNK]", "the", "##s", "[MASK]", ".", "[CLS]", "[unused0]", "[SEP]", "a"]
SHAPE = {"vocab_size": len(PIECES), "hidden_size": 6, "num_hidden_layers": 2, "num_attention_heads": 3,
         "intermediate_size": 5, "max_position_embeddings": 9}


def run(*argv):
    return run_command(huggingface.main, huggingface.make_parser(), [str(word) for word in argv])


def stirred(tensors, seed=5):
    """Weights none of which is 0 or 1 as a new network has them, so that none can be left out unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    return {name: t + 0.3 * torch.randn(t.shape, generator=generator) for name, t in tensors.items()}


def make_stirred_bert(path):
    new = load_run(make_bert(path.with_name("new")))
    return save_run(path, {**new.config, "training": {"seq_length": 64}}, stirred(new.tensors), new.files)


def make_classifier(path, bert, **changes):
    """A transfer run as finetune.imdb leaves it, of random weights."""
    settings = {"head": "cls", "pool": "cls", "head_size": 5, "dropout": 0.1} | changes
    whole = load_run(bert)
    model = Classifier(load_encoder(whole, CPU), **settings)
    config = {"kind": "transfer", "encoder": whole.config, "model": settings, "max_tokens": 60}
    return save_run(path, config, stirred(model.state_dict(), seed=7), whole.files)


def make_runs(path):
    """A BERT and a classifier, and folders that they were exported to."""
    make_stirred_bert(path / "bert")
    make_classifier(path / "classifier", path / "bert")
    assert run("export", path / "bert", path / "bert-folder") == 0
    assert run("export", path / "classifier", path / "classifier-folder") == 0
    return path


def their_weights(prefix="bert.", weight="weight", bias="bias", segments=2, head=True):
    """Random weights of a BERT of SHAPE as that library names them."""
    V, D, L, I, S = (SHAPE[name] for name in ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size",  # noqa: E741
                                              "max_position_embeddings"))  # fmt: skip
    shapes = {f"{prefix}embeddings.word_embeddings.weight": (V, D),
              f"{prefix}embeddings.position_embeddings.weight": (S, D),
              f"{prefix}embeddings.token_type_embeddings.weight": (segments, D)}
    norms = [f"{prefix}embeddings.LayerNorm"]
    linears = {f"{prefix}pooler.dense": (D, D)}
    for k in range(L):
        layer = f"{prefix}encoder.layer.{k}"
        linears |= {f"{layer}.attention.self.{name}": (D, D) for name in ("query", "key", "value")}
        linears |= {f"{layer}.attention.output.dense": (D, D), f"{layer}.intermediate.dense": (I, D),
                    f"{layer}.output.dense": (D, I)}
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    if head:
        linears |= {"cls.predictions.transform.dense": (D, D), "cls.seq_relationship": (2, D)}
        norms.append("cls.predictions.transform.LayerNorm")
        shapes["cls.predictions.bias"] = (V,)
    for name, (out, into) in linears.items():
        shapes |= {f"{name}.weight": (out, into), f"{name}.bias": (out,)}
    for name in norms:
        shapes |= {f"{name}.{weight}": (D,), f"{name}.{bias}": (D,)}
    generator = torch.Generator().manual_seed(11)
    return {name: torch.randn(shape, generator=generator) for name, shape in sorted(shapes.items())}


def make_folder(path, tensors=None, config=None, vocab="\n".join(PIECES) + "\n", **more):
    """A folder as it is downloaded; `more` are other files, by name with _ for the last dot."""
    path.mkdir()
    safetensors.torch.save_file(their_weights() if tensors is None else tensors, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({**SHAPE, "model_type": "bert", **(config or {})}))
    if vocab is not None:
        (path / "vocab.txt").write_text(vocab, encoding="utf-8")
    for name, value in more.items():
        (path / name.replace("_json", ".json")).write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def imported(path, **changes):
    assert run("import", make_folder(path / "folder", **changes), path / "run") == 0
    return load_run(path / "run", "bert")


def make_others(path, bert):
    """Runs that have no counterpart there."""
    make_bilm(path / "bilm")
    make_static(path / "static", ["<pad>", "<unk>", "<eos>"], torch.randn(3, 5))
    make_classifier(path / "mean", bert, head="mean", pool="mean")
    make_classifier(path / "of-bilm", path / "bilm", head="mean", pool="mean")
    whole = load_run(bert)
    few = {"tokenizer.json": WordPiece([*SPECIAL_PIECES, "a"]).to_json()}
    save_run(path / "other-tokenizer", whole.config, whole.tensors, few)
    deep = {**whole.config, "model": {**whole.config["model"], "num_layers": 10**9}}
    save_run(path / "deep", deep, whole.tensors, whole.files)
    save_run(path / "no-model", {"kind": "bert"}, whole.tensors, whole.files)
    less = {name: tensor for name, tensor in whole.tensors.items() if name != "dense.weight"}
    save_run(path / "less", whole.config, less, whole.files)
