"""Between here and elsewhere. How does a BERT move to the `transformers` library, and one of its BERTs move here?

    python -m minitransfer.huggingface export runs/bert bert-folder              # what was pretrained here
    python -m minitransfer.huggingface export runs/gpt gpt-folder                # BERT as a decoder, there
    python -m minitransfer.huggingface export runs/bert-finetuned imdb-folder    # a classifier, with --head cls
    python -m minitransfer.huggingface import bert-base-uncased runs/bert-base   # config, weights, pieces

What leaves is loaded there by `from_pretrained`, and gives the same numbers; what comes is a run as `pretrain.bert`
leaves it, for `finetune.imdb --encoder`. Neither needs that library: files are written and read here, and nothing in
them can run. A biLM has no counterpart there; docs/format.md tells how its run is read without us.

Read next: `minitransfer.huggingface.names`, how the same weights are called there.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from minitransfer.apparatus.checkpoint import LoadedRun, RunDirectory, check_free, load_run
from minitransfer.apparatus.durable import disk_errors, entry, to_json, write_file
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.apparatus.options import one_line, shell_line
from minitransfer.apparatus.progress import say
from minitransfer.apparatus.runtime import environment
from minitransfer.apparatus.saved import CONFIG, WEIGHTS
from minitransfer.bert.encoder import BertConfig
from minitransfer.gpt.writing import NEVER
from minitransfer.huggingface.names import linear_through_tanh, to_their_config, to_theirs
from minitransfer.huggingface.pieces import left_open, max_length, read_pieces
from minitransfer.huggingface.weights import check_folder, read_shape, read_weights
from minitransfer.text.wordpiece import CLS_ID, SEP_ID
from minitransfer.transfer.classifier import load_classifier
from minitransfer.transfer.encoders import BertEncoder
from minitransfer.transfer.loading import load_with_head

CPU = torch.device("cpu")
TOKENIZER, SETTINGS, CARD = "tokenizer.json", "tokenizer_config.json", "README.md"
ANOTHER_NAME = "give the name of a new directory"
NO_COUNTERPART = "read its files without us: docs/format.md shows how"


def export_run(path: str | Path, folder: str | Path) -> None:
    """Write a finished run as a folder of that library. Raises: CheckpointError for one that it has no model for."""
    path, folder = Path(path), Path(folder)
    check_free(folder, fix=ANOTHER_NAME)
    run = load_run(path)
    tensors, config, max_tokens = classifier_of(run) if run.kind == "transfer" else language_model_of(run)
    weights = {name: tensor.clone() for name, tensor in tensors.items()}  # cut from one matrix, they share its memory
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / WEIGHTS, safetensors.torch.save(weights, metadata={"format": "pt"}))
    write_file(folder / TOKENIZER, left_open(run.files[TOKENIZER]) if run.kind == "gpt" else run.files[TOKENIZER])
    write_file(folder / SETTINGS, to_json(tokenizer_settings(max_tokens, fills_masks=run.kind == "bert")))
    write_file(folder / CARD, card(run, folder.resolve().name, weights, config, max_tokens).encode())
    write_file(folder / CONFIG, to_json(config))  # last, since no folder without it is taken for a model
    name = config["architectures"][0]
    say(f"{name}, {sum(t.numel() for t in weights.values()):,} parameters, in {folder}. Next, where transformers is "
        f"installed: {name}.from_pretrained({str(folder)!r}) and AutoTokenizer.from_pretrained({str(folder)!r})")


def language_model_of(run: LoadedRun) -> tuple[dict[str, Tensor], dict[str, Any], int]:
    """Weights and config of the BertForMaskedLM that a run of BERT is, or the BertLMHeadModel that one of GPT is, and
    how many tokens a text may have.

    Raises: CheckpointError for a run of another kind, or one whose parts do not fit together.
    """
    if run.kind not in ("bert", "gpt"):
        what = f"{run.path} holds a run of kind {run.kind!r}, for which the transformers library has no model"
        raise CheckpointError(what, NO_COUNTERPART)
    shape = load_with_head(run, CPU)[0].config
    config = {"architectures": ["BertForMaskedLM"], **to_their_config(shape)}
    if run.kind == "gpt":
        config |= {"architectures": ["BertLMHeadModel"], "is_decoder": True, "bos_token_id": CLS_ID,
                   "eos_token_id": SEP_ID}
    return to_theirs(run.tensors), config, longest_text(run.config, shape)


def classifier_of(run: LoadedRun) -> tuple[dict[str, Tensor], dict[str, Any], int]:
    """Weights and config of the BertForSequenceClassification that a transfer run is, and how long a text may be.

    There a pooler with a tanh stands between [CLS] and the classifier, and here nothing:
    `minitransfer.huggingface.names.linear_through_tanh` makes them compute the same.
    """
    kind, head = entry(run.config, "encoder.kind"), entry(run.config, "model.head")
    if kind != "bert":
        what = f"{run.path} classifies with an encoder of kind {kind!r}, which the transformers library has not"
        raise CheckpointError(what, NO_COUNTERPART)
    if head != "cls":
        what = f"{run.path} has the head {head!r}, but a classifier there takes the state of [CLS] alone"
        raise CheckpointError(what, "train one with `python -m finetune.imdb --head cls`")
    model, tensors = load_classifier(run, CPU), run.tensors
    assert isinstance(model.encoder, BertEncoder)  # as its kind says
    shape, classes = model.encoder.bert.config, model.classes
    below = {name.removeprefix("encoder."): t for name, t in tensors.items() if name.startswith("encoder.")}
    last = f"bert.blocks.{shape.num_layers - 1}.norm"
    above = linear_through_tanh(tensors["head.W.weight"], tensors["head.W.bias"], below[f"{last}.weight"],
                                below[f"{last}.bias"])
    config = {"architectures": ["BertForSequenceClassification"], **to_their_config(shape),
              "id2label": dict(enumerate(classes)), "label2id": {name: i for i, name in enumerate(classes)},
              "problem_type": "single_label_classification"}
    longest = longest_text(run.config["encoder"], shape, run.config.get("max_tokens"))
    return {**to_theirs(below), **above}, config, longest


def longest_text(config: Mapping[str, Any], shape: BertConfig, max_tokens: Any = None) -> int:
    """How many tokens a text may have: what a classifier takes, else what BERT was pretrained on, else what fits."""
    said = (max_tokens, entry(config, "training.seq_length"))
    return next((n for n in said if type(n) is int and 3 <= n <= shape.max_positions), shape.max_positions)


def tokenizer_settings(max_tokens: int, fills_masks: bool) -> dict[str, Any]:
    """What stands beside tokenizer.json for a tokenizer there to cut any text as it is cut here.

    Its class is the plain one, which does what tokenizer.json says, where `BertTokenizer` has rules of its own. To a
    classifier a [MASK] that somebody wrote is text, as it is here; to a language model that `fills_masks` it is a gap.
    """
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_tokens, **names,
            "model_input_names": ["input_ids", "attention_mask"], "split_special_tokens": not fills_masks,
            "clean_up_tokenization_spaces": False}


def card(run: LoadedRun, name: str, weights: Mapping[str, Tensor], config: Mapping[str, Any], max_tokens: int) -> str:
    """What the folder of this name says of itself to those who open it: its README.md, from card_KIND.md.

    What it is, the line that uses it, and where its answers differ from those of the commands here, which no file of
    the folder can change.
    """
    template = resources.files("minitransfer.huggingface").joinpath(f"card_{run.kind}.md").read_text("utf-8")
    corpus = entry(run.config, "encoder.corpus.name" if run.kind == "transfer" else "corpus.name")
    room, classes = max_tokens - 2, map(one_line, config.get("id2label", {}).values())
    return template.format(
        folder=name, corpus=one_line(str(corpus or "unnamed text")), max_tokens=max_tokens, room=room, head=room // 2,
        tail=room - room // 2, parameters=sum(tensor.numel() for tensor in weights.values()),
        vocab_size=config["vocab_size"], max_positions=config["max_position_embeddings"], never=list(NEVER),
        classes=", ".join(classes))


def import_folder(folder: str | Path, path: str | Path) -> None:
    """Make a run of an uncased BERT, or of such a decoder, a GPT. Raises: CheckpointError for anything else."""
    folder, path = Path(folder), Path(path)
    check_free(path, fix=ANOTHER_NAME)
    check_folder(folder)
    shape, kind = read_shape(folder / CONFIG)
    wordpiece, order = read_pieces(folder)
    if wordpiece.vocab_size != shape.vocab_size:
        what = f"{folder} has {wordpiece.vocab_size:,} pieces, but vocab_size in {CONFIG} is {shape.vocab_size:,}"
        raise CheckpointError(what, "put the tokenizer there that belongs to the weights")
    tensors = read_weights(folder / WEIGHTS, shape, order)
    name, tokenizer = folder.resolve().name, wordpiece.to_json()
    with open(folder / WEIGHTS, "rb") as file:
        origin = {"folder": name, "weights": hashlib.file_digest(file, "sha256").hexdigest()}
    config = {"kind": kind, "model": asdict(shape), "corpus": {"name": f"elsewhere ({name})"}, "origin": origin,
              "training": {"seq_length": max_length(folder, shape.max_positions)},
              "tokenizer": hashlib.sha256(tokenizer.encode()).hexdigest(), "environment": environment()}
    with RunDirectory.create(path, config, resume=False) as run:
        run.save_model(tensors, {TOKENIZER: tokenizer})
        run.mark_complete(0, {})
    headless = "" if "bias" in tensors else " (the encoder alone: there is no head to name masked pieces with)"
    say(f"a {kind.upper()} of {shape.num_layers} layers, {shape.hidden_size} wide, {shape.vocab_size:,} pieces is in "
        f"{path}{headless}. Next: python -m finetune.imdb --mode frozen --encoder {shell_line([str(path)])}")
