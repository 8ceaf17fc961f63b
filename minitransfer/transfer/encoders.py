"""Part V, chapter 1: encoders. What does a finished pretraining run become when a task reads with it?

Whatever was pretrained, a task sees the same few things: how many layers there are and how wide, the vector of each
distinct word, and the layers of whole texts made of such vectors. A biLM gives its character CNN and two LSTM layers;
static vectors are an encoder of a single layer, in which a text is just its words. The softmax is left behind: it was
the question that taught the encoder, and the task asks another.

Read next: `minitransfer.transfer.labels`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minitransfer.apparatus.checkpoint import LoadedRun, finite, load_weights
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.elmo.bilm import BiLM, BiLMConfig, one_after_the_other
from minitransfer.elmo.charcnn import word_vectors
from minitransfer.static.skipgram import standardise
from minitransfer.text.words import Vocabulary, spell_all

KINDS = ("bilm", "static")
ANOTHER = "give the directory of another run, or train this one anew"


class Encoder(nn.Module):
    """What turns a text into layers of vectors: `num_layers` of them, layer 0 included, each `hidden_size` wide.

    A subclass has `word_table`, `encode` and `groups`. Once frozen, an encoder stays so: `train()` on the model around
    it would otherwise bring back dropout, and with it features that change from pass to pass.
    """

    num_layers: int
    hidden_size: int
    frozen = False

    def freeze(self) -> "Encoder":
        """Keep every weight as it is, for good."""
        self.frozen = True
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> "Encoder":
        """As for any module, except that a frozen encoder cannot be set to training."""
        return super().train(mode and not self.frozen)

    def groups(self) -> list[list[nn.Parameter]]:
        """The parameters in groups that learn or stay together, those nearest to the text first."""
        raise NotImplementedError

    @property
    def words_learn(self) -> bool:
        """Whether the vectors of words are still changing, so that no table of them may be kept."""
        return any(p.requires_grad for p in self.groups()[0])


class StaticEncoder(Encoder):
    """One vector per word whatever its neighbours: the lecture's starting point, and the baseline (lecture 2.1)."""

    num_layers = 1

    def __init__(self, vocabulary: Vocabulary, hidden_size: int):
        super().__init__()
        self.ids, self.hidden_size = vocabulary.ids, hidden_size
        # Smaller than skip-gram's standardised vectors (variance 1), so that training from scratch soon outweighs it.
        self.vectors = nn.Parameter(torch.empty(len(vocabulary), hidden_size).normal_(std=0.1))

    def word_table(self, words: Sequence[str]) -> Tensor:
        """The vectors of U words, (U, D); a word that is not in the vocabulary has zeros."""
        ids = torch.tensor([self.ids.get(word, -1) for word in words], dtype=torch.int64, device=self.vectors.device)
        return self.vectors[ids.clamp(min=0)] * (ids >= 0).unsqueeze(1)

    def groups(self) -> list[list[nn.Parameter]]:
        """One group: the vectors."""
        return [[self.vectors]]

    def encode(self, x: Tensor, mask: Tensor, run_both: Callable = one_after_the_other) -> Tensor:
        """Shapes: x (B, T, D), mask (B, T) bool -> (1, B, T, D), zeros where there is padding."""
        return (x * mask.unsqueeze(-1)).unsqueeze(0)


