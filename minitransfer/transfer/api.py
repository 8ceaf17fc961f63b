"""Part VI, from Python. How does a run become an object that takes texts and gives numbers?

    encoder = minitransfer.load("runs/bilm")             # a run of pretrain.static, bilm, bert or gpt
    encoder.encode(["A film.", "Another film."])         # (2, D) float32
    tokens, layers = encoder.layers("A film.")           # T tokens, (L + 1, T, D) float32

    classifier = minitransfer.load("runs/imdb")          # a run of finetune.imdb or finetune.bag
    classifier.predict(["A film."])                      # of classifier.classes_
    classifier.predict_proba(["A film."])                # (1, Y) float32

This is **feature-based transfer** to any classifier of one's own: what is loaded can be a step of a scikit-learn
`Pipeline`, which calls `fit` and `transform`. It stays frozen, so `fit` learns nothing. All arrays are numpy's, on the
CPU, wherever they were computed.

Texts are strings: in a list, an array, a column of a table. Each is cleaned as those of a corpus are. A single string
stands for itself, in every method, as in the sentence-transformers library: `encode("A film.")` has the shape (D,).

Read next: `minitransfer.transfer.baselines`.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from minitransfer.apparatus.errors import CheckpointError, UsageError
from minitransfer.apparatus.options import several_of
from minitransfer.apparatus.runtime import choose_device
from minitransfer.apparatus.saved import ANOTHER, LoadedRun, load_run, read_config
from minitransfer.apparatus.settings import DEVICES
from minitransfer.text import classes_of
from minitransfer.text.cleaning import clean_text
from minitransfer.text.imdb import LINE_BREAK
from minitransfer.transfer.baselines import WHOLE, Bags
from minitransfer.transfer.classifier import Classifier, load_classifier, max_tokens_of
from minitransfer.transfer.coverage import Coverage
from minitransfer.transfer.encoders import Encoder, TokenVectors, default_max_tokens
from minitransfer.transfer.examples import predict
from minitransfer.transfer.features import pool_tokens
from minitransfer.transfer.loading import load_encoder
from minitransfer.transfer.tokens import Batch, TokenisedTexts, batches_to_encode, tokenise_words

Texts = str | Iterable[str]


class FromRun:
    """A finished run as an estimator of scikit-learn: its options can be seen, set and copied, and it is always fitted.

    It is read from disk when it is first needed, once. A copy, and one sent to another process, reads it again.
    """

    kind: ClassVar[str | None] = None  # of the run; None for any
    options: ClassVar[Mapping[str, Any]] = {"run": None, "device": "auto"}  # and what they are where not given
    run: str | os.PathLike
    device: str

    def __init__(self, run: str | os.PathLike, **options: Any):
        self.set_params(run=run, **options)

    def fit(self, texts: object = None, labels: object = None) -> Self:
        """Learn nothing; returns itself, loaded. Raises: CheckpointError, UsageError for what cannot be loaded."""
        raise NotImplementedError

    def tokenise(self, texts: list[str]) -> TokenisedTexts:
        """The texts as the tokens that are encoded, or counted, of them."""
        raise NotImplementedError

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The options, as they were given."""
        return {name: vars(self).get(name, default) for name, default in self.options.items()}

    def set_params(self, **options: Any) -> Self:
        """Change some options; returns itself. Raises: UsageError for one that there is not."""
        for name in options.keys() - self.options.keys():
            raise UsageError(f"{type(self).__name__} has no option {name!r:.60}",
                             f"leave it out; there are {', '.join(self.options)}")
        options = self.get_params() | options
        vars(self).clear()  # what was loaded too: it may be another run now, or on another device
        vars(self).update(options)
        return self

    @cached_property
    def _run(self) -> LoadedRun:
        return load_run(Path(self.run), self.kind)

    @cached_property
    def _device(self) -> torch.device:
        if self.device not in DEVICES:
            raise UsageError(f"device is {self.device!r:.60}", f"choose one of {', '.join(DEVICES)}")
        return choose_device(self.device)

    def __getstate__(self) -> dict[str, Any]:
        return self.get_params()

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({options})"

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        from sklearn.base import BaseEstimator  # it is scikit-learn that asks

        return BaseEstimator.__sklearn_tags__(self)


