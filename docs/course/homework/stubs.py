"""Fifteen functions to write. Copy this file, fill it in, and have it graded:

    cp docs/course/homework/stubs.py my_solutions.py
    python -m pytest docs/course/homework --solutions my_solutions.py

Each is a formula of the book. All numbers are tensors of torch: T tokens, D dimensions, B texts in a batch. What a
formula calls item 1 is item 0 in the tensor. Loops are welcome: only the result is graded. Compute in torch, not in
numpy: the graders of tasks 11 and 14 also ask for gradients, and numpy has none.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from minitransfer.bert.masking import IGNORE_INDEX  # noqa: F401 - some tasks need these
from minitransfer.text.wordpiece import CLS_ID, MASK_ID, PAD_ID, SEP_ID, SPECIAL_PIECES  # noqa: F401


def skipgram_gradient(c: Tensor, o: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Task 1: the gradient of skip-gram with negative sampling, for one pair of words, without autograd.

    loss = −log σ(c·o) − Σ_n log σ(−c·o_n)        (Mikolov et al. 2013; lecture 2.1)

    Shapes: c (D,) the vector of the word in the middle, o (D,) the context vector of the word near it, negatives
    (N, D) the context vectors o_n of N words drawn at random -> the gradients of the loss with respect to each: (D,),
    (D,), (N, D).
    """
    raise NotImplementedError


