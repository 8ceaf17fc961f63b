"""Part IV, chapter 2: the encoder. What can be said of a word when the whole text may be looked at?

**Multi-head self-attention**: in every layer each token attends to all others (lecture 3.4; Devlin et al. 2019,
section 3), where a biLM conditions on the left, and again on the right, and never on both at once. BERT predicts the
tokens that were masked, since it can see the rest. What is computed here is exactly what BERT of the `transformers`
library computes, so that weights can go both ways.

Read next: `minitransfer.bert.softmax`.
"""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minitransfer.bert.masking import IGNORE_INDEX
from minitransfer.bert.softmax import cross_entropy_sum

INITIAL_STD = 0.02  # of each weight, as in Devlin et al.'s program, which cuts the normal distribution at two of them
POSITION_STD = 0.05  # of the position vectors of a new network, larger than INITIAL_STD
SELF_SCORE = 5.0  # of a token with itself in a new network; this and POSITION_STD by validation loss on WikiText-2
MASKED_SCORE = -1e9  # added to a score it leaves a weight of exactly 0; with −∞ a text of padding alone would give nan


@dataclass(frozen=True)
class BertConfig:
    """The shape of a BERT. Each of `num_heads` heads is hidden_size / num_heads wide.

    Raises: ValueError for a size below 1, heads that cannot share the width equally, dropout outside [0, 1), or a
    layer_norm_eps that is not above 0.
    """

    vocab_size: int
    hidden_size: int = 256
    num_layers: int = 4
    num_heads: int = 4
    intermediate_size: int = 1024
    max_positions: int = 512
    dropout: float = 0.1
    layer_norm_eps: float = 1e-12

    def __post_init__(self):
        sizes = {name: value for name, value in asdict(self).items() if name not in ("dropout", "layer_norm_eps")}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} is {value}, and 1 is the least")
        if self.hidden_size % self.num_heads:
            raise ValueError(f"{self.num_heads} heads cannot share a width of {self.hidden_size} equally")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, and must be at least 0 and below 1")
        if not self.layer_norm_eps > 0:
            raise ValueError(f"layer_norm_eps is {self.layer_norm_eps}, and must be above 0")

    @classmethod
    def from_dict(cls, values: dict) -> "BertConfig":
        """The config whose values `asdict` returns. Raises: TypeError, KeyError or ValueError for anything else."""
        return cls(**values)


def dropout(x: Tensor, p: float, generator: torch.Generator | None) -> Tensor:
    """Drop each number with probability p, and scale the rest by 1 / (1 − p), so that the mean stays.

    Shapes: x (…) -> (…); generator on x's device. Without a generator nothing is dropped.
    """
    if generator is None or p == 0:
        return x
    kept = torch.rand(x.shape, device=x.device, generator=generator).ge_(p)  # on a CPU faster than bernoulli_
    return x * kept.div_(1 - p)


def attention(q: Tensor, k: Tensor, v: Tensor, attention_bias: Tensor | None = None,
              fused: bool | None = None) -> Tensor:
    """Give each token a mean of the values v of all tokens, weighted by how well their keys k suit its query q.

    attention(q, k, v) = softmax(q kᵀ / √d + attention_bias) v              (Vaswani et al. 2017, eq. 1)

    Shapes: q (B, H, T, d), k and v (B, H, S, d), attention_bias (B, 1, 1, S) or (T, S) float, 0 for what may be seen
    and `MASKED_SCORE` for the rest -> (B, H, T, d). `fused` leaves it to torch's kernel, which never holds all T · S
    weights; for None the faster way is taken, on a CPU in bfloat16 the written-out one, by two to three times.
    Differs: no dropout on the weights; its random numbers would take a fifth of a training step.
    """
    attention_bias = None if attention_bias is None else attention_bias.to(q.dtype)
    if fused or fused is None and (q.is_cuda or q.dtype != torch.bfloat16):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=attention_bias)
    scores = q / math.sqrt(q.shape[-1]) @ k.transpose(-2, -1)  # (B, H, T, S); of these there are more than of q
    if attention_bias is not None:
        scores = scores + attention_bias
    return scores.softmax(dim=-1) @ v


