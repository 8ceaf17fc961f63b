"""Part V, chapter 2: perplexity. How well does a GPT predict a text, and how can it be compared with a biLM?

By the **cross-entropy loss** of held-out text, as for BERT, but of every piece and not of the masked ones. As in Part
III its exponential is the **perplexity**; but there it is of words, and a word of three pieces costs three times here.
So what a whole text costs is spread over its words:

    perplexity per piece = exp(1/P Σ_t −log p(w_t | w_1 … w_{t−1})),   P pieces
    perplexity per word  = exp(1/W Σ_t −log p(w_t | w_1 … w_{t−1})),   the same sum over the W words that they spell

Where some of a text's rows are measured, the loss of their pieces stands for that of all: the second is the mean per
piece times P / W of the whole text.

Perplexity per word may be set beside the perplexity of a biLM's forward direction on the same text, with three things
in mind. A biLM counts <eos> as a word, which is easy to guess. It predicts no word outside its vocabulary, but <unk>,
where a GPT spells every word to its end. And it carries its state on, where each row of a GPT has nothing before it.

Read next: `minitransfer.gpt.writing`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minitransfer.apparatus.runtime import generator
from minitransfer.bert.evaluation import masked_loss
from minitransfer.elmo.evaluation import check_nats
from minitransfer.gpt.causal import CausalLM, next_pieces


def in_own_order(rows: Tensor, seed: int) -> Tensor:
    """Held-out rows as they are measured, (N, T + 2), in an order that `seed` alone decides: often a few must do."""
    return rows[torch.randperm(len(rows), generator=generator(seed, "held out"))]


def next_piece_loss(model: CausalLM, rows: Tensor, pieces_per_word: float, batch_size: int,
                    check: Callable[[], None] = lambda: None) -> dict[str, float]:
    """How well each next piece of rows of text is predicted, over the full vocabulary.

    held_out_loss       1/P Σ −log p(w) over the P pieces, in nats
    held_out_accuracy   the share of them whose logit is the largest
    held_out_pieces     P
    perplexity_piece, perplexity_word   as above, with P / W given as `pieces_per_word`

    Shapes: rows (N, T + 2) integers, as in `next_pieces`; `batch_size` of them make one forward pass, before which
    `check` is called; it may raise Stopped. Raises: NumericsError if the loss is no number to work them out from.
    """
    metrics = masked_loss(model, *next_pieces(rows), batch_size, check)
    loss = metrics["held_out_loss"]
    check_nats(f"the loss on held-out text is {loss:.4g} nats per piece", loss * pieces_per_word)
    return {"held_out_loss": loss, "held_out_accuracy": metrics["held_out_accuracy"],
            "held_out_pieces": metrics["held_out_masked"], "perplexity_piece": math.exp(loss),
            "perplexity_word": math.exp(loss * pieces_per_word)}
