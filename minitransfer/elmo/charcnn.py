"""Part III, chapter 1: the character CNN. How can a model read a word that it has never seen?

**Character CNN**, a convolutional network over the spelling: filters of several widths slide over the bytes of a word,
and each keeps its strongest response. A projection, after highway layers if there are any, turns the responses into
one vector: layer 0 of ELMo (Kim et al. 2016; Peters et al. 2018, section 3.1). The vector of a word depends on nothing
but its bytes, so each distinct word is computed once.

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

    Differs from Peters et al. 2018: no highway by default (they have two), and 8,192 filters where there is a warm
    start (they have 2,048), because then spelling.py can solve for the projection exactly; and the output is as wide
    as a layer of the biLM, both directions together, where theirs is half as wide and stands there twice.
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

        with c_i the embedding of byte i, zeros behind the last one, and w the width of filter j.

        Shapes: char_ids (U, C) integer, 0 pads on the right -> (U, number of filters) float.

        Differs: Kim et al. take tanh before the maximum; relu after it is what ELMo's published program has.

        C does not matter: a window that would begin in the padding is given what the first window sees, so it never
        wins the maximum alone, and a word's vector does not depend on how far it is padded. With gradients the values
        are the same, from `StrongestResponse`.
        """
        strongest = StrongestResponse.apply if torch.is_grad_enabled() else strongest_response
        y = [strongest(char_ids, self.chars.weight, convolution.weight) for convolution in self.convolutions]
        return (torch.cat(y, dim=-1) + torch.cat([convolution.bias for convolution in self.convolutions])).relu()


def strongest_response(char_ids: Tensor, c: Tensor, F: Tensor) -> Tensor:
    """max_i F_j · [c_i; …; c_{i+w−1}], for the filters of one width: `respond` before bias and relu.

    Shapes: char_ids (U, C) integer, c (NUM_CHARS, char_size), F (n, char_size, w) -> (U, n).
    """
    position = torch.arange(char_ids.shape[1], device=char_ids.device)
    begin = torch.where(char_ids != 0, position, 0).unsqueeze(-1)  # (U, C, 1)
    windows = cut_windows(char_ids, c, F.shape[2])
    windows = windows.gather(1, begin.expand_as(windows))
    return nn.functional.linear(windows, F.flatten(1)).amax(dim=1)


def cut_windows(char_ids: Tensor, c: Tensor, w: int) -> Tensor:
    """[c_i; …; c_{i+w−1}] for each position i, zeros behind the last one. Shapes: (U, C) -> (U, C, char_size · w).

    As one matrix product over these, a filter's responses lie far enough apart in memory for the maximum to be taken of
    many filters at once, three times faster than behind Conv1d.
    """
    return nn.functional.pad(c[char_ids.long()], (0, 0, 0, w - 1)).unfold(1, w, 1).flatten(2)


class StrongestResponse(torch.autograd.Function):
    """`strongest_response`, with a backward pass that visits the winning windows only.

    Autograd would go back through every window of every word, which takes several times as long. With i the window of
    word u that wins filter j (the first one, where several respond alike), b_i the bytes of u, and g_uj = ∂loss/∂y_uj:

    ∂loss/∂F_jk = Σ_u g_uj c_b,   ∂loss/∂c_b = Σ_ujk g_uj F_jk,   where b is the byte b_{i+k} of u

    There are few different bytes: so g is first added up for each offset k, byte b and filter j, as G_kbj, and what is
    left are two small matrix products, ∂loss/∂F_jk = Σ_b G_kbj c_b and ∂loss/∂c_b = Σ_kj G_kbj F_jk.

    Differs from autograd's way with `amax` where several windows of a word respond alike: it gives each a part of g.
    """

    @staticmethod
    def forward(ctx, char_ids: Tensor, c: Tensor, F: Tensor) -> Tensor:
        """Shapes: as `strongest_response`. Words of one length together: so there is no padding, and none can win."""
        lengths = (char_ids != 0).sum(dim=1).clamp(min=1)
        y = c.new_empty(len(char_ids), len(F))
        winner = torch.empty(y.shape, dtype=torch.int64, device=y.device)
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero().squeeze(1)
            windows = cut_windows(char_ids[rows, :length], c, F.shape[2])
            strongest, winner[rows] = nn.functional.linear(windows, F.flatten(1)).max(dim=1)
            y[rows] = strongest.to(y.dtype)  # if it was multiplied in bfloat16
        ctx.save_for_backward(char_ids, winner, c, F)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor) -> tuple[None, Tensor, Tensor]:
        """Shapes: g (U, n) -> gradients like c and F."""
        char_ids, winner, c, F = ctx.saved_tensors
        n, _, w = F.shape
        b = nn.functional.pad(char_ids.long(), (0, w - 1))
        G = g.new_zeros(w, len(c), n)
        for k in range(w):
            G[k].scatter_add_(0, b[:, k:].gather(1, winner), g)
        G[:, 0] = 0  # padding is no byte, and its embedding stays zero
        return None, torch.einsum("kbj,jdk->bd", G, F), torch.einsum("kbj,bd->jdk", G, c)


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