class FrozenEncoder(FromRun):
    """A pretraining run as an encoder of texts.

    layer      the one that `encode` takes, 0 the lowest; None for the mean of all
    max_tokens of a text are encoded, of a longer one head and tail; None for 512, or for as many as a BERT or
               GPT was pretrained on, if fewer
    device     where to compute: "auto", "cpu" or "cuda"
    """

    options: ClassVar[Mapping[str, Any]] = {"run": None, "layer": None, "max_tokens": None, "device": "auto"}
    layer: int | None
    max_tokens: int | None = None

    def fit(self, texts: object = None, labels: object = None) -> Self:
        """Learn nothing; returns itself, loaded. Raises: UsageError for an option that the run cannot serve."""
        encoder = self._encoder
        if self.layer is not None and not (is_integer(self.layer) and 0 <= self.layer < encoder.num_layers):
            raise UsageError(f"layer is {self.layer!r:.60}, and {self.run} has layers 0 to {encoder.num_layers - 1}",
                             "choose one of these, or None for the mean of all")
        if self.max_tokens is not None and not (is_integer(self.max_tokens) and encoder.accepts(self.max_tokens)):
            raise UsageError(f"max_tokens is {self.max_tokens!r:.60}, and {self.run} encodes {encoder.accepted}",
                             "choose a number among these, or None")
        return self

    def encode(self, texts: Texts) -> np.ndarray:
        """One vector for each text, (N, D) float32; of a single string (D,).

        x = 1/(L+1) Σ_k 1/T Σ_t h_{t,k}        or with `layer` k:  x = 1/T Σ_t h_{t,k}

        It is what a new classifier of `finetune.imdb --mode frozen` mixes before it has learned anything: the mean over
        the tokens of a text, [CLS] and [SEP] among them in a BERT or GPT, and over the layers k = 0 … L at equal
        weights. There each dimension is standardised by the training texts besides: put a `StandardScaler` behind. An
        empty text has zeros, but in a BERT or GPT.
        """
        listed, alone = as_list(texts)
        tokenised = self.tokenise(listed or [""])  # so that no texts give an array of the right width
        vectors: list[Any] = [None] * len(tokenised.token_ids)
        with torch.no_grad():
            for rows in batches_to_encode(tokenised.lengths):
                for i, x in zip(rows, self._of_batch(tokenised.batch(rows)).cpu().numpy()):
                    vectors[i] = x
        return vectors[0] if alone else np.stack(vectors)[: len(listed)]

    def transform(self, texts: Texts) -> np.ndarray:
        """What `encode` gives, by the name that a `Pipeline` calls it by."""
        return self.encode(texts)

    @torch.no_grad()
    def layers(self, text: str) -> tuple[list[str], np.ndarray]:
        """The tokens of a text as the encoder sees them, and the layers of each: (L + 1, T, D) float32.

        Raises: UsageError for what is no text.
        """
        [text], _ = as_list([text])
        tokenised = self.tokenise([text])
        layers, mask = self._layers(tokenised.batch(np.array([0])))
        return [tokenised.tokens[i] for i in tokenised.token_ids[0]], layers[:, 0, mask[0]].cpu().numpy()

    def tokenise(self, texts: list[str]) -> TokenisedTexts:
        """The texts, cleaned, as the tokens that the encoder takes."""
        encoder = self.fit()._encoder
        return encoder.tokenise([clean(text) for text in texts], self.max_tokens or default_max_tokens(encoder))

    def _of_batch(self, batch: Batch) -> Tensor:
        """The vectors of the texts in a batch, (B, D)."""
        pooled = pool_tokens(*self._layers(batch), "mean")  # (B, L + 1, D)
        return pooled.mean(dim=1) if self.layer is None else pooled[:, self.layer]

    def _layers(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The layers of the texts in a batch, (L + 1, B, T, D), and which tokens are real, (B, T)."""
        x = self._token_vectors(batch)
        mask = torch.from_numpy(batch.mask).to(x.device)
        return self._encoder.encode(x, mask), mask

    @cached_property
    def _encoder(self) -> Encoder:
        return load_encoder(self._run, self._device)

    @cached_property
    def _token_vectors(self) -> TokenVectors:
        return TokenVectors(self._encoder)


class Predicting(FromRun):
    """What has learned classes, named by `classes_` in the order of the columns of `predict_proba`."""

    def predict(self, texts: Texts) -> np.ndarray:
        """The name of the most probable class of each text, (N,); of a single string one name."""
        return self.classes_[self.predict_proba(texts).argmax(axis=-1)]

    def predict_proba(self, texts: Texts) -> np.ndarray:
        """The probability of each class for each text, (N, Y) float32, rows that sum to one; of a single string (Y,).

        Of a text without words it means nothing: no such text was learned from.
        """
        listed, alone = as_list(texts)
        p = self.probabilities(self.tokenise(listed or [""])).numpy()
        return p[0] if alone else p[: len(listed)]

    def probabilities(self, tokenised: TokenisedTexts) -> Tensor:
        """As `predict_proba`, of texts that are tokenised already."""
        raise NotImplementedError

    @property
    def classes_(self) -> np.ndarray:
        """The names of the Y classes. Raises: CheckpointError if the run's config has no such names."""
        try:
            return np.array(classes_of(self._run.config))
        except ValueError as failure:
            raise CheckpointError(f"{self.run}: {failure}", ANOTHER) from failure


class TextClassifier(Predicting, FrozenEncoder):
    """A run of `finetune.imdb`, encoder, mix and head; it encodes as many tokens as it was trained with."""

    kind = "transfer"
    options = FromRun.options

    def fit(self, texts: object = None, labels: object = None) -> Self:
        """Learn nothing; returns itself, loaded, with the `max_tokens` of its run."""
        self.max_tokens = max_tokens_of(self._run.config, self._encoder)
        return self

    def encode(self, texts: Texts) -> np.ndarray:
        """The one vector of each text that the head classifies, (N, W) float32; of a single string (W,).

        mean      γ Σ_k s_k standardised(pool_t(h_{t,k})), W as wide as the run's pool
        bilstm    mean_t(BiLSTM(γ Σ_k s_k h_{t,k})), W = 2 head_size
        cls       h_[CLS] of the last layer, W = D
        last      h_T of the last layer, the last token's, W = D

        Head and softmax make the probabilities of it.
        """
        return super().encode(texts)

    def probabilities(self, tokenised: TokenisedTexts) -> Tensor:
        """As the network gives them."""
        return predict(self.model, tokenised)

    def coverage(self) -> Coverage | None:
        """What counts how much of further texts the encoder has not learned; None for one that was never pretrained."""
        config = self._run.config
        return Coverage(self._run, config["encoder"]["kind"]) if config.get("mode") != "scratch" else None

    @cached_property
    def model(self) -> Classifier:
        """The network, in evaluation mode."""
        return load_classifier(self._run, self._device)

    @property
    def _encoder(self) -> Encoder:  # type: ignore[override]
        return self.model.encoder

    def _of_batch(self, batch: Batch) -> Tensor:
        return self.model.head_inputs(self.model.encode_batch(batch))


class BagOfNgrams(Predicting):
    """A run of `finetune.bag`, which has no encoder: it counts the words, and rows of words, of a whole text."""

    kind = "bag"

    def fit(self, texts: object = None, labels: object = None) -> Self:
        """Learn nothing; returns itself, loaded. Raises: CheckpointError if weights and n-grams do not fit."""
        missing = {"weights", "b"} - self._run.tensors.keys()
        if missing or self._run.tensors["weights"].shape[-1] != len(self._numbers):
            raise CheckpointError(f"{self.run}: weights and ngrams.txt do not fit together", ANOTHER)
        return self

    def tokenise(self, texts: list[str]) -> TokenisedTexts:
        """The texts, cleaned, as all of their words."""
        return tokenise_words([clean(text) for text in texts], WHOLE)

    def probabilities(self, tokenised: TokenisedTexts) -> Tensor:
        """As the n-grams of each text give them together."""
        members, starts = [], [0]
        for token_ids in tokenised.token_ids:
            words = [tokenised.tokens[i] for i in token_ids]
            grams = {" ".join(words[i : i + n]) for n in range(1, self._longest + 1) for i in range(len(words) - n + 1)}
            members += sorted(self._numbers[gram] for gram in grams if gram in self._numbers)  # sums repeat bit for bit
            starts.append(len(members))
        device, tensors = self._device, self.fit()._run.tensors
        bags = Bags(torch.tensor(members, dtype=torch.int64, device=device), torch.tensor(starts, device=device))
        return bags.logits(tensors["weights"].to(device), tensors["b"].to(device)).softmax(dim=-1).float().cpu()

    @cached_property
    def _longest(self) -> int:
        """Words of the longest n-gram."""
        return max((gram.count(" ") for gram in self._numbers), default=0) + 1

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """The number of each n-gram."""
        return {gram: i for i, gram in enumerate(filter(None, self._run.text("ngrams.txt").split("\n")))}


def load(run: str | os.PathLike, **options: Any) -> Any:
    """What a finished run can do with texts, loaded; `options` are those of its class.

    Raises: CheckpointError for a directory that holds no finished run; UsageError for an option that it does not have.
    """
    of_kind = {kind.kind: kind for kind in (TextClassifier, BagOfNgrams)}
    return of_kind.get(read_config(Path(run))["kind"], FrozenEncoder)(run, **options).fit()


def as_list(texts: Texts) -> tuple[list[str], bool]:
    """The texts as a list, and whether they were a single string. Raises: UsageError for what is no text."""
    if isinstance(texts, str):
        return [texts], True
    listed = several_of("texts", texts)
    for i, text in enumerate(listed):
        if not isinstance(text, str):
            raise UsageError(f"text {i} is of type {type(text).__name__}, and not a string: {text!r:.60}",
                             "give a list of strings")
    return listed, False


def is_integer(value: object) -> bool:
    """Whether a value is a whole number, of Python or numpy, and no truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def clean(text: str) -> str:
    """A text as those of the corpus are: composed Unicode, line breaks for <br />, no invisible characters."""
    return LINE_BREAK.sub("\n", clean_text(text, Counter()))
