"""Graders of tasks 11 to 14: attention under a causal mask, GPT's loss, a prompt's answer, and distillation."""

import math
from collections.abc import Callable

import torch
from bert_by_loops import weights_of
from elmo_by_loops import minus_log_p
from torch import Tensor
from wrong import ask, close, drawn, number, require, several, tensor

from minitransfer.text.wordpiece import CLS_ID, MASK_ID, PAD_ID


def attended(q: Tensor, k: Tensor, v: Tensor, seen: Callable[[int], slice]) -> Tensor:
    """Each query s by itself, over the keys that `seen` gives it."""
    result = torch.zeros_like(v)
    for b in range(len(q)):
        for s, query in enumerate(q[b].tolist()):
            shares = weights_of(query, k[b, seen(s)].tolist())
            result[b, s] = sum(share * value for share, value in zip(shares, v[b, seen(s)]))
    return result


def causal_attention(function: Callable) -> None:
    B, T, d, e = 2, 4, 3, 5
    q, k, v = drawn(B, T, d, seed=1), drawn(B, T, d, seed=2), drawn(B, T, e, seed=3)
    what = "the attention of 4 tokens"

    def answer(k: Tensor, v: Tensor) -> Tensor:
        return tensor(ask(function, q, k, v), (B, T, e), what)

    first = ask(function, q, k, v)
    if isinstance(first, Tensor) and first.shape == (B, T, e):
        require(bool(first[:, 0].isfinite().all()) and bool(first[:, 0].any()), "The first token attends to nothing: "
                "your mask allows t < s. A token attends to itself, too: t ≤ s.")
    found, ones = answer(k, v), answer(k, torch.ones_like(v))
    require(close(ones[:, -1], torch.ones(B, e)), "The weights of the last token, which may see all, do not sum to 1. "
            "The softmax is over the keys t, the last axis of the scores (B, T, T).")
    require(close(ones, torch.ones(B, T, e)), "The weights of a token do not sum to 1 over what it may see: you masked "
            "after the softmax. Scores of later tokens become −∞ before it.")
    require(not close(found, attended(q, k, v, lambda s: slice(s, T))), "The mask is the wrong way round: each token "
            "attends to itself and to what comes after it.")
    require(not close(found, attended(q, k, v, lambda s: slice(0, s + 2))), "The future leaks, by one token: each "
            "attends to the next one as well, the very one that it is to predict. Is the diagonal that of t ≤ s?")
    leak = ("The future leaks: the result at token {} changes when tokens after it are others. Scores of later tokens "
            "become −∞ before the softmax; 0 is no mask, since e⁰ = 1, and neither is a small number.")
    for s in range(T - 1):
        later = (torch.arange(T) > s).double().view(1, T, 1)
        moved = (answer(k + later, v + 3 * later) - found)[:, : s + 1].abs().max()
        require(bool(moved < 1e-9), leak.format(s + 1))
    k_, v_ = k.clone().requires_grad_(), v.clone().requires_grad_()
    out = ask(function, q, k_, v_)
    for s in range(T - 1 if out.requires_grad else 0):
        slopes = torch.autograd.grad(out[:, s].sum(), (k_, v_), retain_graph=True, allow_unused=True)
        reached = [slope is not None and bool(slope[:, s + 1 :].abs().max() > 1e-9) for slope in slopes]
        require(not any(reached), f"The future leaks by the gradient: no value shows it, but what is learned at token "
                f"{s + 1} depends on tokens after it.")
    require(not close(found, attended(d**0.5 * q, k, v, lambda s: slice(0, s + 1))), "The scores are unscaled: q·k has "
            "to be divided by √d.")
    require(close(found, attended(q, k, v, lambda s: slice(0, s + 1))), "The result is not the mean of the values v_t, "
            "t ≤ s, weighted by softmax(q_s · k_t / √d), worked out token by token.")


