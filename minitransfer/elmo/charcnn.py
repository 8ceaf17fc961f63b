"""Part III, chapter 1: the character CNN. How can a model read a word that it has never seen?

**Character CNN**, a convolutional network over the spelling: filters of several widths slide over the bytes of a word,
and each keeps its strongest response. A projection, after highway layers if there are any, turns the responses into
one vector: layer 0 of ELMo (Kim et al. 2016; Peters et al. 2018, sections 3.1 and 3.4). The vector of a word depends
on nothing but its bytes, so each distinct word is computed once.

Read next: `minitransfer.elmo.bilm`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from minitransfer.text.words import NUM_CHARS


@dataclass(frozen=True)
class CharCNNConfig:
    """The shape of a character CNN; `filters` lists (width in bytes, how many)."""

    output_size: int = 256
    char_size: int = 16
    filters: tuple[tuple[int, int], ...] = ((2, 512), (3, 1024), (4, 1536), (5, 2048), (6, 2048), (7, 1024))
    num_highways: int = 0


class Highway(nn.Module):
    """Let each unit choose between a new value and the old one.

    y = g ⊙ x + (1 − g) ⊙ relu(W x + b),  g = σ(W_g x + b_g)        (Srivastava et al. 2015, eq. 3, with g = 1 − T)

    The gate T of the paper lets the new value in; g here carries the old one.
    """

    def __init__(self, size: int):
        super().__init__()
        self.both = nn.Linear(size, 2 * size)
        nn.init.constant_(self.both.bias[size:], 1.0)  # a new layer mostly carries its input through

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: x (…, D) -> the same."""
        new, gate = self.both(x).chunk(2, dim=-1)
        g = gate.sigmoid()
        return g * x + (1 - g) * new.relu()


class CharCNN(nn.Module):
    """Turn the spelling of words into one vector each: layer 0 of the biLM.

    Differs from Peters et al. 2018: no highway by default, where they have two. They have 2,048 filters; the presets
    `small` and `base` have 8,192 if the network begins with static vectors (a **warm start**, chapter 4), for then
    spelling.py can solve for the projection exactly. And the output is as wide as a layer of the biLM, both directions
    together, where theirs is half as wide and stands there twice.
    """

    def __init__(self, config: CharCNNConfig):
        super().__init__()
        self.config = config
        self.chars = nn.Embedding(NUM_CHARS, config.char_size, padding_idx=0)
        self.convolutions = nn.ModuleList(nn.Conv1d(config.char_size, n, width) for width, n in config.filters)
        total = sum(n for _, n in config.filters)
        self.highways = nn.ModuleList(Highway(total) for _ in range(config.num_highways))
        self.project = nn.Linear(total, config.output_size)
        for convolution in self.convolutions:
            # Each filter begins as a detector of some letter patterns: responses of variance 1 against a threshold of
            # its own, so that no two words excite one set of filters.
            fan_in = config.char_size * convolution.kernel_size[0]
            nn.init.normal_(convolution.weight, std=fan_in**-0.5)
            nn.init.normal_(convolution.bias, mean=-1.0, std=1.0)

    def forward(self, char_ids: Tensor) -> Tensor:
        """Shapes: char_ids (U, C) integer, 0 pads on the right -> (U, output_size) float."""
        return self.project(self.carry(self.respond(char_ids)))

    def carry(self, responses: Tensor) -> Tensor:
        """Responses through the highways, if there are any. Shapes: (U, number of filters) -> the same."""
        for highway in self.highways:
            responses = highway(responses)
        return responses

    def respond(self, char_ids: Tensor) -> Tensor:
        """How strongly each filter responds to each word, where it responds most.

        y_j = relu(b_j + max_i F_j · [c_i; …; c_{i+w−1}])        (Kim et al. 2016, section 2.2)

        with c_i the embedding of byte i, zeros behind the last one, and w the width of filter j. For the filters of one
        width, and one word without padding, that is `conv1d(pad(c, (0, w - 1)), F, b).amax(dim=-1).relu()` in torch's
        words. What stands below gives the same, for words of any length, from a table of the few bytes that there are,
        several times faster; at first reading, leave it out.

        Shapes: char_ids (U, C) integer, 0 pads on the right -> (U, number of filters) float.

        Differs: Kim et al. have tanh in the place of relu, which is what ELMo's published program has.

        C does not matter: a window never begins in the padding, so a word's vector does not depend on how far it is
        padded. Where gradients are wanted, `StrongestResponse` computes the same values.
        """
        padding_first = torch.cat([char_ids.new_zeros(1), char_ids.flatten()])
        used, place = padding_first.unique(return_inverse=True)  # the different bytes, and which of them stands where
        c, s = self.chars(used.long()), place[1:].view_as(char_ids)
        order = (s != 0).sum(dim=1).argsort(descending=True, stable=True)
        strongest = StrongestResponse.apply if torch.is_grad_enabled() else strongest_response
        y = torch.cat([strongest(s[order], tabulate(c, layer.weight)) for layer in self.convolutions], dim=-1)
        y = y.index_select(0, order.argsort())
        b = torch.cat([convolution.bias for convolution in self.convolutions])
        return (y + b).relu()


