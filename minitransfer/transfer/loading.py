"""Part VI, chapter 3: loading. How does a run directory become an encoder, and what if its files do not fit together?

A run says in its config what network it holds, in its vocabulary what tokens that network takes, and has the weights.
Each may be damaged, or from somewhere else: all three are held against each other before anything is built.

Read next: `minitransfer.transfer.labels`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from minitransfer.apparatus.errors import CheckpointError
from minitransfer.apparatus.saved import ANOTHER, LoadedRun, build_to_fit, check_depth
from minitransfer.bert.encoder import BertConfig, MaskedLM
from minitransfer.elmo.bilm import BiLMConfig
from minitransfer.elmo.softmax import WordSoftmax
from minitransfer.gpt.causal import CausalLM
from minitransfer.static.loading import static_vectors
from minitransfer.text.wordpiece import WordPiece
from minitransfer.text.words import Vocabulary
from minitransfer.transfer.encoders import BertEncoder, BiLMEncoder, Encoder, GptEncoder, StaticEncoder

KINDS = ("bilm", "bert", "gpt", "static")
OF_PIECES = ("bert", "gpt")


def load_encoder(run: LoadedRun, device: torch.device, frozen: bool = True) -> Encoder:
    """The encoder of a run, frozen for good or able to learn on. Raises: CheckpointError for a run that holds none."""
    if run.kind not in KINDS:
        kinds = " or ".join(map(repr, KINDS))
        what = f"{run.path} holds a run of kind {run.kind!r}, but an encoder is of kind {kinds}"
        raise CheckpointError(what, "give the directory of a pretraining run, such as runs/bilm or runs/static")
    tokens: Vocabulary | WordPiece
    if run.kind == "static":
        tokens, vectors = static_vectors(run)
        tensors = {"vectors": vectors}
    else:
        tokens, tensors = read_tokens(run, run.kind), _below_the_softmax(run)
    encoder = build_to_fit(lambda: new_encoder(run.config, tokens, tensors), tensors, run.path).to(device)
    return encoder.freeze() if frozen else encoder


def load_with_head(run: LoadedRun, device: torch.device) -> tuple[MaskedLM, BertEncoder]:
    """The network of a pretrain.bert or gpt run with its head, and its encoder. Raises: CheckpointError for misfits."""
    if run.kind not in OF_PIECES:
        raise CheckpointError(f"{run.path} holds a run of kind {run.kind!r}, which cannot be asked for a piece",
                              "give the directory of a pretrain.bert or gpt run")
    encoder = load_encoder(run, device)
    assert isinstance(encoder, BertEncoder)  # or a GptEncoder, which is one
    return with_head(run, encoder).eval(), encoder


def with_head(run: LoadedRun, encoder: BertEncoder) -> MaskedLM:
    """An encoder under its run's own head, which does not learn. Raises: CheckpointError if there is none that fits."""
    if "dense.weight" not in run.tensors:  # of some that were imported
        raise CheckpointError(f"{run.path} has no head that predicts pieces", ANOTHER)
    network = CausalLM if isinstance(encoder, GptEncoder) else MaskedLM
    model = build_to_fit(lambda: network(encoder.bert.config), run.tensors, run.path).requires_grad_(False)
    model.to(encoder.bert.embeddings.tokens.weight.device)
    model.bert = encoder.bert  # whose embeddings, learning or not, are the decoder's too
    return model


def softmax_of(run: LoadedRun, encoder: BiLMEncoder) -> WordSoftmax:
    """The softmax of the run that a biLM came from; it does not learn. Raises: CheckpointError if none fits."""
    if "softmax.weight" not in run.tensors:
        raise CheckpointError(f"{run.path} has no head that predicts words", ANOTHER)
    V, P, prefix = len(run.parsed("vocab.txt", Vocabulary.from_text)), encoder.hidden_size // 2, "softmax."
    tensors = {name.removeprefix(prefix): t for name, t in run.tensors.items() if name.startswith(prefix)}
    softmax = build_to_fit(lambda: WordSoftmax(V, P), tensors, run.path).requires_grad_(False)
    return softmax.to(encoder.bilm.charcnn.project.weight.device)


def new_encoder(config: Mapping[str, Any], tokens: Vocabulary | WordPiece,
                tensors: Mapping[str, Tensor] | None = None) -> Encoder:
    """An encoder of the shape that a pretraining run's config describes, with random weights drawn by torch.

    With the `tensors` that it is meant to hold, absurd counts of layers are refused before they are built.
    Raises: ValueError, TypeError or KeyError for a config that describes no encoder.
    """
    values, kind = config["model"], config["kind"]
    if kind not in KINDS:
        raise ValueError(f"no encoder is of kind {kind!r:.60}")
    if isinstance(tokens, WordPiece):
        bert = BertConfig.from_dict(values)
        _check_sizes(bert.num_layers, tensors, bert.vocab_size, len(tokens.pieces))
        seq_length = config.get("training", {}).get("seq_length", bert.max_positions)
        if type(seq_length) is not int or not 3 <= seq_length <= bert.max_positions:
            raise ValueError(f"rows of {seq_length!r:.60} tokens, and {bert.max_positions:,} positions")
        return (GptEncoder if kind == "gpt" else BertEncoder)(bert, tokens, seq_length)
    if kind == "static":
        return StaticEncoder(tokens, values["hidden_size"])
    bilm = BiLMConfig.from_dict(values)
    _check_sizes(bilm.most_layers, tensors, bilm.vocab_size, len(tokens))
    return BiLMEncoder(bilm)


def _check_sizes(num_layers: int, tensors: Mapping[str, Tensor] | None, vocab_size: int, num_words: int) -> None:
    """Raises: ValueError for more layers than tensors, or a vocabulary of another size than the config's."""
    if tensors is not None:
        check_depth(num_layers, tensors)
    if vocab_size != num_words:
        raise ValueError(f"vocab_size is {vocab_size:,}, but the vocabulary has {num_words:,} words")


def read_tokens(run: LoadedRun, kind: str) -> Vocabulary | WordPiece:
    """The words or pieces that an encoder of this kind takes. Raises: CheckpointError if missing or damaged."""
    if kind in OF_PIECES:
        return run.parsed("tokenizer.json", WordPiece.from_json)
    return run.parsed("vocab.txt", Vocabulary.from_text)


def _below_the_softmax(run: LoadedRun) -> dict[str, Tensor]:
    """The weights of a language model without what predicts words, as `BiLMEncoder` and `BertEncoder` name them."""
    if run.kind in OF_PIECES:
        return {name: tensor for name, tensor in run.tensors.items() if name.startswith("bert.")}
    return {f"bilm.{name}": tensor for name, tensor in run.tensors.items() if not name.startswith("softmax.")}
