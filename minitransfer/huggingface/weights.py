"""Part IV, aside: foreign weights. What if a BERT that was trained elsewhere is not quite a BERT as it is here?

Then it is refused, for its weights would fit and mean something else: another GELU, positions relative to each other,
a decoder of its own. What merely has another name is taken: files from before 2019 write gamma and beta for weight
and bias of a LayerNorm, and those of an encoder alone leave out `bert.`. What no task here uses is left behind: the
pooler, the next-sentence head, a second segment, a classifier.

Sizes are read and compared before any number is. Read next: `minitransfer.huggingface.pieces`, the pieces of such a
BERT.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from minitransfer.apparatus.durable import MANIFEST, read_json
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.apparatus.saved import CONFIG, WEIGHTS, check_depth
from minitransfer.bert.encoder import BertConfig
from minitransfer.huggingface.names import COMPUTED, HEAD, RATES, SIZES, compare, from_theirs, shapes, table

PICKLE = "pytorch_model.bin"
TIED = {"cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias"}  # the same numbers twice, in some files
LEFT_BEHIND = ("bert.pooler.", "cls.seq_relationship.", "classifier.", "qa_outputs.", "bert.embeddings.position_ids")
OLD_ENDINGS = {".gamma": ".weight", ".beta": ".bias"}
SEGMENTS = "bert.embeddings.token_type_embeddings.weight"
FLOATS = ("F64", "F32", "F16", "BF16")
LARGEST = 2**31  # beyond this nothing is a size
UNSAID = {"dropout": 0.1, "layer_norm_eps": 1e-12}  # what that library takes where a config says nothing
DOWNLOAD = "download config.json, model.safetensors and vocab.txt of a BERT into one folder, and give that"
ANOTHER_BERT = "give an uncased BERT, such as bert-base-uncased"


def check_folder(folder: Path) -> None:
    """Raises: CheckpointError if a folder lacks config or weights, or has weights that could run code."""
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "is not there, and nothing is downloaded here"
        raise CheckpointError(f"{str(folder)[:300]} {state}", DOWNLOAD)
    names = {entry.name for entry in folder.iterdir() if entry.is_file()}
    if MANIFEST in names:
        raise CheckpointError(f"{folder} is a run already", "give it to --encoder as it is")
    if CONFIG in names and WEIGHTS in names:
        return
    if f"{WEIGHTS}.index.json" in names:
        raise CheckpointError(f"the weights in {folder} are in several files", f"save them in one {WEIGHTS}")
    if CONFIG in names and PICKLE in names:
        what = f"the weights in {folder} are a pickle, {PICKLE}, and to read that is to run what it says"
        raise CheckpointError(what, f"download {WEIGHTS} of the same BERT, or let transformers save it as that")
    missing = WEIGHTS if CONFIG in names else CONFIG
    raise CheckpointError(f"{folder} has no {missing}, but {', '.join(sorted(names)[:5]) or 'nothing'}", DOWNLOAD)


def read_shape(path: Path) -> tuple[BertConfig, str]:
    """The shape and kind, "bert" or "gpt", of a config.json. Raises: CheckpointError for what is computed otherwise."""
    values = read_json(path)
    try:
        decodes = values.get("is_decoder") is True
        for name, needed in (COMPUTED | {"is_decoder": decodes}).items():
            if values.get(name, needed) != needed:
                raise ValueError(f"{name} is {values[name]!r:.60}, and only {needed!r} is computed here")
        sizes = {}
        for ours, there in {**SIZES, **RATES}.items():
            value = sizes[ours] = values.get(there, UNSAID.get(ours))
            is_size = type(value) is int and 1 <= value < LARGEST
            is_rate = type(value) in (int, float) and 0 <= value < 1
            if not (is_size if ours in SIZES else is_rate):
                raise ValueError(f"{there} is {value!r:.60}")
        return BertConfig(**sizes), "gpt" if decodes else "bert"
    except ValueError as failure:
        raise CheckpointError(f"{path} describes no BERT that can be read: {failure}", ANOTHER_BERT) from failure


def read_weights(path: Path, shape: BertConfig, order: Sequence[int]) -> dict[str, Tensor]:
    """The weights of a BERT under our names, float32, with the rows of its pieces in a new order.

    order: for each id here the one there. Without a masked-LM head in the file they are those of the encoder alone.
    Raises: CheckpointError for a file that is damaged, or holds other weights than the config says, or no numbers.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = newest_names(file.keys())
            parts = {new: file.get_slice(name) for new, name in names.items() if not new.startswith(LEFT_BEHIND)}
            has_head = check_shapes({new: tuple(part.get_shape()) for new, part in parts.items()}, shape)
            for name, part in parts.items():
                if part.get_dtype() not in FLOATS:
                    raise ValueError(f"{name} holds {part.get_dtype()}, which are no weights")

            def read(name: str) -> Tensor:
                """A tensor by its newest name."""
                return file.get_tensor(names[name])

            for twin, name in TIED.items():
                if {twin, name} <= parts.keys() and not torch.equal(read(twin), read(name)):
                    raise ValueError(f"{twin} and {name} differ, and only one of them is used here")
            tensors = from_theirs(read, shape.num_layers, has_head)
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise ValueError(f"the weights are not all finite (first in what is {name} here)")
    except (ValueError, OSError, safetensors.SafetensorError) as failure:
        raise CheckpointError(f"{path}: {failure}", "download it again, or give another BERT") from failure
    for name in {"bert.embeddings.tokens.weight", "bias"} & tensors.keys():
        tensors[name] = tensors[name][list(order)]
    return tensors


def newest_names(names: Iterable[str]) -> dict[str, str]:
    """The names in a file by what they are called today. Raises: ValueError if two of them are called the same."""
    newest: dict[str, str] = {}
    for name in names:
        new = f"bert.{name}" if name.startswith(("embeddings.", "encoder.", "pooler.")) else name
        for old, now in OLD_ENDINGS.items():
            if new.endswith(old):
                new = new.removesuffix(old) + now
        if new in newest:
            raise ValueError(f"{newest[new]} and {name} are the same tensor")
        newest[new] = name
    return newest


def check_shapes(actual: Mapping[str, tuple[int, ...]], config: BertConfig) -> bool:
    """Compare the tensors of a file, by their newest names, with what a BERT needs; returns whether it has a head.

    Raises: ValueError naming what is missing, not known, or of another shape.
    """
    check_depth(config.num_layers, actual)
    names, ours = table(config.num_layers), shapes(config)
    head = {part for name in HEAD for part in names[name]}
    has_head = not head.isdisjoint(actual)
    needed = {part: (ours[name][0] // len(parts), *ours[name][1:]) for name, parts in names.items() for part in parts
              if has_head or name not in HEAD}
    if len(actual.get(SEGMENTS, ())) == 2 and actual[SEGMENTS][0] > 1:
        needed[SEGMENTS] = (actual[SEGMENTS][0], config.hidden_size)  # of which the first is taken
    compare({name: size for name, size in actual.items() if name not in TIED}, needed)
    return has_head
