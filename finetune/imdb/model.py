"""Part VI, around the command: the model. What is put together, and what of it learns, in each mode of transfer?

An encoder from a pretraining run, or one of its shape with random weights; above it the mix and the head. Learning
rates are **discriminative**: the head has its own, the encoder's layers have smaller ones towards the input.

Read next: `finetune.imdb.data`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from finetune.imdb.settings import Settings
from minitransfer.apparatus.checkpoint import LoadedRun
from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.optim import weight_decay_groups
from minitransfer.text import CLASSES
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.encoders import Encoder, StaticEncoder, default_max_tokens
from minitransfer.transfer.freezing import encoder_parameter_groups, learning_depth, unfreeze_top
from minitransfer.transfer.loading import load_encoder, new_encoder, read_tokens

ONE_TOKEN = {"cls": ("[CLS] token that sees the whole text", "bert"),
             "last": ("last token in which a text is gathered", "gpt")}  # what these heads need, and who has it
MIX_RATE = 30  # a few hundred steps at the head's own rate would leave the layers' weights about where they began


def parameter_groups(model: Classifier, settings: Settings) -> list[dict[str, Any]]:
    """What will learn, for `adamw`: head, mix, encoder. The mix does not decay: γ has no reason to be small."""
    decay = settings.weight_decay
    listed = weight_decay_groups(model.head, settings.learning_rate, decay)
    if model.mix is not None:
        listed += weight_decay_groups(model.mix, MIX_RATE * settings.learning_rate, 0.0)
    if settings.mode != "frozen":
        listed += encoder_parameter_groups(model.encoder, settings.encoder_rate, settings.layer_decay, decay)
    return listed


def build_encoder(encoder_run: LoadedRun, settings: Settings) -> Encoder:
    """The encoder of a run, or for `scratch` one of its shape with random weights."""
    frozen = settings.mode == "frozen"
    encoder = load_encoder(encoder_run, torch.device("cpu"), frozen)  # for scratch too: its shape is checked thereby
    if settings.mode == "scratch":
        encoder = new_encoder(encoder_run.config, read_tokens(encoder_run, encoder_run.kind))
    encoder.set_dropout(settings.encoder_dropout or 0.0)
    return encoder


def build(encoder: Encoder, settings: Settings, classes: Sequence[str] = CLASSES) -> Classifier:
    """The model to train."""
    return Classifier(encoder, **settings.of_head(), classes=classes)


def unfreeze(encoder: Encoder, settings: Settings, epoch: int) -> None:
    """Unfreeze the layers of an encoder that the mode trains in an epoch, counted from 0, and freeze all others."""
    unfreeze_top(encoder, learning_depth(settings.mode, len(encoder.groups()), settings.unfreeze, epoch))


def fit_to_encoder(settings: Settings, encoder: Encoder) -> Settings:
    """The settings with their number of tokens. Raises: UsageError if the encoder cannot give what is asked of it."""
    settings = replace(settings, max_tokens=settings.max_tokens or default_max_tokens(encoder))
    if settings.head in ONE_TOKEN and settings.head != encoder.token_head:
        token, kind = ONE_TOKEN[settings.head]
        raise UsageError(f"--head {settings.head} takes a {token}, and {settings.encoder} has none",
                         f"use --head mean, or the --encoder of a pretrain.{kind} run")
    if settings.encoder_dropout and isinstance(encoder, StaticEncoder):
        raise UsageError(f"--encoder-dropout {settings.encoder_dropout:g}: {settings.encoder} holds static vectors, "
                         "which have no units to drop", "leave it out, or give the --encoder of another run")
    if not encoder.accepts(settings.max_tokens):
        if settings.max_tokens < encoder.least_tokens:
            raise UsageError(f"--max-tokens {settings.max_tokens} has no room for a piece between [CLS] and [SEP]",
                             f"use --max-tokens {encoder.least_tokens} or more")
        raise UsageError(f"--max-tokens {settings.max_tokens}, but {settings.encoder} was pretrained on texts of "
                         f"up to {encoder.max_tokens} tokens",
                         f"use --max-tokens {encoder.max_tokens} or fewer, or pretrain with a larger --seq-length")
    return settings
