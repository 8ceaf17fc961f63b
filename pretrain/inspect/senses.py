"""Parts III and IV, around inspecting: senses. Do the uses of a word part by what they mean?

Nobody has marked what *bank* means in a line of WikiText. The grammar that wrote the built-in articles did (lecture
2.2): here each use of a word of several senses is encoded in its own sentence, and coloured by its mark. **Word sense
disambiguation by the nearest neighbour**: below all context a biLM has one vector for all of them, and whoever is
nearest has the same sense by chance alone; above it, how often he has can be counted.

Read next: `pretrain.inspect.geometry`.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from minitransfer.text.sample import sense_contexts
from minitransfer.text.words import tokenize
from pretrain.inspect.geometry import cosines
from pretrain.inspect.occurrences import Occurrence

AS_NEAR = 1e-12  # cosines that differ by less are equal, and differ by rounding


def marked_occurrences(word: str) -> tuple[list[Occurrence], list[str]]:
    """Each sentence of the built-in articles with this word, once, as an occurrence; and the sense it has there."""
    uses: dict[str, tuple[Occurrence, str]] = {}
    for sentence, position, sense in sense_contexts(word):
        words = tokenize(sentence)
        if words[position] == word:  # and not its plural, which a table of vectors has in another row
            uses.setdefault(sentence, (Occurrence(len(uses), words, position), sense))
    return [occurrence for occurrence, _ in uses.values()], [sense for _, sense in uses.values()]


def nearest_of_same_sense(h: Tensor, senses: Sequence[str]) -> float:
    """How often the nearest of the others has the same sense; of several equally near ones, the share that have.

    Shapes: h (N, D), senses (N,), N at least 2.
    """
    numbers = {sense: i for i, sense in enumerate(dict.fromkeys(senses))}
    ids = torch.tensor([numbers[sense] for sense in senses])
    same = ids.unsqueeze(0) == ids.unsqueeze(1)
    similarity = cosines(h, h).fill_diagonal_(-torch.inf)
    tied = similarity > similarity.amax(dim=1, keepdim=True) - AS_NEAR
    return ((tied & same).sum(dim=1) / tied.sum(dim=1)).mean().item()


def same_sense_by_chance(senses: Sequence[str]) -> float:
    """How often another use, drawn at random, has the same sense: Σ_s n_s (n_s − 1) / (N (N − 1))."""
    N = len(senses)
    return sum(n * (n - 1) for n in Counter(senses).values()) / (N * (N - 1))
