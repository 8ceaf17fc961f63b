"""Part III, around the command: building. What does a biLM begin with, when it does not begin with nothing?

With the character CNN of a warm start, or with everything an earlier biLM has learned, to go on with new text. Both
are finished runs, and are looked at before time goes into reading text: kind, sizes, and whether all fits together.

Read next: `pretrain.bilm.train`, the command itself.
"""

from dataclasses import replace

import torch
from torch import Tensor

from minitransfer.apparatus.checkpoint import LoadedRun, load_weights
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.apparatus.saved import build_to_fit, check_depth
from minitransfer.elmo.bilm import BiLM, BiLMConfig
from minitransfer.elmo.charcnn import CharCNNConfig
from minitransfer.static.loading import static_vectors
from minitransfer.text.words import Vocabulary
from pretrain.bilm.settings import Settings
from pretrain.bilm.text import Text


def check_origin(origin: LoadedRun, settings: Settings) -> None:
    """Raises: CheckpointError if an earlier run does not fit together, or vectors are not as wide as the layers."""
    if origin.kind == "static":
        static_vectors(origin)
        width, D = origin.tensors["vectors"].shape[1], settings.vector_size
        if width != D:
            what = f"{origin.path} holds vectors of {width} dimensions, but --preset {settings.preset} needs {D}"
            fix = f"give a run of `python -m pretrain.static --hidden-size {D}`, or another --preset"
            raise CheckpointError(what, fix)
    else:
        check_network(origin)


def check_network(origin: LoadedRun) -> None:
    """Raises: CheckpointError unless config, vocabulary and weights of a biLM fit together."""
    num_words = len(origin.parsed("vocab.txt", Vocabulary.from_text))

    def make() -> BiLM:
        """The network that the config describes."""
        shape = BiLMConfig.from_dict(origin.config["model"])
        check_depth(shape.most_layers, origin.tensors)
        if shape.vocab_size != num_words:
            raise ValueError(f"vocab_size is {shape.vocab_size:,}, but the vocabulary has {num_words:,} words")
        return BiLM(shape)

    build_to_fit(make, origin.tensors, origin.path)


def build(settings: Settings, text: Text, origin: LoadedRun | None) -> BiLM:
    """The network to train: all of it new, or with the weights of --init-from and a softmax for the new words."""
    torch.manual_seed(settings.seed)
    if origin is not None and origin.kind == "bilm":
        shape = BiLMConfig.from_dict(origin.config["model"])
        model = BiLM(replace(shape, vocab_size=text.vocab_size, dropout=settings.dropout))
        below = {name: tensor for name, tensor in origin.tensors.items() if not name.startswith("softmax.")}
        load_weights(model, {**below, **carried_softmax(model, text, origin)})
        return model
    chars = CharCNNConfig(output_size=2 * settings.projection_size, filters=settings.filters,
                          num_highways=settings.highways)
    return BiLM(BiLMConfig(text.vocab_size, settings.hidden_size, settings.projection_size,
                           dropout=settings.dropout, charcnn=chars))


def carried_softmax(model: BiLM, text: Text, origin: LoadedRun) -> dict[str, Tensor]:
    """A softmax for the new vocabulary, in which words that the old one had keep what was learned for them."""
    old = origin.parsed("vocab.txt", Vocabulary.from_text).ids
    shared = [(new, old[word]) for new, word in enumerate(text.predicted_words) if word in old]
    new_ids, old_ids = map(list, zip(*shared))  # never empty: every vocabulary opens with the same special words
    tensors = {name: t.clone() for name, t in model.state_dict().items() if name.startswith("softmax.")}
    for name, tensor in tensors.items():
        tensor[new_ids] = origin.tensors[name][old_ids]
    return tensors