class Embeddings(nn.Module):
    """What is known of a token before it attends to others: which one it is, and where it stands.

    x_t = LayerNorm(token embedding of w_t + position embedding of t + segment embedding)

    (Devlin et al. 2019, figure 2; the LayerNorm is in their program.)

    LayerNorm(v) = γ ⊙ (v − μ) / √(σ² + ε) + β,   μ and σ² the mean and variance of the D numbers of v

    so that no token's numbers are far larger than another's, with γ and β (D,) learned (Ba et al. 2016).

    Differs: there is one segment only, since no task here is about pairs of texts.
    """

    def __init__(self, config: BertConfig):
        super().__init__()
        D = config.hidden_size
        self.tokens = nn.Embedding(config.vocab_size, D)
        self.positions = nn.Embedding(config.max_positions, D)
        self.segment = nn.Embedding(1, D)
        self.norm = nn.LayerNorm(D, config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: x (B, T, D), rows of `tokens` -> the same. Raises: ValueError for T beyond the positions.

        They are looked up before, since transfer keeps the vector of each different token, and may shift it.
        """
        T, most = x.shape[1], self.positions.num_embeddings
        if T > most:
            raise ValueError(f"texts of {T} tokens, but there are only {most} positions")
        place = self.positions.weight[:T] + self.segment.weight  # (T, D)
        return self.norm(x + place)


class Block(nn.Module):
    """One layer: multi-head self-attention, then a feed-forward network at each token; each adds to what was there.

    a = LayerNorm(x + MultiHead(x)),   y = LayerNorm(a + GELU(a W_1) W_2)

    MultiHead(x) = concat(head_1 … head_H) W_O,   head_i = softmax(q_i k_iᵀ / √d) v_i

    with q_i = x W_q,i, k_i = x W_k,i and v_i = x W_v,i, each d = D / H wide. Each W comes with a bias. (Vaswani et al.
    2017, sections 3.1 to 3.3; GELU(z) = z Φ(z), Hendrycks and Gimpel 2016.)

    Normalised after each sum, as BERT is ("post-LN"). `qkv` holds W_q, W_k and W_v of all heads in one matrix, since
    one large product is faster than three; `output` is W_O.
    """

    def __init__(self, config: BertConfig):
        super().__init__()
        D, I, eps = config.hidden_size, config.intermediate_size, config.layer_norm_eps  # noqa: E741
        self.num_heads, self.dropout = config.num_heads, config.dropout
        self.qkv = nn.Linear(D, 3 * D)
        self.output = nn.Linear(D, D)
        self.attention_norm = nn.LayerNorm(D, eps)
        self.expand = nn.Linear(D, I)
        self.contract = nn.Linear(I, D)
        self.norm = nn.LayerNorm(D, eps)

    def forward(self, x: Tensor, attention_bias: Tensor | None = None, generator: torch.Generator | None = None,
                wanted: Tensor | None = None) -> Tensor:
        """Shapes: x (B, T, D), attention_bias as in `attention` -> (B, T, D), or (N, D) for `wanted` tokens alone.

        wanted: (N,) int64, the only positions in the flattened batch whose states are computed to the end. After
        self-attention a token needs no other token, so that the last layer is spared most of its work.
        """
        attended = self.self_attention(x, attention_bias)
        if wanted is not None:
            x, attended = x.flatten(0, 1).index_select(0, wanted), attended.flatten(0, 1).index_select(0, wanted)
        a = self.attention_norm(x + dropout(self.output(attended), self.dropout, generator))
        return self.norm(a + dropout(self.contract(F.gelu(self.expand(a))), self.dropout, generator))

    def self_attention(self, x: Tensor, attention_bias: Tensor | None) -> Tensor:
        """Multi-head self-attention, the heads' results side by side: (B, T, D) -> (B, T, D)."""
        B, T, D = x.shape
        heads = self.qkv(x).view(B, T, 3, self.num_heads, D // self.num_heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # (B, H, T, d) each
        return attention(q, k, v, attention_bias).transpose(1, 2).reshape(B, T, D)


class Bert(nn.Module):
    """The encoder: embeddings under a stack of blocks. The state of a token depends on the whole text."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.config, self.dropout = config, config.dropout
        self.embeddings = Embeddings(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.apply(initialise)
        attend_nearby(self)

    def forward(self, token_ids: Tensor, mask: Tensor | None = None,
                generator: torch.Generator | None = None) -> Tensor:
        """All layers of whole texts, with dropout drawn from `generator` (no dropout for None).

        Shapes: token_ids (B, T) int64, mask (B, T) bool with True = real token, or None if all are
        -> hidden_states (L + 1, B, T, D); layer 0 is the embeddings; padding gives zeros.
        """
        hidden_states = torch.stack(self.layers(token_ids, mask, generator))
        return hidden_states if mask is None else hidden_states * mask.unsqueeze(-1)

    def layers(self, token_ids: Tensor, mask: Tensor | None = None, generator: torch.Generator | None = None,
               wanted: Tensor | None = None) -> list[Tensor]:
        """As `forward`, but layer by layer, the last of them (N, D) if only some tokens are `wanted` (see `Block`).

        The states of padding mean nothing here, and no real token attends to them.
        """
        return self.layers_above(self.embeddings.tokens(token_ids), mask, generator, wanted)

    def layers_above(self, x: Tensor, mask: Tensor | None = None, generator: torch.Generator | None = None,
                     wanted: Tensor | None = None) -> list[Tensor]:
        """As `layers`, from token embeddings looked up before, x (B, T, D)."""
        x = dropout(self.embeddings(x), self.dropout, generator)
        attention_bias, outputs = self.attention_bias(x, mask), [x]
        for k, block in enumerate(self.blocks, start=1):
            x = block(x, attention_bias, generator, wanted if k == len(self.blocks) else None)
            outputs.append(x)
        return outputs

    def attention_bias(self, x: Tensor, mask: Tensor | None) -> Tensor | None:
        """What is added to the scores of `attention`, so that no token attends to padding: (B, 1, 1, T), or None."""
        return None if mask is None else (~mask)[:, None, None, :].to(x.dtype) * MASKED_SCORE


class MaskedLM(nn.Module):
    """BERT with a masked language modelling head: it predicts the tokens that were masked.

    logits = E LayerNorm(GELU(W y + b)) + c,   E the token embeddings (V, D)

    (Devlin et al. 2019: the softmax is in section 3.1, what is below it in their program, run_pretraining.py.)

    loss = −log softmax(logits)[w], averaged over the masked tokens w, in nats

    E is the matrix of the input embeddings too (weight tying), and is stored once. `encoder` is what stands below: a
    GPT has a head of the same form over an encoder that looks back alone.
    """

    def __init__(self, config: BertConfig, encoder: type[Bert] = Bert):
        super().__init__()
        self.config = config
        self.bert = encoder(config)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        initialise(self.dense)

    def forward(self, token_ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits at every position: token_ids (B, T) int64 -> (B, T, V). `loss` computes those of masked tokens."""
        return self.logits(self.bert.layers(token_ids, mask)[-1])

    def logits(self, y: Tensor) -> Tensor:
        """The score of each token of the vocabulary, given states of the last layer: (…, D) -> (…, V)."""
        return F.linear(self.below_softmax(y), self.bert.embeddings.tokens.weight, self.bias)

    def below_softmax(self, y: Tensor) -> Tensor:
        """What is compared with each token's embedding, given states of the last layer: (…, D) -> the same."""
        return self.norm(F.gelu(self.dense(y)))

    def decode(self, token_ids: Tensor, labels: Tensor, mask: Tensor | None = None,
               generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Logits (N, V) at the N masked tokens alone, and the ids that were there, int64 (N,).

        Shapes: token_ids and labels (B, T) int64, labels `IGNORE_INDEX` where nothing was masked; mask as in `Bert`.
        """
        masked = (labels.flatten() != IGNORE_INDEX).nonzero().squeeze(1)  # (N,)
        states = self.bert.layers(token_ids, mask, generator, wanted=masked)[-1]
        return self.logits(states), labels.flatten()[masked]

    def loss(self, token_ids: Tensor, labels: Tensor, mask: Tensor | None = None,
             generator: torch.Generator | None = None) -> Tensor:
        """The cross-entropy loss of the masked tokens: mean −log p per masked token, in nats; 0 if there is none.

        Shapes: as `decode` -> scalar.
        """
        logits, targets = self.decode(token_ids, labels, mask, generator)
        return cross_entropy_sum(logits, targets) / max(len(targets), 1)


def initialise(module: nn.Module) -> None:
    """Draw the weights of a Linear or an Embedding from N(0, 0.02²); biases begin at 0."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_STD)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def sinusoids(T: int, D: int) -> Tensor:
    """A vector for each of T positions, (T, D): by and large, the nearer two are, the more alike (cosines oscillate).

    p_{t, i} = sin(t / 10000^{2i/D}),   p_{t, i + D/2} = cos(t / 10000^{2i/D}),   i = 0 … D/2 − 1

    (Vaswani et al. 2017, section 3.5, whose sines and cosines take turns.) Then p_s · p_t =
    Σ_i cos((s − t) / 10000^{2i/D}).
    """
    i = torch.arange((D + 1) // 2)
    angle = torch.arange(T).unsqueeze(1) / 10000 ** (2 * i / D)  # (T, D / 2)
    return torch.cat([angle.sin(), angle.cos()], dim=1)[:, :D]


@torch.no_grad()
def attend_nearby(bert: Bert) -> None:
    """Let each token of a new network attend most to itself and to what is near to it.

    Position vectors begin as sinusoids, and each W_k as its W_q, so that (W_q x_s) · (W_k x_t) grows with the likeness
    of x_s and x_t. All of them are trained, each by itself.

    Differs: BERT begins with noise, and has to learn which position is next to which. From a few million tokens it
    does not, and learns little more than which words share a text. Of the initialisation of Trockman and Kolter (2023)
    this is half: they also set W_V W_proj, here W_v W_O, near −I. The initial position vectors are larger than BERT's
    (POSITION_STD). `pretrain.bert.start` sets the output bias c, and, from static vectors, larger token embeddings.
    """
    D, d = bert.config.hidden_size, bert.config.hidden_size // bert.config.num_heads
    positions = bert.embeddings.positions.weight
    positions.copy_(POSITION_STD * math.sqrt(2) * sinusoids(*positions.shape))  # a sine has a mean square of ½
    for block in bert.blocks:
        assert isinstance(block, Block)  # a ModuleList does not say of what
        W_q, W_k, _ = block.qkv.weight.split(D)
        nn.init.normal_(W_q, std=math.sqrt(SELF_SCORE / (math.sqrt(d) * D)))  # |x|² = D: a mean score of √d std² D
        W_k.copy_(W_q)
