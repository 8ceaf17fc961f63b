"""Part III, chapter 2: the bidirectional language model. What can be learned from text that nobody has labelled?

**Bidirectional language model**: two LSTM stacks over the same text, one of which predicts the next word, and the
other, from the end, the previous one (lecture 2.3; Peters et al. 2018, section 3.1). They share the character CNN
below and the softmax above, and nothing else. If the second layer saw both directions of the first, each direction
would be shown the word that it predicts.

Read next: `minitransfer.elmo.softmax`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from minitransfer.elmo.charcnn import CharCNN, CharCNNConfig
from minitransfer.elmo.softmax import WordSoftmax, sampled_loss
from minitransfer.text.words import PAD_ID

State = list[tuple[Tensor, Tensor]]  # of each layer h and c, (1, B, hidden_size)


@dataclass(frozen=True)
class BiLMConfig:
    """The shape of a biLM. Layers are D = 2 · projection_size wide, one half from each direction.

    Raises: ValueError if the character CNN's output, which is layer 0, has another width.
    """

    vocab_size: int
    hidden_size: int = 256
    projection_size: int = 128
    num_layers: int = 2
    dropout: float = 0.1
    charcnn: CharCNNConfig = field(default_factory=CharCNNConfig)

    def __post_init__(self):
        if self.charcnn.output_size != 2 * self.projection_size:
            layers = 2 * self.projection_size
            raise ValueError(f"character CNN gives {self.charcnn.output_size}, layers are {layers} wide")

    @property
    def most_layers(self) -> int:
        """How many layers of one kind there are at most: LSTM layers, highways or widths of filters."""
        return max(self.num_layers, self.charcnn.num_highways, len(self.charcnn.filters))

    @classmethod
    def from_dict(cls, values: dict) -> "BiLMConfig":
        """The config whose values `asdict` returns. Raises: TypeError, KeyError or ValueError for anything else."""
        chars = dict(values["charcnn"])
        chars["filters"] = tuple((width, n) for width, n in chars["filters"])
        if any(type(number) is not int or number < 1 for pair in chars["filters"] for number in pair):
            raise ValueError(f"filters are {str(chars['filters'])[:60]}, and must be pairs of whole numbers above 0")
        return cls(**{**values, "charcnn": CharCNNConfig(**chars)})


def locked_dropout(x: Tensor, p: float, generator: torch.Generator | None) -> Tensor:
    """Drop the same units of x at every token of a text (Gal and Ghahramani 2016).

    It draws T times fewer random numbers than ordinary dropout, which took a tenth of a training step.

    Differs: they drop units of the recurrent state h_{t−1} too. Here only what enters a layer, and what leaves the last
    one, is dropped.

    Shapes: x (B, T, D) -> (B, T, D); generator on x's device. Without a generator nothing is dropped.
    """
    if generator is None or p == 0:
        return x
    kept = torch.full((x.shape[0], 1, x.shape[2]), 1 - p, device=x.device)
    return x * (torch.bernoulli(kept, generator=generator) / (1 - p))


class LSTMStack(nn.Module):
    """Encode a sequence in one direction: LSTM layers, each with a projection, and a residual from the second on.

    An **LSTM** goes from token to token and keeps a memory cell c. Three gates, whose numbers lie between 0 and 1,
    say what of the new content g is put in (i), what of the cell is kept (f), and what of it is shown (o):

    i, f, o = σ(W x_t + U h_{t−1} + b),  g = tanh(W x_t + U h_{t−1} + b),  each with W, U and b of its own
    c_t = f ⊙ c_{t−1} + i ⊙ g,  h_t = o ⊙ tanh(c_t)    (Hochreiter and Schmidhuber 1997; f: Gers et al. 2000)

    The layer gives y_t = P h_t + p, from the second layer on y_t + x_t. Since c is multiplied by
    numbers and not by a matrix, it can keep what it holds over many tokens, and a gradient can come back as far.

    Differs from Peters et al. 2018: the projection is a Linear of its own and is not fed back into the recurrence;
    with `nn.LSTM(proj_size=…)` torch leaves its fast path on CPU. Cells are not clipped; gradients are.
    """

    def __init__(self, config: BiLMConfig):
        super().__init__()
        H, size_out = config.hidden_size, config.projection_size
        inputs = [2 * size_out] + [size_out] * (config.num_layers - 1)
        lstms = [nn.LSTM(size, H, batch_first=True) for size in inputs]
        self.lstms = nn.ModuleList(lstms)
        self.projections = nn.ModuleList(nn.Linear(H, size_out) for _ in inputs)
        self.dropout = config.dropout
        for lstm in lstms:
            _, _, bias_ih, bias_hh = lstm.all_weights[0]
            nn.init.zeros_(bias_hh)
            nn.init.zeros_(bias_ih)
            nn.init.ones_(bias_ih[H : 2 * H])  # gates i, f, g, o: a cell remembers until taught to forget

    def forward(self, x: Tensor, state: State | None = None,
                generator: torch.Generator | None = None) -> tuple[list[Tensor], State]:
        """Encode what follows `state` (zeros for None), with dropout drawn from `generator` (no dropout for None).

        Shapes: x (B, T, 2P) -> one (B, T, P) per layer, and the state after the last token.
        """
        outputs, new_state = [], []
        for k, (lstm, projection) in enumerate(zip(self.lstms, self.projections)):
            y, last = lstm(locked_dropout(x, self.dropout, generator), None if state is None else state[k])
            y = projection(y).to(x.dtype)  # if it was multiplied in bfloat16: sums are not
            x = y + x if k else y
            outputs.append(x)
            new_state.append(last)
            x = x.view_as(x)  # for bitwise reproducibility: see `BiLM.forward`
        return outputs, new_state


def one_after_the_other(*jobs: Callable) -> list:
    """Run jobs in turn and return their results in order."""
    return [job() for job in jobs]


class BiLM(nn.Module):
    """A forward and a backward language model over the character CNN, with one softmax.

    loss = ½ (−log p(w_{t+1} | w_1 … w_t) − log p(w_{t−1} | w_t … w_T)), averaged over tokens, in nats   (lecture 2.3)

    `direction_loss` is one of the two; the training command adds half of each, and samples the softmax.
    """

    def __init__(self, config: BiLMConfig):
        super().__init__()
        self.config = config
        self.charcnn = CharCNN(config.charcnn)
        self.forward_stack = LSTMStack(config)
        self.backward_stack = LSTMStack(config)
        self.softmax = WordSoftmax(config.vocab_size, config.projection_size)

    def stacks(self) -> tuple[LSTMStack, LSTMStack]:
        """The two directions, forward first."""
        return self.forward_stack, self.backward_stack

    def direction_loss(self, d: int, x: Tensor, targets: Tensor, state: State | None = None,
                       generator: torch.Generator | None = None, negatives: Tensor | None = None,
                       log_q: Tensor | None = None, softmax: WordSoftmax | None = None) -> tuple[Tensor, State]:
        """**Cross-entropy loss** of one direction on a window, mean per token, in nats, and the state after it.

        The backward model (d = 1) is given its window last word first, and then predicts as a forward model does. It
        goes on from `state`, or from zeros, with dropout drawn from `generator`, or without. The state goes on to the
        next window, but no gradient comes back from there (**truncated back-propagation**), or a step would have to
        remember the whole text.
        With `negatives` the softmax is sampled (next chapter), and without them it is full. `softmax` may be left out
        at first reading: a direction that runs in a thread beside the other is given a copy of `CandidateSoftmax`, and
        then targets, negatives and log_q are of its candidates alone.

        Shapes: x (B, T, D); targets (B, T) int64, where 0, padding, is not counted; negatives (K,) ids of the words
        drawn to compete with the target; log_q (V,) each word's log-probability of being drawn.
        """
        softmax = softmax or self.softmax
        outputs, state = self.stacks()[d](x, state, generator)
        h = locked_dropout(outputs[-1], self.config.dropout, generator).flatten(0, 1)
        real = targets.flatten() != PAD_ID
        if not real.all():
            h, targets = h[real], targets.flatten()[real]
        state = [(hidden.detach(), cell.detach()) for hidden, cell in state]
        if negatives is None:
            return softmax.full_loss(h, targets.flatten()) / len(h), state
        return sampled_loss(h, softmax.weight, softmax.bias, targets.flatten(), negatives, log_q), state

    def forward(self, x: Tensor, mask: Tensor, run_both: Callable = one_after_the_other,
                generator: torch.Generator | None = None) -> Tensor:
        """Encode whole texts in both directions from a zero state: the layers that ELMo mixes.

        Shapes: x (B, T, D) word vectors, mask (B, T) bool with True = real token, first in each row
        -> (L + 1, B, T, D); layer 0 is x, layer k ≥ 1 the forward state beside the backward state of the same token;
        padding gives zeros.
        `run_both` may be left out at first reading: an `apparatus.runtime.SideBySide` gives each direction its own half
        of the cores. With a `generator`, from which dropout is drawn, the directions must run in turn, or they would
        draw in any order.
        """
        lengths = mask.sum(dim=1)
        # Bitwise reproducibility: the view splits a sum of three gradients, whose order may vary, into two sums of two.
        words = x.view_as(x)
        (ahead, _), (back, _) = run_both(
            lambda: self.forward_stack(words, generator=generator),
            lambda: self.backward_stack(reverse_each(words, lengths), generator=generator),
        )
        layers = [x] + [torch.cat([a, reverse_each(b, lengths)], dim=-1) for a, b in zip(ahead, back)]
        return torch.stack(layers) * mask.unsqueeze(-1)


def reverse_each(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each row within its own length, so that a backward model starts at the row's own last token.

    Shapes: x (B, T, D), lengths (B,) int64 -> (B, T, D). Padding stays where it is.
    """
    position = torch.arange(x.shape[1], device=x.device).unsqueeze(0)  # (1, T)
    mirrored = lengths.unsqueeze(1) - 1 - position
    source = torch.where(mirrored >= 0, mirrored, position)  # (B, T)
    return x.gather(1, source.unsqueeze(-1).expand_as(x))