def tabulate(c: Tensor, F: Tensor) -> Tensor:
    """T_kbj = F_jk · c_b: what byte b adds to filter j where it stands at offset k of a window.

    There are few different bytes, so this small table spares most of the products: a window's response is a sum of w
    rows of it, F_j · [c_i; …; c_{i+w−1}] = Σ_k T_{k, s_{i+k}, j}, with s_i the i-th byte of the word.

    Shapes: c (bytes, char_size), F (n, char_size, w) -> (w, bytes, n).
    """
    return torch.einsum("bd,jdk->kbj", c, F).to(c.dtype)  # under autocast rounded to bfloat16; summed in float32


def strongest_response(s: Tensor, T: Tensor, winner: Tensor | None = None) -> Tensor:
    """max_i Σ_k T_{k, s_{i+k}, j} for the filters of one width; into `winner`, of zeros, goes the (first) i that wins.

    Words with more bytes stand first: then those that have a window at i are the first m, and none begins in the
    padding. An empty word has the one window that is all padding.

    Shapes: s (U, C) int64 rows of the table, longer words first, 0 pads on the right; T (w, bytes, n) with T_k0j = 0
    -> (U, n); winner (U, n) float.
    """
    U, (w, num_bytes, n) = len(s), T.shape
    rows = nn.functional.pad(s, (0, w - 1)).unfold(1, w, 1) + torch.arange(w, device=s.device) * num_bytes  # (U, C, w)
    y = T.new_full((U, n), -torch.inf)
    for i, m in enumerate([U, *(s != 0).sum(dim=0).tolist()[1:]]):
        if m == 0:
            break
        z = nn.functional.embedding_bag(rows[:m, i], T.flatten(0, 1), mode="sum")
        if winner is not None:  # `better` in numbers, which is several times faster than in bools
            better = torch.gt(z, y[:m], out=torch.empty_like(z))
            torch.maximum(winner[:m], better.mul_(i), out=winner[:m])
        torch.maximum(y[:m], z, out=y[:m])
    return y


class StrongestResponse(torch.autograd.Function):
    """`strongest_response`, with a backward pass that visits the winning windows only.

    Autograd would go back through every window of every word, which takes several times as long. With i the window of
    word u that wins filter j, and g_uj = ∂loss/∂y_uj:

    G_kbj = ∂loss/∂T_kbj = Σ_u g_uj [s_{i+k} of u is b]

    Differs from autograd's way with `amax` where several windows of a word respond alike: it gives each a part of g.
    """

    @staticmethod
    def forward(ctx, s: Tensor, T: Tensor) -> Tensor:
        """Shapes: as `strongest_response`."""
        winner = T.new_zeros(len(s), T.shape[2])
        y = strongest_response(s, T, winner)
        ctx.save_for_backward(s, winner)
        ctx.shape = T.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor) -> tuple[None, Tensor]:
        """Shapes: g (U, n) -> a gradient like T."""
        s, winner = ctx.saved_tensors
        i, G = winner.long(), g.new_zeros(ctx.shape)
        s = nn.functional.pad(s, (0, len(G) - 1))
        for k in range(len(G)):
            G[k].scatter_add_(0, s[:, k:].gather(1, i), g)
        return None, G


def word_vectors(charcnn: CharCNN, spelling: Tensor, chunk: int = 256) -> Tensor:
    """Compute the vectors of many words without gradients.

    Shapes: spelling (U, C) char ids -> (U, D) float32, on the character CNN's device, in the order given.
    """
    return in_chunks(charcnn, spelling, charcnn, chunk)


def in_chunks(charcnn: CharCNN, spelling: Tensor, compute: Callable[[Tensor], Tensor], chunk: int = 256) -> Tensor:
    """The results of `compute` for many words, without gradients; words of like length together, to save padding.

    Shapes: spelling (U, C) char ids, of which `compute` is given some rows (u, c) -> (u, W); altogether (U, W), on the
    character CNN's device, in the order given.
    """
    device = charcnn.project.weight.device
    lengths = (spelling != 0).sum(dim=1).clamp(min=1)
    results = None
    with torch.no_grad():
        for rows in lengths.argsort(stable=True).split(chunk):
            some = compute(spelling[rows, : int(lengths[rows].max())].to(device))
            if results is None:
                results = some.new_empty(len(spelling), some.shape[1])
            results[rows.to(device)] = some
    return results
