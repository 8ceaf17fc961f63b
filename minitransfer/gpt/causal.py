"""Part V, chapter 1: the causal mask. What can be asked of a model that may look back, and never ahead?

The next word, of every text and at every place of it: an **autoregressive language model** (Radford et al. 2018, GPT).
BERT sees both sides, and so must have words hidden from it; here nothing is hidden, but each token attends only to
itself and to what stands before it. That **causal mask** is all in which this network differs from that of
`minitransfer.bert.encoder`, parameter by parameter: embeddings, blocks, and the head with its tied weights are BERT's.
So the two can be compared, and what differs between them is the question that they were asked.

It is the forward direction of a biLM (`minitransfer.elmo.bilm`), with attention instead of an LSTM.

Read next: `minitransfer.gpt.evaluation`.
"""

import torch
from torch import Tensor

from minitransfer.bert.encoder import MASKED_SCORE, Bert, BertConfig, MaskedLM
from minitransfer.elmo.softmax import sampled_loss


class Gpt(Bert):
    """BERT's encoder under a causal mask: the state of a token depends on it and on what stands before it.

    m_{s,t} = 0 for t ≤ s, and MASKED_SCORE for t > s,   added to the score of token s with token t

    (Vaswani et al. 2017, section 3.2.3: the mask of the decoder.) Padding stands behind a text, where no token of it
    looks, so it needs no mask of its own.

    Differs: GPT normalises after each sum, as BERT does ("post-LN"; GPT-2 does it before), but has neither a LayerNorm
    upon its embeddings nor a segment, nor a transformation below its softmax. These are BERT's, and stay: computed is
    exactly what `BertLMHeadModel` of the `transformers` library computes with `is_decoder` true.
    """

    def attention_bias(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """The causal mask for texts of T tokens, whatever of them is padding: x (B, T, D) -> (T, T)."""
        T = x.shape[1]
        return x.new_full((T, T), MASKED_SCORE).triu(diagonal=1)


class CausalLM(MaskedLM):
    """GPT: the encoder above, and the head of `MaskedLM`, which here predicts the next piece.

    loss = −1/T Σ_{t=0}^{T−1} log p(w_{t+1} | w_0 … w_t),   w_0 = [CLS],   in nats

    (Radford et al. 2018, eq. 1.) Everything but the mask is inherited; what is asked is in `next_pieces`.
    """

    def __init__(self, config: BertConfig):
        super().__init__(config, Gpt)

    def sampled_loss(self, token_ids: Tensor, labels: Tensor, negatives: Tensor, log_q: Tensor,
                     generator: torch.Generator | None = None) -> Tensor:
        """As `loss`, but by `minitransfer.elmo.softmax.sampled_loss`: a choice among the true piece and some drawn.

        Shapes: token_ids and labels (B, T) int64, every label a piece; negatives (K,) int64, log_q (V,) float.
        """
        y = self.bert.layers(token_ids, generator=generator)[-1].flatten(0, 1)
        h, table = self.below_softmax(y), self.bert.embeddings.tokens.weight
        return sampled_loss(h, table, self.bias, labels.flatten(), negatives, log_q)


def next_pieces(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The inputs of a GPT in rows of text, and what it is to predict at each place: the piece that comes next.

    A row is [CLS] w_1 … w_T [SEP], as `minitransfer.text.packing` fills it. Inputs are [CLS] w_1 … w_{T−1}, so that
    each of w_1 … w_T is predicted once. The [SEP] in the end only marks where the row was cut, and nobody could know.

    Shapes: (B, T + 2) integers -> inputs and labels (B, T) int64.
    """
    rows = rows.long()
    return rows[:, :-2], rows[:, 1:-1]
