"""Part III, chapter 2: the bidirectional language model. What can be learned from text that nobody has labelled?

Two LSTM stacks read the same text, one forwards, predicting the next word, and one backwards, predicting the previous
one (lecture 2.3; Peters et al. 2018, section 3.1). They share the character CNN below and the softmax above, and nothing
else: were the second layer to see both directions of the first, each direction would be shown the word it is asked for.

Read next: `minitransfer.elmo.softmax`.
"""

from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn

from minitransfer.elmo.charcnn import CharCNN, CharCNNConfig
from minitransfer.elmo.softmax import WordSoftmax

State = list[tuple[Tensor, Tensor]]  # of each layer h and c, (1, B, hidden_size)


@dataclass(frozen=True)
class BiLMConfig:
    """The shape of a biLM. Layers are D = 2 · projection_size wide, one half from each direction."""

    vocab_size: int
    hidden_size: int = 256
    projection_size: int = 128
    num_layers: int = 2
    dropout: float = 0.1
    charcnn: CharCNNConfig = field(default_factory=CharCNNConfig)

    def __post_init__(self):
        if self.charcnn.output_size != 2 * self.projection_size:
            raise ValueError(f"character CNN gives {self.charcnn.output_size}, layers are {2 * self.projection_size} wide")

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "BiLMConfig":
        chars = dict(values["charcnn"])
        chars["filters"] = tuple(tuple(pair) for pair in chars["filters"])
        return cls(**{**values, "charcnn": CharCNNConfig(**chars)})


class LockedDropout(nn.Module):
    """Drop the same units at every token of a text (Gal and Ghahramani 2016), so that a recurrent state sees one mask.

    It also draws T times fewer random numbers than ordinary dropout, which took a tenth of a training step.

    Shapes: x (B, T, D) -> (B, T, D).
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        kept = torch.full((x.shape[0], 1, x.shape[2]), 1 - self.p, device=x.device)
        return x * torch.bernoulli(kept) / (1 - self.p)


class LSTMStack(nn.Module):
    """Read a sequence in one direction: LSTM layers, each followed by a projection, with a residual from the second on.

    Differs from Peters et al. 2018: the projection is a Linear of its own and is not fed back into the recurrence; with
    `nn.LSTM(proj_size=…)` torch leaves its fast path on CPU. Cells are not clipped; gradients are.
    """

    def __init__(self, config: BiLMConfig):
        super().__init__()
        H, P = config.hidden_size, config.projection_size
        inputs = [2 * P] + [P] * (config.num_layers - 1)
        self.lstms = nn.ModuleList(nn.LSTM(size, H, batch_first=True) for size in inputs)
        self.projections = nn.ModuleList(nn.Linear(H, P) for _ in inputs)
        self.dropout = LockedDropout(config.dropout)
        for lstm in self.lstms:
            nn.init.zeros_(lstm.bias_hh_l0)
            nn.init.zeros_(lstm.bias_ih_l0)
            nn.init.ones_(lstm.bias_ih_l0[H : 2 * H])  # gates i, f, g, o: a cell remembers until taught to forget

    def forward(self, x: Tensor, state: State | None = None) -> tuple[list[Tensor], State]:
        """Shapes: x (B, T, 2P) -> one (B, T, P) per layer, and the state after the last token."""
        outputs, new_state = [], []
        for k, (lstm, projection) in enumerate(zip(self.lstms, self.projections)):
            y, last = lstm(self.dropout(x), None if state is None else state[k])
            y = projection(y)
            x = y + x if k else y
            outputs.append(x)
            new_state.append(last)
        return outputs, new_state


class BiLM(nn.Module):
    """A forward and a backward language model over the character CNN, with one softmax.

    loss = ½ (−log p(w_{t+1} | w_1 … w_t) − log p(w_{t−1} | w_t … w_T)), averaged over tokens, in nats   (lecture 2.3)
    """

    def __init__(self, config: BiLMConfig):
        super().__init__()
        self.config = config
        self.charcnn = CharCNN(config.charcnn)
        self.forward_stack = LSTMStack(config)
        self.backward_stack = LSTMStack(config)
        self.softmax = WordSoftmax(config.vocab_size, config.projection_size)
        self.dropout = LockedDropout(config.dropout)

    def encode(self, x: Tensor, mask: Tensor) -> Tensor:
        """Read whole texts in both directions from a blank state: the layers that ELMo mixes.

        Shapes: x (B, T, D) word vectors, mask (B, T) bool with True = real token, first in each row -> (L + 1, B, T, D);
        layer 0 is x, layer k ≥ 1 the forward state beside the backward state of the same token; padding gives zeros.
        """
        lengths = mask.sum(dim=1)
        ahead, _ = self.forward_stack(x)
        back, _ = self.backward_stack(reverse_each(x, lengths))
        layers = [x] + [torch.cat([a, reverse_each(b, lengths)], dim=-1) for a, b in zip(ahead, back)]
        return torch.stack(layers) * mask.unsqueeze(-1)


def reverse_each(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each row within its own length, so that a backward reader starts at the row's own last token.

    Shapes: x (B, T, D), lengths (B,) int64 -> (B, T, D). Padding stays where it is.
    """
    position = torch.arange(x.shape[1], device=x.device).unsqueeze(0)  # (1, T)
    mirrored = lengths.unsqueeze(1) - 1 - position
    source = torch.where(mirrored >= 0, mirrored, position)  # (B, T)
    return x.gather(1, source.unsqueeze(-1).expand_as(x))