def next_piece_loss(function: Callable) -> None:
    B, T, V = 3, 6, 11
    lengths = (6, 4, 1)
    token_ids = torch.randint(PAD_ID + 1, V, (B, T), generator=torch.Generator().manual_seed(1))
    for b, length in enumerate(lengths):
        token_ids[b, length:] = PAD_ID
    logits = drawn(B, T, V, seed=2)

    def sum_of(asked: list[tuple[int, int, int]]) -> float:
        """−log p of the piece at place u as the logits at place t have it, summed up over some (b, t, u)."""
        return sum(minus_log_p(logits[b, t].tolist(), int(token_ids[b, u])) for b, t, u in asked)

    real = [(b, t) for b, length in enumerate(lengths) for t in range(length)]
    asked = [(b, t, t + 1) for b, t in real if t + 1 < lengths[b]]
    alike = logits[:1, :1].expand(B, T, V)
    require(abs(number(ask(function, alike, token_ids), "The loss")
                - number(ask(function, 0 * alike, token_ids), "The loss")) > 1e-6, "Where the logits are alike at all "
            "places, your loss does not depend on them: the softmax is over the places. It is over the vocabulary, "
            "the last axis.")
    n, expected = len(asked), sum_of(asked) / len(asked)
    found = number(ask(function, logits, token_ids), "The loss")
    gap = f"The loss should be {expected:.4f} nats here, and yours is {found:.4f}."

    def not_this(value: float, complaint: str) -> None:
        require(abs(found - value) > 1e-4, f"{gap} {complaint}")

    not_this(sum_of([(b, t, t) for b, t in real]) / len(real), "You ask each place for the piece that stands there, "
             "which the model has just read. Place t is asked for the piece at t + 1.")
    not_this(sum_of([(b, t, t - 1) for b, t in real if t]) / n, "You ask each place for the piece before it. Place t "
             "is asked for the piece at t + 1.")
    not_this(sum_of([(b, t, t + 1) for b in range(B) for t in range(T - 1)]) / (B * (T - 1)), "Padding is predicted, "
             "too. Count only places whose next piece is real.")
    not_this(expected * n, "Yours is the sum over the places. The loss is their mean: a text twice as long would count "
             "twice as much.")
    for places, of in ((B * (T - 1), "padding among them"), (B * T, "padding and last places among them"),
                       (len(real), "also the last one of each text, which has no next piece")):
        not_this(expected * n / places, f"You divide by {places} places, {of}. {n} have a next piece that is real.")
    not_this(expected / math.log(2), "Yours is in bits: take the natural logarithm.")
    not_this(math.exp(expected), "Yours is the perplexity, exp(loss).")
    require(abs(found - expected) < 1e-4, f"{gap} It is the mean of −log softmax(logits_t)[w_{{t+1}}] over the {n} "
            "places whose next piece is real.")


def prompt_answers(function: Callable) -> None:
    N, T, V, positive, negative = 5, 6, 11, 7, 9
    logits, at = drawn(N, T, V, seed=1), torch.tensor([3, 1, 4, 2, 3])
    token_ids = torch.full((N, T), MASK_ID + 1)
    token_ids[:, 0], token_ids[torch.arange(N), at] = CLS_ID, MASK_ID
    s = torch.tensor([-2.0, 0.5, 1.5, 1.7, 6.0], dtype=torch.float64)
    logits[torch.arange(N), at, positive] = logits[torch.arange(N), at, negative] + s
    unlabelled = torch.tensor([40.0, 0.2, 2.0, 5.0, 0.8, 30.0, 1.0], dtype=torch.float64)  # median 2, mean 11.3
    scores, answers = several(ask(function, logits, token_ids, positive, negative, unlabelled),
                              ((N,), "the scores"), ((N,), "the answers"))
    for place, name in ((0, "[CLS], the first place"), (-1, "the last place")):
        there = logits[:, place, positive] - logits[:, place, negative]
        require(not close(scores, there), f"You read the logits at {name}. The answer is what stands at [MASK], where "
                "token_ids is MASK_ID, in each text at another place.")
    require(not close(scores, -s), "The score has the wrong sign: above 0 the positive word is the likelier one.")
    p = logits[torch.arange(N), at].softmax(dim=1)
    require(not close(scores, p[:, positive] - p[:, negative]), "You compare probabilities. Where both words are rare "
            "their difference is near 0 whatever the text says: take that of their logarithms.")
    require(not close(scores, p[:, positive].log()), "This is the positive word alone, however likely the negative one "
            "is. The score is log p(w⁺) − log p(w⁻).")
    require(close(scores, s), f"The scores should be {s.tolist()}, and are {[round(x, 3) for x in scores.tolist()]}. "
            "They are log p(w⁺) − log p(w⁻) at [MASK], in which the softmax cancels: a difference of logits.")
    found = answers.bool()
    for threshold, complaint in ((0.0, "0, by which a text is positive if its positive word is the likelier one. But "
                                  "one of two words may be the likelier one whatever the text"),
                                 (unlabelled.mean(), "the mean of the scores without labels. Their median has half of "
                                  "them on each side; a mean follows the few largest"),
                                 (s.median(), "the median of the very texts that are to be judged. Take that of the "
                                  "reviews without labels")):
        require(not torch.equal(found, s > threshold), f"Your threshold is {complaint}.")
    require(not torch.equal(found, s < unlabelled.median()), "The answers are the wrong way round: True is positive.")
    require(torch.equal(found, s > unlabelled.median()), "The answers should be True where the score is above the "
            f"median of the scores without labels, 2.0 here: {(s > 2).tolist()}. Yours are {found.tolist()}.")