class BiLMEncoder(Encoder):
    """The layers of a biLM: the character CNN, then each LSTM layer, both directions side by side (lecture 2.4)."""

    def __init__(self, config: BiLMConfig):
        super().__init__()
        self.bilm = BiLM(replace(config, vocab_size=1))  # the smallest softmax there is, for it goes at once
        del self.bilm.softmax
        self.num_layers, self.hidden_size = config.num_layers + 1, 2 * config.projection_size

    def word_table(self, words: Sequence[str]) -> Tensor:
        """The vectors of U words, worked out from their spelling, (U, D); with gradients where these are wanted."""
        spelling = torch.from_numpy(spell_all(words))
        if self.words_learn and torch.is_grad_enabled():
            return self.bilm.charcnn(spelling.to(self.bilm.charcnn.project.weight.device))
        return word_vectors(self.bilm.charcnn, spelling)

    def groups(self) -> list[list[nn.Parameter]]:
        """The character CNN, then each LSTM layer with its projection, of both directions together."""
        layers = zip(*(zip(stack.lstms, stack.projections) for stack in self.bilm.stacks()))
        above = [[p for pair in both for module in pair for p in module.parameters()] for both in layers]
        return [list(self.bilm.charcnn.parameters()), *above]

    def encode(self, x: Tensor, mask: Tensor, run_both: Callable = one_after_the_other) -> Tensor:
        """Shapes: x (B, T, D), mask (B, T) bool -> (L + 1, B, T, D), zeros where there is padding."""
        return self.bilm.encode(x, mask, run_both)


def load_encoder(run: LoadedRun, device: torch.device, frozen: bool = True) -> Encoder:
    """The encoder that a pretraining run has trained, frozen for good or able to learn on.

    Raises: CheckpointError for a run of another kind, or whose settings, vocabulary and weights do not fit together.
    """
    if run.kind not in KINDS:
        kinds = " or ".join(map(repr, KINDS))
        what = f"{run.path} holds a run of kind {run.kind!r}, but an encoder is of kind {kinds}"
        raise CheckpointError(what, "give the directory of a pretraining run, such as runs/bilm or runs/static")
    if run.config.get("unit") == "pieces":
        what = f"{run.path} holds vectors of word pieces, but vectors of words are needed"
        raise CheckpointError(what, "give a run of `python -m pretrain.static` without --pieces, such as runs/static")
    vocabulary = read_vocabulary(run)
    tensors = _tensors_of_static(run, vocabulary) if run.kind == "static" else _tensors_of_bilm(run)
    encoder = build_to_fit(lambda: new_encoder(run.config, vocabulary, tensors), tensors, run.path).to(device)
    return encoder.freeze() if frozen else encoder


def new_encoder(
    config: Mapping[str, Any], vocabulary: Vocabulary, tensors: Mapping[str, Tensor] | None = None
) -> Encoder:
    """An encoder of the shape that a pretraining run's config describes, with random weights drawn by torch.

    With the `tensors` that it is meant to hold, absurd counts of layers are refused before they are built.
    Raises: ValueError, TypeError or KeyError for a config that describes no encoder.
    """
    values = config["model"]
    if config["kind"] == "static":
        return StaticEncoder(vocabulary, values["hidden_size"])
    shape = BiLMConfig.from_dict(values)
    layers = max(shape.num_layers, shape.charcnn.num_highways, len(shape.charcnn.filters))
    if tensors and layers > len(tensors):
        raise ValueError(f"{layers:,} layers cannot be made of {len(tensors)} tensors")
    if shape.vocab_size != len(vocabulary):
        raise ValueError(f"vocab_size is {shape.vocab_size:,}, but the vocabulary has {len(vocabulary):,} words")
    return BiLMEncoder(shape)


def build_to_fit(make: Callable[[], nn.Module], tensors: Mapping[str, Tensor], path: Path) -> nn.Module:
    """The module that `make` builds from a run's config, holding the run's tensors.

    It is built first on torch's meta device, which keeps shapes without memory: a config that claims a billion units
    is refused, not allocated. Raises: CheckpointError if config and tensors do not fit, or a weight is not finite.
    """
    try:
        with torch.device("meta"):
            needed = sum(tensor.numel() for tensor in make().state_dict().values())
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, OverflowError) as failure:
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


def _tensors_of_bilm(run: LoadedRun) -> dict[str, Tensor]:
    """The weights of a biLM without its softmax, under the names in `BiLMEncoder`."""
    return {f"bilm.{name}": tensor for name, tensor in run.tensors.items() if not name.startswith("softmax.")}