def filter_response(F: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Task 2: how strongly the filters of a character CNN respond to one word.

    y_j = relu(b_j + max_i F_j · [c_i; …; c_{i+w−1}])        (Kim et al. 2016; lecture 2.4)

    A window begins at each byte of the word, at the last one too; behind the last byte stand zeros.

    Shapes: F (n, w, E), n filters of width w; b (n,); c (C, E), the embeddings of the word's C ≥ 1 bytes -> (n,).
    """
    raise NotImplementedError


def lstm_step(x: Tensor, h: Tensor, c: Tensor, W: Tensor, U: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Task 3: one step of an LSTM.

    a = W x + U h + b, cut into four blocks of H numbers, in this order: a_i, a_f, a_g, a_o
    i = σ(a_i),  f = σ(a_f),  g = tanh(a_g),  o = σ(a_o)
    c' = f ⊙ c + i ⊙ g,  h' = o ⊙ tanh(c')        (Hochreiter and Schmidhuber 1997, with forget gates; lecture 2.3)

    Shapes: x (D,), h (H,), c (H,), W (4H, D), U (4H, H), b (4H,) -> h' (H,) and c' (H,).
    """
    raise NotImplementedError


def both_directions(x: Tensor, lengths: Tensor, ahead: list[Callable], back: list[Callable]) -> Tensor:
    """Task 4: the layers of a bidirectional language model over a padded batch.

    `ahead` has L layers for the forward model, `back` L layers for the backward model. Each is a function from
    (B, T, any width) to (B, T, P) that goes from left to right: what it computes at t depends on t and all before it.
    The first layer of each model is given the words, each next one the layer below it. The backward model has to
    start at each text's own last token, and its states have to end up beside the tokens they belong to.

    Neither model may see what it is to predict: the forward model nothing behind t, the backward model nothing before
    t (Peters et al. 2018, section 3.1; lecture 2.3).

    Shapes: x (B, T, D), lengths (B,) int64, the real tokens of each text, which stand first -> (L, B, T, 2P): layer
    by layer the forward state, and right of it the backward state of the same token; zeros where there is padding.
    """
    raise NotImplementedError


def elmo_vector(h: Tensor, mask: Tensor, w: Tensor, gamma: Tensor) -> Tensor:
    """Task 5: the scalar mix of ELMo, and the mean over the tokens of each text.

    ELMo(t) = γ Σ_k s_k h_{t,k},  s = softmax(w);   ELMo(x) = mean_t ELMo(t)        (lecture 2.4 and 5.2)

    The mean is over the real tokens alone. A text without tokens has zeros.

    Shapes: h (L + 1, B, T, D), layer 0 first, with anything at all where there is padding; mask (B, T) bool, True =
    real token; w (L + 1,); gamma () -> (B, D).
    """
    raise NotImplementedError


def mask_tokens(token_ids: Tensor, generator: torch.Generator, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Task 6: the masking of BERT.

    Each piece but [PAD], [CLS] and [SEP] is chosen with probability 15 %. Of the chosen ones

        80 % become [MASK],  10 % become a piece drawn at random,  10 % stay as they are        (Devlin et al. 2019)

    The labels have the chosen pieces as they were, and IGNORE_INDEX everywhere else. A random piece is never one of
    the special pieces, which have the ids 0 … len(SPECIAL_PIECES) − 1. `token_ids` itself is left as it is.

    Draw by `generator` alone, as in torch.rand(shape, generator=generator), so that the masks can be drawn again.
    Shapes: token_ids (B, T) int64 -> inputs and labels, (B, T) int64 each.
    """
    raise NotImplementedError


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Task 7: attention with one head.

    attention(q, k, v) = softmax(q kᵀ / √d) v        (Vaswani et al. 2017, eq. 1; lecture 3.4)

    The softmax is over the keys that are real tokens.

    Shapes: q (B, T, d), k (B, S, d), v (B, S, e), mask (B, S) bool, True = real token, at least one in each text
    -> (B, T, e).
    """
    raise NotImplementedError


def masked_lm_loss(y: Tensor, labels: Tensor, W: Tensor, b: Tensor, norm: Callable, E: Tensor, c: Tensor) -> Tensor:
    """Task 8: BERT's masked-LM head and its loss.

    logits = E norm(GELU(W y + b)) + c,  GELU(z) = z Φ(z);   loss = mean of −log softmax(logits)[label]

    (Devlin et al. 2019.) The mean is over the masked tokens alone, those whose label is not IGNORE_INDEX; if there are
    none the loss is 0. `norm` is the layer normalisation, from (…, D) to (…, D).

    Shapes: y (B, T, D), labels (B, T) int64, W (D, D), b (D,), E (V, D) the token embeddings, c (V,) -> (), in nats.
    """
    raise NotImplementedError


def layer_rates(num_groups: int, learning_rate: float, layer_decay: float) -> list[float]:
    """Task 9: discriminative learning rates, one for each group of layers, those nearest to the text first.

    η_l = η δ^(G − l),  l = 1 … G        (Howard and Ruder 2018; lecture 4.2)
    """
    raise NotImplementedError


def forgetting(logits_before: Tensor, logits_after: Tensor, targets: Tensor) -> float:
    """Task 10: catastrophic forgetting, in nats per token.

    forgetting = L_after − L_before,  L = mean of −log softmax(logits)[target] over held-out text        (lecture 3.2)

    The mean is over all real tokens of all texts. A target of 0 is padding, and is not counted.

    Shapes: logits_before and logits_after (B, T, V), of a language model before and after it was fine-tuned for
    another task; targets (B, T) int64 -> a number.
    """
    raise NotImplementedError


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Task 11: attention that looks back, and never ahead.

    result_s = Σ_{t ≤ s} a_{s,t} v_t,  a_s = softmax of q_s · k_t / √d over t ≤ s    (Radford et al. 2018; lecture 4.1)

    Nothing behind token s may reach its result: not by value, and not by a gradient either. So stay in torch.

    Shapes: q and k (B, T, d), v (B, T, e) -> (B, T, e).
    """
    raise NotImplementedError


def next_piece_loss(logits: Tensor, token_ids: Tensor) -> Tensor:
    """Task 12: the loss of GPT.

    loss = mean of −log softmax(logits_t)[w_{t+1}], in nats        (Radford et al. 2018, eq. 1; lecture 4.1)

    The logits at place t are of a model that has seen w_1 … w_t. The mean is over all places, of all texts, whose next
    piece is real: PAD_ID stands behind a text, and the last piece of a text has none after it.

    Shapes: logits (B, T, V), token_ids (B, T) int64 -> ().
    """
    raise NotImplementedError


def prompt_answers(logits: Tensor, token_ids: Tensor, positive: int, negative: int,
                   unlabelled: Tensor) -> tuple[Tensor, Tensor]:
    """Task 13: what a masked language model answers to a prompt, with no label at all.

    s = log p(w⁺) − log p(w⁻),  p = softmax of the logits at [MASK];  positive if s > median of the scores of reviews
    without labels        (Schick and Schütze 2021; lecture 7)

    Shapes: logits (N, T, V) and token_ids (N, T) int64 of N filled templates, in each of which one piece is MASK_ID;
    positive and negative, the ids of w⁺ and w⁻; unlabelled (M,), the scores of reviews without labels
    -> the scores s (N,) and the answers (N,) bool, True = positive.
    """
    raise NotImplementedError


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Task 14: how far a student's answers are from its teacher's soft targets.

    loss = τ² · mean of KL(p ‖ q),  KL(p ‖ q) = Σ_w p(w) log(p(w) / q(w)),  p = softmax(teacher / τ),
    q = softmax(student / τ)        (Hinton et al. 2015; lecture 6)

    Only the student learns from it: the gradient must not reach the teacher. So stay in torch.

    Shapes: student and teacher (M, V), the logits of both for M masked tokens; temperature τ -> ().
    """
    raise NotImplementedError


def glove_loss(w: Tensor, w_: Tensor, b: Tensor, b_: Tensor, X: Tensor, x_max: float) -> Tensor:
    """Task 15: the loss of GloVe.

    J = Σ_ij f(X_ij) (w_i·w̃_j + b_i + b̃_j − log X_ij)²,  f(x) = min(1, (x / x_max)^¾)        (Pennington et al. 2014;
    lecture 2.1)

    The sum is over the pairs that were met, X_ij > 0.

    Shapes: w and w_ (V, D), the vectors of words and of contexts; b and b_ (V,), their biases; X (V, V), how often word
    i stood near word j -> ().
    """
    raise NotImplementedError
