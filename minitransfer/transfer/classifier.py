"""Part VI, chapter 8: the classifier. How do encoder, mix and head become one model, and what is it fed?

    logits = model(batch)

An encoder with a **head** for a task is a classifier. A review goes through the encoder, its layers are mixed by
weights the task learns, and the head says what it is. Where the encoder is frozen and the head takes a mean, a batch
is features worked out before; otherwise it is tokens, and there are two steps: each text is encoded and pooled by
itself; then all texts of a batch are classified together, since they may be standardised by one another. Several
processes share the first part; the second each does in full.

Read next: `minitransfer.transfer.examples`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from minitransfer.apparatus.distributed import broadcast_generator, gather_rows
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.apparatus.runtime import autocast
from minitransfer.apparatus.saved import ANOTHER, LoadedRun, build_to_fit
from minitransfer.elmo.mix import ScalarMix
from minitransfer.text import CLASSES, classes_of
from minitransfer.transfer import POOLS
from minitransfer.transfer.encoders import Encoder, TokenVectors
from minitransfer.transfer.features import Standardise, pool_tokens
from minitransfer.transfer.heads import BiLSTMHead, ClsHead, MeanPoolHead
from minitransfer.transfer.loading import new_encoder, read_tokens
from minitransfer.transfer.tokens import Batch

OF_ONE_TOKEN = ("cls", "last")


class Classifier(nn.Module):
    """An encoder, the scalar mix of its layers, and a head: from a batch of texts to one number per class.

    mean     logits = W2 tanh(W1 γ Σ_k s_k standardised(pool_t(h_{t,k}))) + b
    bilstm   logits = W mean_t(BiLSTM(γ Σ_k s_k h_{t,k})) + b
    cls      logits = W h_[CLS] + b, of the last layer alone: nothing is mixed
    last     the same of a text's last token, as a GPT needs it

    classes: their names, in the order of the logits.

    On the way, for the mean head: `token_vectors` (B, T, D), `encode` (L + 1, B, T, D), pooled (B, L + 1, W), the
    head's inputs (B, W), logits (B, Y). A frozen encoder's pooled layers are kept, and `forward` takes them instead of
    tokens.
    """

    head: MeanPoolHead | BiLSTMHead | ClsHead

    def __init__(self, encoder: Encoder, *, head: str, pool: str, head_size: int, dropout: float,
                 classes: Sequence[str] = CLASSES):
        super().__init__()
        if not 0 <= dropout < 1:  # nan, of which torch complains only when the first text is encoded
            raise ValueError(f"dropout is {dropout}, and must be at least 0 and below 1")
        self.encoder, self.pool, self.classes = encoder, pool, tuple(classes)
        self.token_vectors = TokenVectors(encoder)
        self.mix = ScalarMix(encoder.num_layers) if head not in OF_ONE_TOKEN else None
        if head == "mean":
            width = encoder.hidden_size * POOLS[pool]
            self.standardise = Standardise(encoder.num_layers, width)
            self.head = MeanPoolHead(width, head_size, len(classes), dropout)
        elif head == "bilstm":
            self.head = BiLSTMHead(encoder.hidden_size, head_size, len(classes), dropout)
        elif head in OF_ONE_TOKEN:
            self.head = ClsHead(encoder.hidden_size, len(classes), dropout)
        else:
            raise ValueError(f"there is no head {head!r}")

    @property
    def device(self) -> torch.device:
        """Where the model is, and where its inputs must be."""
        return next(self.head.parameters()).device

    def forward(self, batch: Batch | Tensor) -> Tensor:
        """The logits of B texts, given as tokens or as their pooled layers (B, L + 1, W) -> (B, Y).

        Of several processes each brings the tokens of its share of the texts, and gets the logits of all.
        """
        if isinstance(batch, Tensor):
            return self.classify_pooled(batch)
        return self.classify_pooled(gather_rows(self.encode_batch(batch), batch.num_texts))

    def encode_batch(self, batch: Batch) -> Tensor:
        """The pooled layers of each text in a batch, or what else the head takes. Shapes: as `encode_and_pool`."""
        x = self.token_vectors(batch)
        return self.encode_and_pool(x, torch.from_numpy(batch.mask).to(x.device))

    def encode_and_pool(self, x: Tensor, mask: Tensor) -> Tensor:
        """What the head takes of each text, pooled over its tokens.

        Shapes: x (B, T, D) token vectors, mask (B, T) bool -> (B, L + 1, W) for mean, (B, 2 head_size) for bilstm,
        (B, 1, D) for cls and last.
        """
        if isinstance(self.head, ClsHead):
            return self.encode(x, mask, one_token=True).unsqueeze(1)
        layers = self.encode(x, mask)
        if isinstance(self.head, MeanPoolHead):
            return pool_tokens(layers, mask, self.pool)
        with autocast(x.device, self.encoder.precision):
            return self.head.pool(self.mix(layers), mask)

    def classify_pooled(self, pooled: Tensor) -> Tensor:
        """Shapes: what `encode_and_pool` gives of each text, or pooled layers (B, L + 1, W) -> logits (B, Y)."""
        x = self.head_inputs(pooled)
        return self.head.classify(x) if isinstance(self.head, BiLSTMHead) else self.head(x)

    def head_inputs(self, pooled: Tensor) -> Tensor:
        """The one vector of each text that the head classifies.

        Shapes: as `classify_pooled`, but -> (B, W): for mean γ Σ_k s_k standardised(pooled_k), for bilstm the mean of
        its states, for cls h_[CLS], for last the last token's h.
        """
        if self.training:  # Every process classifies the whole batch, so the head must drop the same units in each;
            # but the encoder's dropout has just drawn from this generator, in each for other rows.
            broadcast_generator(default_generator(pooled.device))
        if isinstance(self.head, BiLSTMHead):
            return pooled
        if isinstance(self.head, ClsHead):
            return pooled[:, -1]
        learning = self.training and not self.encoder.frozen
        return self.mix(self.standardise(pooled, learning).transpose(0, 1))

    def encode(self, x: Tensor, mask: Tensor, one_token: bool = False) -> Tensor:
        """The encoder's layers, or the state in its last one of the token that the head takes.

        Shapes: x (B, T, D) word vectors, mask (B, T) bool -> (L + 1, B, T, D), or (B, D).
        While the encoder is training, its dropout is drawn as the head's is, from torch's own generator of the device.
        """
        noise = default_generator(x.device) if self.encoder.training else None
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.encoder.frozen):
            if one_token:
                return self.encoder.encode_one(x, mask, noise)
            return self.encoder.encode(x, mask, generator=noise)


def default_generator(device: torch.device) -> torch.Generator:
    """The generator that `torch.manual_seed` seeds, and modules draw from, on a device."""
    return torch.default_generator if device.type == "cpu" else torch.cuda.default_generators[device.index or 0]


def load_classifier(run: LoadedRun, device: torch.device) -> Classifier:
    """The model of a transfer run, in evaluation mode and float32. Raises: CheckpointError if its parts do not fit."""
    encoder = run.config.get("encoder")
    tokens = read_tokens(run, encoder.get("kind") if isinstance(encoder, dict) else None)
    names = [name.removeprefix("encoder.") for name in run.tensors if name.startswith("encoder.")]
    own = {name: run.tensors[f"encoder.{name}"] for name in names}

    def make() -> Classifier:
        """The model that the config describes."""
        return Classifier(new_encoder(encoder, tokens, own), **run.config["model"], classes=classes_of(run.config))

    model = build_to_fit(make, run.tensors, run.path)
    model.encoder.freeze()
    return model.eval().to(device)


def max_tokens_of(config: dict[str, Any], encoder: Encoder) -> int:
    """How many tokens of a text a run encodes. Raises: CheckpointError if it does not say, or so many cannot be."""
    value = config.get("max_tokens")
    if type(value) is not int or not encoder.accepts(value):
        what = f"config.json says that texts have at most {value!r:.60} tokens"
        raise CheckpointError(f"{what}, where the encoder takes {encoder.accepted}", ANOTHER)
    return value
