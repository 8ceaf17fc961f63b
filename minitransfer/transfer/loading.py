"""Part V, chapter 3: loading. How does a run directory become an encoder, and what if its files do not fit together?

A run says in its config what network it holds, in its vocabulary what that network reads, and has the weights. Each
may be damaged, or from somewhere else: all three are held against each other before anything is built.

Read next: `minitransfer.transfer.labels`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minitransfer.apparatus.checkpoint import LoadedRun, finite, load_weights
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.apparatus.saved import check_depth
from minitransfer.bert.encoder import BertConfig
from minitransfer.elmo.bilm import BiLMConfig
from minitransfer.static.skipgram import standardise
from minitransfer.text.wordpiece import WordPiece
from minitransfer.text.words import Vocabulary
from minitransfer.transfer.encoders import BertEncoder, BiLMEncoder, Encoder, StaticEncoder

KINDS = ("bilm", "bert", "static")
ANOTHER = "give the directory of another run, or train this one anew"


def load_encoder(run: LoadedRun, device: torch.device, frozen: bool = True) -> Encoder:
    """The encoder that a pretraining run has trained, frozen for good or able to learn on.

    Raises: CheckpointError for a run of another kind, or whose settings, vocabulary and weights do not fit together.
    """
    if run.kind not in KINDS:
        kinds = " or ".join(map(repr, KINDS))
        what = f"{run.path} holds a run of kind {run.kind!r}, but an encoder is of kind {kinds}"
        raise CheckpointError(what, "give the directory of a pretraining run, such as runs/bilm or runs/static")
    if run.kind == "static" and run.config.get("unit") == "pieces":
        what = f"{run.path} holds vectors of word pieces, but vectors of words are needed"
        raise CheckpointError(what, "give a run of `python -m pretrain.static` without --pieces, such as runs/static")
    tokens = read_tokens(run, run.kind)
    tensors = _tensors_of_static(run, tokens) if run.kind == "static" else _below_the_softmax(run)
    encoder = build_to_fit(lambda: new_encoder(run.config, tokens, tensors), tensors, run.path).to(device)
    return encoder.freeze() if frozen else encoder


def new_encoder(
    config: Mapping[str, Any], tokens: Vocabulary | WordPiece, tensors: Mapping[str, Tensor] | None = None
) -> Encoder:
    """An encoder of the shape that a pretraining run's config describes, with random weights drawn by torch.

    With the `tensors` that it is meant to hold, absurd counts of layers are refused before they are built.
    Raises: ValueError, TypeError or KeyError for a config that describes no encoder.
    """
    values = config["model"]
    if config["kind"] == "static":
        return StaticEncoder(tokens, values["hidden_size"])
    bert = config["kind"] == "bert"
    shape = BertConfig.from_dict(values) if bert else BiLMConfig.from_dict(values)
    layers = shape.num_layers
    if not bert:
        layers = max(layers, shape.charcnn.num_highways, len(shape.charcnn.filters))
    if tensors is not None:
        check_depth(layers, tensors)
    found = len(tokens.pieces if bert else tokens)
    if shape.vocab_size != found:
        raise ValueError(f"vocab_size is {shape.vocab_size:,}, but the vocabulary has {found:,} words")
    if not bert:
        return BiLMEncoder(shape)
    seq_length = config.get("training", {}).get("seq_length", shape.max_positions)
    if type(seq_length) is not int or not 3 <= seq_length <= shape.max_positions:
        raise ValueError(f"rows of {seq_length!r:.60} tokens, and {shape.max_positions:,} positions")
    return BertEncoder(shape, tokens, seq_length)


def build_to_fit(make: Callable[[], nn.Module], tensors: Mapping[str, Tensor], path: Path) -> nn.Module:
    """The module that `make` builds from a run's config, holding the run's tensors.

    It is built first on torch's meta device, which keeps shapes without memory: a config that claims a billion units
    is refused, not allocated. Raises: CheckpointError if config and tensors do not fit, or a weight is not finite.
    """
    try:
        with torch.device("meta"):
            needed = sum(tensor.numel() for tensor in make().state_dict().values())
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError) as failure:
        why = f"{type(failure).__name__}: {failure}"
        what = f"{path / 'config.json'} describes no network that its weights could fill ({why})"
        raise CheckpointError(what, ANOTHER) from failure
    held = sum(tensor.numel() for tensor in tensors.values())
    if needed > held:
        what = f"{path / 'config.json'} describes a network of {needed:,} weights, but {held:,} are saved with it"
        raise CheckpointError(what, ANOTHER)
    if not finite(dict(tensors)):
        raise CheckpointError(f"the weights in {path} are not all finite", ANOTHER)
    module = make()
    try:
        load_weights(module, tensors)
    except CheckpointError as failure:
        raise CheckpointError(f"{path}: {failure.what.rstrip('.')}", failure.fix) from failure
    return module


def read_vocabulary(run: LoadedRun) -> Vocabulary:
    """The words of a run's vocab.txt, one a line. Raises: CheckpointError if it is not a vocabulary."""
    try:
        return Vocabulary(run.text("vocab.txt").removesuffix("\n").split("\n"))
    except ValueError as failure:
        raise CheckpointError(f"{run.path / 'vocab.txt'} is damaged: {failure}", ANOTHER) from failure


def read_tokens(run: LoadedRun, kind: str) -> Vocabulary | WordPiece:
    """What an encoder of this kind reads: the words of the run's vocab.txt, for BERT the pieces of tokenizer.json.

    Raises: CheckpointError if that file is missing or damaged.
    """
    if kind != "bert":
        return read_vocabulary(run)
    try:
        return WordPiece.from_json(run.text("tokenizer.json"))
    except ValueError as failure:
        raise CheckpointError(f"{run.path / 'tokenizer.json'} is damaged: {failure}", ANOTHER) from failure


def _tensors_of_static(run: LoadedRun, vocabulary: Vocabulary) -> dict[str, Tensor]:
    """The vectors of a static run, scaled as every later stage uses them; under the names in `StaticEncoder`."""
    vectors, counts = run.tensors.get("vectors"), run.tensors.get("counts")
    if vectors is None or counts is None or vectors.ndim != 2:
        found = {name: tuple(tensor.shape) for name, tensor in run.tensors.items()}
        raise CheckpointError(f"{run.path} should hold vectors (V, D) and counts (V,), but holds {found}", ANOTHER)
    sizes = len(vocabulary), len(vectors), counts.numel()
    if len(set(sizes)) > 1:
        what = "{}: vocab.txt has {:,} words, but there are {:,} vectors and {:,} counts".format(run.path, *sizes)
        raise CheckpointError(what, ANOTHER)
    return {"vectors": standardise(vectors.float(), counts.flatten().float())}


def _below_the_softmax(run: LoadedRun) -> dict[str, Tensor]:
    """The weights of a language model without what predicts words, as `BiLMEncoder` and `BertEncoder` name them."""
    if run.kind == "bert":
        return {name: tensor for name, tensor in run.tensors.items() if name.startswith("bert.")}
    return {f"bilm.{name}": tensor for name, tensor in run.tensors.items() if not name.startswith("softmax.")}