def distillation_loss(function: Callable) -> None:
    M, V, temperature = 4, 7, 1.9
    z, x = drawn(M, V, seed=1), 2 * drawn(M, V, seed=2)  # student, teacher

    def answer(of_student: Tensor, of_teacher: Tensor) -> float:
        return number(ask(function, of_student, of_teacher, temperature), "The loss")

    def divergence(p: Tensor, q: Tensor, τ_p: float = temperature, τ_q: float = temperature) -> float:
        """The mean over tokens of KL(p_τ ‖ q_τ), number by number, of logits p and q."""
        total = 0.0
        for of_p, of_q in zip((p / τ_p).tolist(), (q / τ_q).tolist()):
            log_p, log_q = ([-minus_log_p(row, w) for w in range(V)] for row in (of_p, of_q))
            total += sum(math.exp(a) * (a - b) for a, b in zip(log_p, log_q))
        return total / M

    found, plain = answer(z, x), divergence(x, z)
    expected = temperature**2 * plain
    gap = f"The loss should be {expected:.4f} here, and yours is {found:.4f}."
    shifted = answer(z + torch.arange(M).unsqueeze(1), x)
    require(abs(shifted - found) < 1e-6, "The loss changes when the same number is added to all logits of a token, "
            "which changes no probability: the softmax is over the wrong axis. It is over the vocabulary, the last.")
    for value, complaint in (
        (plain, "The factor τ² is missing. The slopes of soft targets are 1/τ² as steep, and without it a higher "
         "temperature would weigh them less."),
        (temperature * plain, "You scale by τ. It is τ²: once for the student's logits, once for the targets."),
        (M * expected, "Yours is the sum over the tokens, and the loss is their mean."),
        (expected / V, "You take the mean over the vocabulary as well: a divergence is a sum over it (in F.kl_div, "
         'reduction="batchmean").'),
        (temperature**2 * divergence(z, x), "The divergence is the wrong way round: the targets are the teacher's, "
         "KL(p ‖ q) = Σ p log(p / q), p of the teacher."),
        (temperature**2 * divergence(x, z, τ_q=1), "Only the teacher is softened: divide the student's logits "
         "by τ, too."),
        (temperature**2 * divergence(x, z, τ_p=1), "Only the student is softened: divide the teacher's logits "
         "by τ, too."),
        (temperature**2 * divergence(x, z, 1 / temperature, 1 / temperature), "You multiply the logits by τ. They are "
         "divided by it: a high temperature makes targets soft."),
        (temperature**2 * divergence(x, z, 1, 1), "The logits are not divided by τ."),
    ):
        require(abs(found - value) > 1e-4, f"{gap} {complaint}")
    same = answer(x, x)
    require(abs(same) < 1e-6, f"A student that answers as its teacher does has a loss of 0, and yours is {same:.4f}: "
            "you left out the teacher's own entropy. KL(p ‖ q) = Σ p (log p − log q), both terms.")
    teacher = x.clone().requires_grad_()
    out = ask(function, z.clone().requires_grad_(), teacher, temperature)
    if isinstance(out, Tensor) and out.requires_grad:
        out.backward()
    require(teacher.grad is None or not bool(teacher.grad.any()), "The gradient reaches the teacher, which would learn "
            "to be easy to imitate. Its targets are fixed: .detach(), or torch.no_grad().")
    require(abs(found - expected) < 1e-4, f"{gap} It is τ² times the mean over tokens of Σ_w p(w) (log p(w) − "
            "log q(w)).")
