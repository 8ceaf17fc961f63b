"""Part V, around the command: the model. What is put together, and what of it learns, in each mode of transfer?

An encoder from a pretraining run, or one of its shape with random weights; above it the mix and the head. Learning
rates are **discriminative**: the head has its own, the encoder's layers have smaller ones towards the input.

Read next: `finetune.imdb.data`.
"""

import argparse
from typing import Any

import torch

from minitransfer.apparatus.checkpoint import LoadedRun
from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.optim import weight_decay_groups
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.encoders import Encoder
from minitransfer.transfer.freezing import encoder_parameter_groups, learning_depth, unfreeze_top
from minitransfer.transfer.loading import load_encoder, new_encoder, read_tokens

MAX_TOKENS = 512  # of a review, where neither flag nor encoder says otherwise
MIX_RATE = 30  # a few hundred steps at the head's own rate would leave the layers' weights about where they began


def parameter_groups(model: Classifier, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """What will learn, for `adamw`: the head; the mix, at MIX_RATE times the head's rate; groups of the encoder.

    The mix does not decay: its weights are relative, and γ has no reason to be small.
    """
    decay = arguments.weight_decay
    listed = weight_decay_groups(model.head, arguments.learning_rate, decay)
    if model.mix is not None:
        listed += weight_decay_groups(model.mix, MIX_RATE * arguments.learning_rate, 0.0)
    if arguments.mode != "frozen":
        listed += encoder_parameter_groups(model.encoder, arguments.encoder_rate, arguments.layer_decay, decay)
    return listed


def build(encoder_run: LoadedRun, arguments: argparse.Namespace) -> Classifier:
    """The model to train: the encoder of a run, or for `scratch` one of its shape with random weights."""
    frozen = arguments.mode == "frozen"
    encoder = load_encoder(encoder_run, torch.device("cpu"), frozen)  # for scratch too: its shape is checked thereby
    if arguments.mode == "scratch":
        encoder = new_encoder(encoder_run.config, read_tokens(encoder_run, encoder_run.kind))
    check_encoder(encoder, arguments)
    encoder.set_dropout(arguments.encoder_dropout or 0.0)
    return Classifier(encoder, **head_settings(arguments))


def let_learn(encoder: Encoder, arguments: argparse.Namespace, epoch: int) -> None:
    """Let those layers of an encoder learn that the mode says for an epoch, counted from 0, and no others."""
    unfreeze_top(encoder, learning_depth(arguments.mode, len(encoder.groups()), arguments.unfreeze, epoch))


def check_encoder(encoder: Encoder, arguments: argparse.Namespace) -> None:
    """Fill in how much is read of a review.

    Raises: UsageError if the encoder cannot give what the flags ask of it.
    """
    if arguments.max_tokens is None:
        arguments.max_tokens = longest_read(encoder)
    if arguments.head == "cls" and not encoder.has_cls:
        raise UsageError(f"--head cls reads the [CLS] token, and {arguments.encoder} has none",
                         "use --head mean, or the --encoder of a pretrain.bert run")
    if encoder.max_tokens is not None and arguments.max_tokens > encoder.max_tokens:
        raise UsageError(f"--max-tokens {arguments.max_tokens}, but {arguments.encoder} was pretrained on texts of "
                         f"up to {encoder.max_tokens} tokens",
                         f"use --max-tokens {encoder.max_tokens} or fewer, or pretrain with a larger --seq-length")
    if encoder.has_cls and arguments.max_tokens < 3:
        raise UsageError(f"--max-tokens {arguments.max_tokens} has no room for a piece between [CLS] and [SEP]",
                         "use --max-tokens 3 or more")


def longest_read(encoder: Encoder) -> int:
    """How many tokens are read of a review, where no flag says so: no more than the encoder was pretrained on."""
    return min(MAX_TOKENS, encoder.max_tokens or MAX_TOKENS)


def head_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a classifier needs to be built again, beside its encoder."""
    return {name: getattr(arguments, name) for name in ("head", "pool", "head_size", "dropout")}
