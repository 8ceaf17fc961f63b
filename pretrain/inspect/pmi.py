"""Part II, around inspecting: inner products and counts. What do the products of static vectors come to?

Skip-gram never sees a count and GloVe nothing else, but both fit the same table: how much more often two words stand
near each other than chance would have it, their **PMI** (Levy and Goldberg 2014). Here the text of a run is counted
once more, and the products of its vectors are held against these counts.

Read next: `pretrain.inspect.pictures`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from minitransfer.apparatus.checkpoint import LoadedRun
from minitransfer.apparatus.errors import CheckpointError, UsageError
from minitransfer.apparatus.saved import ANOTHER
from minitransfer.static.glove import Pairs
from minitransfer.static.skipgram import SkipGramConfig
from minitransfer.text.corpora import Corpus, find_data_dir, load_corpus
from pretrain.inspect.settings import Settings
from pretrain.inspect.showing import own_corpus
from pretrain.static.settings import Settings as StaticSettings
from pretrain.static.units import count_pieces, count_units, count_words

LEAST_COUNTS = (1, 10, 100)  # of X_ij: the rows of the table
AT_ONCE = 2**16  # pairs whose vectors are multiplied in one go
Row = tuple[int, int, float, float, float]
Points = tuple[list[float], list[float]]  # PMI and c·o of each pair


def pmi(pairs: Pairs) -> Tensor:
    """PMI_ij = log( X_ij X / (X_i X_j) ), X_i = Σ_j X_ij, X = Σ_i X_i: (P,) float64."""
    i, j, x = pairs.i.long(), pairs.j.long(), pairs.x.double()
    X_i = torch.bincount(i, weights=x)
    return (x * X_i.sum() / (X_i[i] * X_i[j])).log()


def products(tensors: Mapping[str, Tensor], pairs: Pairs) -> Tensor:
    """c_i·o_j of each pair, (P,) float64."""
    return torch.cat([(tensors["vectors"][i] * tensors["contexts"][j]).sum(dim=1).double()
                      for i, j in zip(pairs.i.long().split(AT_ONCE), pairs.j.long().split(AT_ONCE))])


def fitted(tensors: Mapping[str, Tensor], pairs: Pairs, co: Tensor) -> tuple[Tensor, Tensor]:
    """Of each pair what the loss of its method fits, and the value it is fitted to; both (P,) float64.

    GloVe: c·o + b_i + b̃_j = log X_ij. Skip-gram: c·o = log( X_ij / (X_i p(j)) ) − log N, p(j) ∝ count(j)^¾, which is
    PMI − log N but for the power (Levy and Goldberg 2014, eq. 11).
    """
    i, j, x = pairs.i.long(), pairs.j.long(), pairs.x.double()
    if "bias" in tensors:
        return co + (tensors["bias"][i] + tensors["context_bias"][j]).squeeze(1), x.log()
    p = tensors["counts"].double().pow(0.75)
    return co, (x * p.sum() / (torch.bincount(i, weights=x)[i] * p[j] * SkipGramConfig.negatives)).log()


def counted_again(run: LoadedRun, corpus: Corpus) -> Pairs:
    """The counts of a static run's text. Raises: CheckpointError if it does not say how it counted, or has others."""
    try:
        asked = StaticSettings.from_values({"preset": "small", "seed": run.config.get("seed"),
                                            "pieces": run.config.get("most_pieces"), **run.config["training"]})
    except (UsageError, KeyError, TypeError) as failure:
        raise CheckpointError(f"{run.path} does not say how its text was counted", ANOTHER) from failure
    units = count_words(corpus, asked.min_count) if asked.pieces is None else count_pieces(corpus, asked.pieces)
    counts, tensors = torch.from_numpy(units.counts), run.tensors
    if not ({"vectors", "contexts", "counts"} <= tensors.keys() and torch.equal(counts, tensors["counts"])
            and all(tensor.shape[:1] == counts.shape for tensor in tensors.values())):
        what = f"{run.path} does not have the counts of {corpus.name}, which it names as its text"
        raise CheckpointError(what, ANOTHER)
    return count_units(units, asked.window, asked.seed)


def tell(run: LoadedRun, settings: Settings) -> tuple[list[Row], Points]:
    """Count the text of a run; print and return a table, and return the points to draw.

    A row is about the pairs with at least a certain count: that count; how many pairs; the correlation of c·o with PMI;
    the correlation of the two sides of `fitted`; the mean of their difference.
    """
    corpus = load_corpus(own_corpus(run, ANOTHER), find_data_dir(settings.data_dir), offline=settings.offline)
    pairs, glove, rows = counted_again(run, corpus), "bias" in run.tensors, []
    asked_for = "c·o + b + b̃ with log X" if glove else "c·o with log X_ij/(X_i p_j) − log N"
    print(f"{run.path}: {'GloVe' if glove else 'skip-gram'} on {corpus.name}, {len(pairs.x):,} pairs\n"
          f"  {'X from':<8}{'pairs':<14}{'c·o with PMI':<14}{asked_for:<37}mean difference")
    co, chance = products(run.tensors, pairs), pmi(pairs)
    moved, asked = fitted(run.tensors, pairs, co)
    for least in LEAST_COUNTS:
        kept = pairs.x >= least
        if (found := int(kept.sum())) > 1:
            with_pmi, with_asked = (torch.corrcoef(torch.stack([a[kept], b[kept]]))[0, 1].item()
                                    for a, b in ((co, chance), (moved, asked)))
            rows.append((least, found, with_pmi, with_asked, (moved - asked)[kept].mean().item()))
            print("  {:<8}{:<14,}{:<14.3f}{:<37.3f}{:+.3f}".format(*rows[-1]))
    return rows, (chance.tolist(), co.tolist())
