"""Part II: static vectors. How far does one vector per word go?

**Skip-gram (Word2Vec)** with negative sampling learns a vector for each word, by telling the words found near it from
words drawn at random (Mikolov et al. 2013; lecture 2.1). It is where the lecture starts, the baseline that the
contextual models must beat, and, since it learns what words mean in minutes, the teacher that warm-starts the
character CNN.

The gradient is short enough to write by hand, which makes the whole method visible: no autograd, no optimiser object.

Read next: `minitransfer.static.glove`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class SkipGramConfig:
    """What skip-gram is trained with.

    hidden_size         D: how many numbers a word vector has
    window              the largest context window, in words to each side
    negatives           N of the formula: how many noise words each pair is weighed against
    shared_negatives    K: how many are really drawn, once for a whole step; each counts N / K times for every pair
    subsample           t of `thin_out`: words far more frequent than this share of the text are thinned out
    block_size          T of `SkipGram.step`, blocks_per_step its B
    """

    hidden_size: int = 256
    window: int = 8
    negatives: int = 5
    shared_negatives: int = 64
    subsample: float = 1e-4
    block_size: int = 64
    blocks_per_step: int = 64


class WordTables:
    """Tables with a row for each word, moved by AdaGrad: what both methods of this part learn.

    squares: s of `_descend`, by the table's name: the mean squares of the gradients of each row, added up, (V,).
    """

    TABLES: tuple[str, ...] = ("vectors", "contexts")
    vectors: Tensor
    squares: dict[str, Tensor]

    def tensors(self, counts: np.ndarray) -> dict[str, Tensor]:
        """What is worth keeping: the tables, (V, D) each, and the words' counts (V,) int64."""
        tables = {table: getattr(self, table) for table in self.TABLES}
        return {**tables, "counts": torch.from_numpy(counts.astype(np.int64))}

    def state_dict(self) -> dict:
        """All that training goes on from."""
        return {**{table: getattr(self, table) for table in self.TABLES}, "squares": self.squares}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a `state_dict`."""
        for table in self.TABLES:
            setattr(self, table, state[table])
        self.squares = dict(state["squares"])

    def _descend(self, table: str, ids: Tensor, grads: Tensor, learning_rate: float) -> None:
        """Take one **AdaGrad** step on some rows of a table:

        s_r ← s_r + 1/D Σ_d G_rd²,   θ_r ← θ_r − η G_r / (√s_r + 10⁻⁸)        (after Duchi et al. 2011)

        with θ_r row r of the table, G_r the sum of its gradients, for r may be among `ids` more than once, and η the
        learning rate.

        Differs: Duchi et al. have a sum of squares for each number, here each row has one.

        Shapes: ids (n,) int, grads (n, D) float32.
        """
        rows, place = ids.unique(return_inverse=True)
        G = torch.zeros(len(rows), grads.shape[1]).index_add_(0, place, grads)
        s = self.squares[table][rows] + G.square().mean(dim=1)
        self.squares[table][rows] = s
        G *= (-learning_rate / (s.sqrt() + 1e-8)).unsqueeze(1)
        getattr(self, table).index_add_(0, rows, G)


class SkipGram(WordTables):
    """Two tables of word vectors, trained against each other.

    c = `vectors` (V, D) for the word in the middle, o = `contexts` (V, D) for the words around it. Of each pair the
    loss is, in nats (by the natural logarithm, as all losses of this book),

        −log σ(c·o) − Σ_{n=1..N} E_{w~p}[ log σ(−c·o_w) ],   p(w) ∝ count(w)^¾       (Mikolov et al. 2013, eq. 4)

    The context window of a word is drawn anew each time, evenly from 1 to `window`, as in the authors' program, so that
    nearer words count for more.

    Differs: `shared_negatives` words are drawn once for a whole step and weighted so that the expected loss is the
    same; each row of a table has its own AdaGrad step size, since a frequent word meets many pairs in one step; text
    is cut into blocks of 64 words, at whose edges a window ends, and which may run on from one document to the next.
    """

    def __init__(self, counts: np.ndarray, config: SkipGramConfig, generator: torch.Generator):
        """Begin by chance. Shapes: counts (V,) integers, of each word in the text."""
        vocab_size, D = len(counts), config.hidden_size
        self.config = config
        self.vectors = (torch.rand(vocab_size, D, generator=generator) - 0.5) / D
        self.contexts = torch.zeros(vocab_size, D)
        self.squares = {table: torch.zeros(vocab_size) for table in self.TABLES}
        self.noise = torch.from_numpy(np.cumsum(counts.astype(np.float64) ** 0.75))

    def draw_negatives(self, generator: torch.Generator) -> Tensor:
        """Draw word ids from p(w) ∝ count(w)^¾, int64 (shared_negatives,)."""
        u = torch.rand(self.config.shared_negatives, generator=generator, dtype=torch.float64)
        return torch.searchsorted(self.noise, u * self.noise[-1], right=True).clamp_(max=len(self.noise) - 1)

    def step(self, token_ids: Tensor, reach: Tensor, negatives: Tensor, learning_rate: float) -> float:
        """Learn from blocks of running text; returns the mean loss per pair, in nats.

        Shapes: token_ids (B, T) int64; reach (B, T) int64, how many words to each side are its context;
        negatives (K,) int64.
        """
        B, T = token_ids.shape
        c, o, o_neg = self.vectors[token_ids], self.contexts[token_ids], self.contexts[negatives]  # (B, T, D), (K, D)
        near, num_pairs = window_mask(reach, T)  # (B, T, T), (B, T)
        weight = num_pairs * (self.config.negatives / len(negatives))  # each pair owes N negatives, K are shared

        positive = torch.bmm(c, o.transpose(1, 2))  # (B, T, T)
        negative = c.flatten(0, 1) @ o_neg.T  # (B·T, K)
        loss = -(torch.nn.functional.logsigmoid(positive) * near).sum()
        loss -= (torch.nn.functional.logsigmoid(-negative) * weight.view(-1, 1)).sum()

        # d(−log σ(x))/dx = σ(x) − 1 and d(−log σ(−x))/dx = σ(x): the rest is the chain rule.
        g_pos = (positive.sigmoid_() - 1) * near  # in place: the loss is done with it, and (B, T, T) is large
        g_neg = negative.sigmoid_() * weight.view(-1, 1)
        grad_c = torch.bmm(g_pos, o).flatten(0, 1) + g_neg @ o_neg
        grad_o = torch.bmm(g_pos.transpose(1, 2), c).flatten(0, 1)
        grad_o_neg = g_neg.T @ c.flatten(0, 1)
        self._descend("vectors", token_ids.flatten(), grad_c, learning_rate)
        around = torch.cat([token_ids.flatten(), negatives])
        self._descend("contexts", around, torch.cat([grad_o, grad_o_neg]), learning_rate)
        return (loss / num_pairs.sum().clamp(min=1)).item()


def window_mask(reach: Tensor, T: int) -> tuple[Tensor, Tensor]:
    """Mark which words of a block are near which: near (B, T, T) float 0/1, and how many each has, (B, T) float."""
    distance = (torch.arange(T).view(1, -1) - torch.arange(T).view(-1, 1)).abs()
    near = ((distance <= reach.unsqueeze(-1)) & (distance > 0)).float()
    return near, near.sum(dim=-1)


def nearest_words(vectors: Tensor, token_id: int, how_many: int) -> list[int]:
    """The token ids whose vectors have the greatest cosine with that of `token_id`, nearest first, without itself.

    Shapes: vectors (V, D) float.
    """
    unit = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-9)
    cosine = unit @ unit[token_id]
    cosine[token_id] = -torch.inf
    return cosine.topk(how_many).indices.tolist()


def thin_out(stream: np.ndarray, counts: np.ndarray, subsample: float, generator: torch.Generator) -> np.ndarray:
    """Drop running words that are very frequent, so that a window reaches beyond them; returns the shorter stream.

    A word w of relative frequency f(w) is kept with probability √(t/f) + t/f, t = subsample, as in the authors' own
    program.

    Shapes: stream (N,) integer word ids, counts (V,) how often each word occurs -> (≤ N,).
    """
    ratio = subsample * counts.sum() / np.maximum(counts, 1)
    keep = np.minimum(np.sqrt(ratio) + ratio, 1.0).astype(np.float32)
    u = torch.rand(len(stream), generator=generator).numpy()
    return stream[u < keep[stream]]


def standardise(vectors: Tensor, counts: Tensor) -> Tensor:
    """Shift and scale static vectors so that over running text each dimension has mean 0 and variance 1 on average.

    One shift for each dimension and one scale for all of them, so that directions, and what they mean, stay as they
    are.

    Shapes: vectors (V, D), counts (V,) how often each word occurs -> (V, D).
    """
    p = (counts / counts.sum()).unsqueeze(1)
    centred = vectors - (p * vectors).sum(dim=0)
    return centred / (p * centred.square()).sum(dim=0).mean().sqrt()
