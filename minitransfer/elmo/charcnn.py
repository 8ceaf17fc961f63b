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

    Differs from Peters et al. 2018: 8,192 filters and no highway by default (they have 2,048 and two), because then
    the warm start of spelling.py can solve for the projection exactly; and the output is as wide as a layer of the
    biLM, both directions together, where theirs is half as wide and stands there twice.
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
        wins the maximum alone, and a word's vector does not depend on how far it is padded.
        """
        position = torch.arange(char_ids.shape[1], device=char_ids.device)
        begin = torch.where(char_ids != 0, position, 0).unsqueeze(-1)  # (U, C, 1)
        x = self.chars(char_ids.long())  # (U, C, char_size)
        responses = []
        for convolution in self.convolutions:
            # As one matrix product over cut-out windows: a filter's responses then lie far enough apart in memory for
            # the maximum to be taken of many filters at once, three times faster than behind Conv1d.
            width = convolution.kernel_size[0]
            windows = nn.functional.pad(x, (0, 0, 0, width - 1)).unfold(1, width, 1).flatten(2)
            windows = windows.gather(1, begin.expand_as(windows))  # (U, C, char_size · width)
            y = nn.functional.linear(windows, convolution.weight.flatten(1)).amax(dim=1)  # (U, n)
            responses.append(y + convolution.bias)
        return torch.cat(responses, dim=-1).relu()


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
