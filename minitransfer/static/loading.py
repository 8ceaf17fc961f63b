"""Part II, around the vectors: loading. Do the words of a static run belong to its vectors?

Read next: `pretrain.static.train`, the command.
"""

from torch import Tensor

from minitransfer.apparatus.errors import CheckpointError
from minitransfer.apparatus.saved import ANOTHER, LoadedRun
from minitransfer.apparatus.states import finite
from minitransfer.static.skipgram import standardise
from minitransfer.text.words import Vocabulary


def static_vectors(run: LoadedRun) -> tuple[Vocabulary, Tensor]:
    """The words of a static run and their vectors (V, D) float32, scaled as every later stage uses them.

    Raises: CheckpointError if it holds vectors of word pieces, or vocabulary, vectors and counts do not fit together.
    """
    if run.config.get("unit") == "pieces":
        what = f"{run.path} holds vectors of word pieces, but vectors of words are needed"
        raise CheckpointError(what, "give a run of `python -m pretrain.static` without --pieces, such as runs/static")
    vocabulary = run.parsed("vocab.txt", Vocabulary.from_text)
    vectors, counts = run.tensors.get("vectors"), run.tensors.get("counts")
    if vectors is None or counts is None or vectors.ndim != 2:
        shapes = {name: tuple(tensor.shape) for name, tensor in run.tensors.items()}
        raise CheckpointError(f"{run.path} should hold vectors (V, D) and counts (V,), but holds {shapes}", ANOTHER)
    sizes = len(vocabulary), len(vectors), counts.numel()
    if len(set(sizes)) > 1:
        what = "{}: vocab.txt has {:,} words, but there are {:,} vectors and {:,} counts".format(run.path, *sizes)
        raise CheckpointError(what, ANOTHER)
    scaled = standardise(vectors.float(), counts.flatten().float())
    if not finite(scaled):
        raise CheckpointError(f"the weights in {run.path} are not all finite", ANOTHER)
    return vocabulary, scaled
