"""Part IV, around the command: starting. What does a BERT, or a GPT, begin with, when it does not begin with nothing?

With the pieces of a `pretrain.static --pieces` run and what they mean (--warm-start), or with all that an earlier
one has learned, to go on with new text (--init-from). Either brings its tokenizer, since a piece's number means
nothing without it. Both are finished runs, and are looked at before time goes into reading text.

Read next: `pretrain.bert.train`, the command itself.
"""

from dataclasses import replace

import torch

from minitransfer.apparatus.checkpoint import LoadedRun, load_weights
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.apparatus.saved import ANOTHER, build_to_fit, check_depth
from minitransfer.bert.encoder import BertConfig, MaskedLM
from minitransfer.static.skipgram import standardise
from minitransfer.text.wordpiece import SPECIAL_PIECES, WordPiece
from pretrain.bert.settings import PieceSettings, check_seq_length
from pretrain.bert.text import PackedText

Network = type[MaskedLM]
# On the built-in sample, after three epochs of the preset tiny, 0.01 left a loss of 5.07 nats, 0.02 (as new
# embeddings have) 4.73, 0.05 4.52 and 0.1 4.47; but 0.1 begins at 6.18, where guessing by frequency costs 5.78.
VECTOR_STD = 0.05


def check_origin(origin: LoadedRun, settings: PieceSettings, network: Network = MaskedLM) -> None:
    """Raises: CheckpointError if an earlier run does not fit together, or vectors do not suit the network; UsageError
    if --seq-length exceeds its positions."""
    if origin.kind == "static":
        check_vectors(origin, settings)
    else:
        check_seq_length(settings.seq_length, check_network(origin, network).max_positions)


def read_tokenizer(origin: LoadedRun | None) -> WordPiece | None:
    """The tokenizer of a run; None for no run. Raises: CheckpointError if its tokenizer.json is none, or is empty."""
    if origin is None:
        return None
    tokenizer = origin.parsed("tokenizer.json", WordPiece.from_json)
    if tokenizer.vocab_size <= len(SPECIAL_PIECES):
        raise CheckpointError(f"{origin.path / 'tokenizer.json'} has no pieces but the special ones", ANOTHER)
    return tokenizer


def check_vectors(origin: LoadedRun, settings: PieceSettings) -> None:
    """Raises: CheckpointError unless a static run has a vector of the right width for each piece of its tokenizer."""
    if origin.config.get("unit") != "pieces":
        what = f"{origin.path} holds vectors of whole words, but {settings.title} takes pieces"
        raise CheckpointError(what, "give a run of `python -m pretrain.static --pieces N`")
    V, D = read_tokenizer(origin).vocab_size, settings.hidden_size
    vectors, counts = (origin.tensors.get(name, torch.empty(0)) for name in ("vectors", "counts"))
    if vectors.ndim == 2 and len(vectors) == V and vectors.shape[1] != D:
        what = f"{origin.path} holds vectors of {vectors.shape[1]} dimensions, but --preset {settings.preset} needs {D}"
        fix = f"give a run of `python -m pretrain.static --pieces N --hidden-size {D}`, or another --preset"
        raise CheckpointError(what, fix)
    if vectors.shape != (V, D) or counts.shape != (V,):
        what = (f"{origin.path}: tokenizer.json has {V:,} pieces, but the vectors are {tuple(vectors.shape)} and the "
                f"counts {tuple(counts.shape)}")
        raise CheckpointError(what, ANOTHER)
    if not (vectors.isfinite().all() and counts.min() >= 0 and counts.sum() > 0):
        raise CheckpointError(f"{origin.path}: vectors or counts are not all finite, or nothing is counted", ANOTHER)


def check_network(origin: LoadedRun, network: Network = MaskedLM) -> BertConfig:
    """The shape of a network over pieces. Raises: CheckpointError unless config, weights and tokenizer fit together."""

    def make() -> MaskedLM:
        """The network that the config describes."""
        shape = BertConfig.from_dict(origin.config["model"])
        check_depth(shape.num_layers, origin.tensors)
        return network(shape)

    shape = build_to_fit(make, origin.tensors, origin.path).config
    V, pieces = shape.vocab_size, read_tokenizer(origin).vocab_size
    if V != pieces:
        what = f"{origin.path}: tokenizer.json has {pieces:,} pieces, but the network has {V:,} token embeddings"
        raise CheckpointError(what, ANOTHER)
    return shape


def build(settings: PieceSettings, text: PackedText, origin: LoadedRun | None,
          network: Network = MaskedLM) -> MaskedLM:
    """The network to train: all of it new, or with the vectors of --warm-start, or the weights of --init-from.

    A new one begins by guessing by frequency: its bias is log p(w), which it would else spend its first hundreds of
    steps on. Differs: BERT begins with a bias of 0.
    """
    torch.manual_seed(settings.seed)
    if origin is not None and origin.kind == settings.kind:
        model = network(replace(BertConfig.from_dict(origin.config["model"]), dropout=settings.dropout))
        load_weights(model, origin.tensors)
        return model
    model = network(BertConfig(
        text.tokenizer.vocab_size, settings.hidden_size, settings.num_layers, settings.num_heads,
        settings.intermediate_size, settings.max_positions, settings.dropout))
    with torch.no_grad():
        model.bias.copy_(text.log_frequency)
        if origin is not None:
            take_over_vectors(model, origin)
    return model


def take_over_vectors(model: MaskedLM, origin: LoadedRun) -> None:
    """Begin with static vectors for token embeddings: 0.05 · standardised vector, for each piece that has one.

    They are a little larger than new embeddings, so that the first steps do not wash away what they say. Shapes: of the
    run, vectors (V, D) float32 and counts (V,) int64.
    """
    counts = origin.tensors["counts"].float()
    vectors = VECTOR_STD * standardise(origin.tensors["vectors"].float(), counts)
    met = counts > 0
    model.bert.embeddings.tokens.weight[met] = vectors[met]
