"""Part VI, chapter 5: features. What does a frozen encoder make of a review, and how often must it do so?

Once: **feature-based transfer** needs a single forward pass. The encoder's weights never change, so neither does what
it gives for a text, and that can be kept: not every token, but

    mean_t(γ Σ_k s_k h_{t,k}) = γ Σ_k s_k mean_t(h_{t,k}),

one mean vector per layer, because mixing and averaging are both linear. The weights s and γ still learn, on the
means, exactly as they would on the tokens, and an epoch takes a moment. This is what the lecture calls cheap (3.2).

Read next: `minitransfer.transfer.heads`.
"""

import torch
from torch import Tensor, nn

from minitransfer.apparatus.distributed import all_reduce, share_of_rows
from minitransfer.apparatus.progress import Progress
from minitransfer.apparatus.runtime import SideBySide
from minitransfer.transfer import POOLS
from minitransfer.transfer.encoders import Encoder
from minitransfer.transfer.tokens import TokenisedTexts, batches_to_encode

LEAST_MEASURED = 4  # texts from which a spread is measured
VERSION = 3  # of features: to be counted up whenever the same settings begin to give other numbers


def pool_tokens(layers: Tensor, mask: Tensor, pool: str) -> Tensor:
    """Summarise the tokens of each text in one vector per layer; a text without tokens has zeros.

    mean      mean_t h_t
    mean-max  the same, and beside it max_t h_t, dimension by dimension
    concat    [h_end; max_t h_t; mean_t h_t]: ULMFiT's concat pooling (Howard and Ruder 2018, section 3.3)
    cls       h_[CLS], the first token alone
    last      the text's own last token alone

    h_end is where each direction of a biLM ends: the lower half of h_T, which has seen the text from its beginning, and
    the upper half of h_1, which has seen it from its end. Of other encoders it is just these halves.
    Shapes: layers (L + 1, B, T, D) with zeros where there is padding, mask (B, T) bool -> (B, L + 1, W), W = D to 3D.

    Differs: ULMFiT pools its last layer, and has a classifier for each direction. The lecture has the mean (5.2) and
    [CLS] (3.4), Radford et al. 2018 the last token. A maximum is not linear, so pool(mix) ≠ mix(pool): with it we mix
    the pooled layers, which is another model.
    """
    lengths = mask.sum(dim=1).clamp(min=1)  # (B,)
    h_T = layers[:, torch.arange(len(mask), device=mask.device), lengths - 1]
    if pool in ("cls", "last"):
        return (layers[:, :, 0] if pool == "cls" else h_T).transpose(0, 1)
    mean = layers.sum(dim=2) / lengths.view(1, -1, 1)
    parts = [mean]
    if pool in ("mean-max", "concat"):
        maximum = layers.masked_fill(~mask.view(1, *mask.shape, 1), -torch.inf).amax(dim=2)
        parts.append(maximum.masked_fill(~mask.any(dim=1).view(1, -1, 1), 0))
    if pool == "concat":
        half = layers.shape[-1] // 2
        parts = [h_T[..., :half], layers[:, :, 0, half:], *reversed(parts)]
    return torch.cat(parts, dim=-1).transpose(0, 1)


def frozen_pass(encoder: Encoder, texts: TokenisedTexts, pool: str, *, device: torch.device,
                log_every: float = 10.0) -> Tensor:
    """Encode every text once and keep its pooled layers: (N, L + 1, W) float32, on the CPU.

    The vector of each distinct token is worked out once, and the two directions of a biLM run side by side.
    Several processes share the batches, and all have the features of all texts in the end.
    """
    features = torch.zeros(len(texts.token_ids), encoder.num_layers, encoder.hidden_size * POOLS.get(pool, 1))
    lengths = texts.lengths
    batches = share_of_rows(list(batches_to_encode(lengths)))
    words = sum(int(lengths[rows].sum()) for rows in batches)
    with (torch.no_grad(), SideBySide(2, device) as side_by_side,
          Progress(words, "words", description="frozen pass", log_every=log_every) as progress):
        table = encoder.token_table(texts.tokens)  # (U, D)
        for rows in batches:
            batch = texts.batch(rows)
            mask = torch.from_numpy(batch.mask).to(device)
            layers = encoder.encode(table[torch.from_numpy(batch.token_ids).to(device)], mask, side_by_side)
            features[torch.from_numpy(rows)] = pool_tokens(layers, mask, pool).cpu()
            progress.advance(int(lengths[rows].sum()))
    return all_reduce(features)


class Standardise(nn.Module):
    """Shift and scale each dimension of each layer by what texts have there.

    x' = (x − mean) / std

    Above a frozen encoder, mean and std are those of all training texts. Above one that learns they would be those of
    another encoder within a few steps, for what texts have in common is large and moves: there each training batch is
    measured by its own (batch normalisation, Ioffe and Szegedy 2015, as in the heads of Howard and Ruder 2018), and
    after each epoch mean and std are taken anew. Until `fit`, it changes nothing. A training batch of fewer than 4
    texts, which have hardly a spread, is measured as any other text is: by the end of the last epoch.

    Differs: Peters et al. 2018 (section 3.2) sometimes normalise each layer before mixing, because layers differ in
    scale and a weight s_k would have to make up for that. They do it per vector, we per dimension over the texts,
    since the mean vectors of different texts are nearly the same vector: what tells texts apart is the small rest.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, num_layers: int, width: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_layers, width))
        self.register_buffer("std", torch.ones(num_layers, width))

    def fit(self, features: Tensor) -> None:
        """Take mean and spread from the features of training texts, (N, L + 1, W)."""
        mean, std = mean_and_spread(features)
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(self, features: Tensor, learning: bool = False) -> Tensor:
        """`learning`: whether this is training, and of the encoder too. Shapes: (…, L + 1, W) -> the same."""
        measured = learning and len(features) >= LEAST_MEASURED
        mean, std = mean_and_spread(features) if measured else (self.mean, self.std)
        return (features - mean) / std


def mean_and_spread(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over N texts of each dimension of each layer: (N, L + 1, W) -> two (L + 1, W).

    A dimension that hardly moves in a few texts may move in others: no spread is below a twentieth of its layer's.
    """
    variance = features.var(dim=0, correction=0)
    std = (variance + 1e-12).sqrt()  # at zero the square root is infinitely steep, and a gradient would become nan
    return features.mean(dim=0), torch.maximum(std, 0.05 * std.mean(dim=-1, keepdim=True))
