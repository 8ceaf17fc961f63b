"""Wrong answers to the homework, each with a mistake that students make, and words that the grader has to find for it.

`WRONG` lists them: the task, what is wrong, the answer, and a part of the message.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, gelu, logsigmoid, pad, relu

from minitransfer.bert.masking import IGNORE_INDEX
from minitransfer.text.wordpiece import CLS_ID, MASK_ID, PAD_ID, SEP_ID, SPECIAL_PIECES

WRONG: list[tuple[str, str, Callable, str]] = []


def wrong(task: str, mistake: str, message: str) -> Callable:
    """Enter a function into the list."""

    def enter(function: Callable) -> Callable:
        WRONG.append((task, mistake, function, message))
        return function

    return enter


def skipgram(of_c: Callable, of_o: Callable, of_negatives: Callable) -> Callable:
    """An answer to task 1 from the slopes σ of the pair and of the negatives."""

    def gradient(c: Tensor, o: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        s, s_n = torch.sigmoid(c @ o), torch.sigmoid(negatives @ c)
        return of_c(s, s_n, o, negatives), of_o(s, c), of_negatives(s_n, c)

    return gradient


def skipgram_loss(c: Tensor, o: Tensor, negatives: Tensor) -> Tensor:
    return -logsigmoid(c @ o) - logsigmoid(-negatives @ c).sum()


def by_autograd(*vectors: Tensor) -> tuple[Tensor, ...]:
    """The right gradient, but not written down by hand."""
    vectors = [vector.requires_grad_() for vector in vectors]
    return torch.autograd.grad(skipgram_loss(*vectors), vectors)


RIGHT_C = lambda s, s_n, o, n: (s - 1) * o + s_n @ n
RIGHT_O = lambda s, c: (s - 1) * c
RIGHT_N = lambda s_n, c: s_n.outer(c)
wrong("skipgram_gradient", "minus the gradient", "minus the gradient")(skipgram(
    lambda *x: -RIGHT_C(*x), lambda *x: -RIGHT_O(*x), lambda *x: -RIGHT_N(*x)))
wrong("skipgram_gradient", "σ for the true pair", "should be σ(c·o) − 1")(skipgram(
    lambda s, s_n, o, n: s * o + s_n @ n, lambda s, c: s * c, RIGHT_N))
wrong("skipgram_gradient", "negatives drawn near", "as if they were true neighbours")(skipgram(
    lambda s, s_n, o, n: (s - 1) * o + (s_n - 1) @ n, RIGHT_O, lambda s_n, c: (s_n - 1).outer(c)))
wrong("skipgram_gradient", "mean over negatives", "mean over the negatives")(skipgram(
    lambda s, s_n, o, n: (s - 1) * o + s_n @ n / len(n), RIGHT_O, lambda s_n, c: s_n.outer(c) / len(s_n)))
wrong("skipgram_gradient", "negatives forgotten for c", "only the term of the true pair")(skipgram(
    lambda s, s_n, o, n: (s - 1) * o, RIGHT_O, RIGHT_N))
wrong("skipgram_gradient", "autograd", "You let autograd work out the gradient")(by_autograd)
wrong("skipgram_gradient", "autograd as a function", "You let autograd work out the gradient")(
    torch.func.grad(skipgram_loss, argnums=(0, 1, 2)))
wrong("skipgram_gradient", "one tensor only", "should return 3 tensors")(lambda c, o, n: (torch.sigmoid(c @ o) - 1) * o)


def windows(F: Tensor, c: Tensor, front: int = 0, behind: int | None = None) -> Tensor:
    """Each filter's response at each window, (windows, n)."""
    width = F.shape[1]
    c = pad(c, (0, 0, front, width - 1 if behind is None else behind))
    return torch.einsum("nwe,cew->cn", F, c.unfold(0, width, 1))


wrong("filter_response", "mean over time", "neither mean nor sum")(
    lambda F, b, c: relu(windows(F, c).mean(0) + b))
wrong("filter_response", "bias after relu", "add the bias first")(lambda F, b, c: relu(windows(F, c).amax(0)) + b)
wrong("filter_response", "no relu", "add the bias first")(lambda F, b, c: windows(F, c).amax(0) + b)
wrong("filter_response", "filter turned round", "its first weight on the first byte")(
    lambda F, b, c: relu(windows(F.flip(1), c).amax(0) + b))
wrong("filter_response", "whole windows only", "at the last one too")(
    lambda F, b, c: relu(windows(F, c, behind=0).amax(0) + b))
wrong("filter_response", "zeros before the word", "no window begins before its first byte")(
    lambda F, b, c: relu(windows(F, c, front=F.shape[1] - 1).amax(0) + b))
wrong("filter_response", "a window of padding alone", "nothing but padding")(
    lambda F, b, c: relu(windows(F, c, behind=F.shape[1]).amax(0) + b))


def step(cell: Callable, out: Callable, order: str = "ifgo") -> Callable:
    """An answer to task 3 with another cell, output, or order of the blocks."""

    def answer(x: Tensor, h: Tensor, c: Tensor, W: Tensor, U: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        a = dict(zip(order, (W @ x + U @ h + b).chunk(4)))
        new = cell(a["i"].sigmoid(), a["f"].sigmoid(), a["g"], c)
        return out(a["o"].sigmoid(), new, c), new

    return answer


CELL = lambda i, f, g, c: f * c + i * g.tanh()
OUT = lambda o, new, old: o * new.tanh()
wrong("lstm_step", "output and candidate swapped", "The order of the blocks is i, f, g, o")(step(CELL, OUT, "ifog"))
wrong("lstm_step", "input and forget gate swapped", "Is f the second block")(step(CELL, OUT, "figo"))
wrong("lstm_step", "candidate by a sigmoid", "g goes through tanh")(
    step(lambda i, f, g, c: f * c + i * g.sigmoid(), OUT))
wrong("lstm_step", "no tanh at the output", "There is a tanh in between")(step(CELL, lambda o, new, old: o * new))
wrong("lstm_step", "output of the old cell", "from the old cell")(step(CELL, lambda o, new, old: o * old.tanh()))
wrong("lstm_step", "no recurrence", "the state h of the step before")(
    lambda x, h, c, W, U, b: step(CELL, OUT)(x, 0 * h, c, W, U, b))
wrong("lstm_step", "forget gate tied to the input gate", "worked out gate by gate")(
    step(lambda i, f, g, c: f * c + (1 - f) * g.tanh() * (i > 0.99) + i * g.tanh() * (i <= 0.99) * (f > 2), OUT))


def reversed_rows(x: Tensor, lengths: Tensor) -> Tensor:
    """Each row reversed within its own length."""
    return torch.stack([torch.cat([row[:n].flip(0), row[n:]]) for row, n in zip(x, lengths.tolist())])


def bilm(below: Callable = lambda f, b, turn: (f, b), turn: Callable = reversed_rows, back_again: bool = True,
         zeros: bool = True, swapped: bool = False) -> Callable:
    """An answer to task 4, in which `below` decides what each layer is given of the layer under it."""

    def answer(x: Tensor, lengths: Tensor, ahead: list, back: list) -> Tensor:
        flip = lambda y: turn(y, lengths)
        forward, backward, layers = x, flip(x), []
        for one, other in zip(ahead, back):
            forward, backward = one(forward), other(backward)
            halves = [forward, flip(backward) if back_again else backward]
            layers.append(torch.cat(halves[::-1] if swapped else halves, dim=-1))
            forward, backward = below(forward, backward, flip)
        real = (torch.arange(x.shape[1]) < lengths.unsqueeze(1)).unsqueeze(-1)
        return torch.stack(layers) * real if zeros else torch.stack(layers)

    return answer


def both(f: Tensor, b: Tensor, flip: Callable) -> tuple[Tensor, Tensor]:
    """What nn.LSTM(bidirectional=True) gives its second layer: both halves of the first."""
    together = torch.cat([f, flip(b)], dim=-1)
    return together, flip(together)


wrong("both_directions", "each layer is given both halves of the one below", "The future leaks")(bilm(both))
wrong("both_directions", "the sum of both halves goes up", "The future leaks")(
    bilm(lambda f, b, flip: (f + flip(b), flip(f) + b)))
wrong("both_directions", "only the backward model is given both", "The past leaks")(
    bilm(lambda f, b, flip: (f, flip(f) + b)))
wrong("both_directions", "the backward model goes forward", "The past leaks")(bilm(turn=lambda x, lengths: x))
wrong("both_directions", "states not turned back", "The past leaks")(bilm(back_again=False))
wrong("both_directions", "whole rows reversed", "within its own length")(bilm(turn=lambda x, lengths: x.flip(1)))
wrong("both_directions", "padding has states", "should be zeros")(bilm(zeros=False))
wrong("both_directions", "halves swapped", "the wrong way round")(bilm(swapped=True))
wrong("both_directions", "the second layer is given the words", "given the one below it")(
    lambda x, n, ahead, back: torch.cat([bilm()(x, n, [one], [other]) for one, other in zip(ahead, back)]))


def pooled(mix: Callable = lambda h, w, gamma: gamma * torch.tensordot(w.softmax(0), h, dims=1),
           pool: Callable = lambda h, m: (h * m).sum(1) / m.sum(1).clamp(min=1)) -> Callable:
    """An answer to task 5 from a mix (L + 1, B, T, D) -> (B, T, D) and a mean over tokens."""
    return lambda h, mask, w, gamma: pool(mix(h, w, gamma), mask.unsqueeze(-1).double())


wrong("elmo_vector", "no softmax", "softmax(w), and sum to 1")(
    pooled(lambda h, w, gamma: gamma * torch.tensordot(w, h, dims=1)))
wrong("elmo_vector", "softmax over another axis", "along its only dimension")(
    pooled(lambda h, w, gamma: gamma * (w.view(-1, 1, 1, 1).softmax(dim=-1) * h).sum(0)))
wrong("elmo_vector", "weights divided by their sum", "should be softmax(w)")(
    pooled(lambda h, w, gamma: gamma * torch.tensordot(w / w.sum(), h, dims=1)))
wrong("elmo_vector", "no γ", "γ is missing")(pooled(lambda h, w, gamma: torch.tensordot(w.softmax(0), h, dims=1)))
wrong("elmo_vector", "γ inside the softmax", "Does γ scale the sum")(
    pooled(lambda h, w, gamma: torch.tensordot((gamma * w).softmax(0), h, dims=1)))
wrong("elmo_vector", "divided by the length of the row", "mean over padding: you divide")(
    pooled(pool=lambda h, m: (h * m).mean(1)))
wrong("elmo_vector", "padding summed up", "this is a mean over padding. Set it to zero")(
    pooled(pool=lambda h, m: h.sum(1) / m.sum(1).clamp(min=1)))
wrong("elmo_vector", "mask ignored", "mean over padding")(pooled(pool=lambda h, m: h.mean(1)))
wrong("elmo_vector", "an empty text divided by 0", "0 / 0")(pooled(pool=lambda h, m: (h * m).sum(1) / m.sum(1)))


def masking(chosen_of: Callable | None = None, kinds: Callable | None = None, low: int = len(SPECIAL_PIECES),
            labels_of: Callable | None = None, p: float = 0.15, seeded: bool = True, inplace: bool = False,
            generator_of: Callable = lambda generator: generator, random_of: Callable | None = None) -> Callable:
    """An answer to task 6 with one part replaced."""

    def answer(token_ids: Tensor, generator: torch.Generator, vocab_size: int) -> tuple[Tensor, Tensor]:
        g = generator_of(generator) if seeded else None
        uniform = lambda: torch.rand(token_ids.shape, generator=g)
        form = (token_ids == PAD_ID) | (token_ids == CLS_ID) | (token_ids == SEP_ID)
        chosen = uniform() < p
        chosen = chosen_of(chosen) if chosen_of else chosen & ~form
        u = uniform()
        hidden, replaced = kinds(u, uniform) if kinds else (u < 0.8, (u >= 0.8) & (u < 0.9))
        random_ids = (random_of(token_ids, g) if random_of else
                      torch.randint(low, vocab_size, token_ids.shape, generator=g))
        original, inputs = token_ids.clone(), token_ids if inplace else token_ids.clone()
        inputs[chosen & hidden] = MASK_ID
        inputs[chosen & replaced] = random_ids[chosen & replaced]
        labels = labels_of(original, inputs, form, uniform) if labels_of else original.where(chosen, IGNORE_INDEX)
        return inputs, labels

    return answer


wrong("mask_tokens", "independent draws overlap", "independent of each other, so they overlap")(
    masking(kinds=lambda u, uniform: (u < 0.8, uniform() < 0.1)))
wrong("mask_tokens", "inputs and labels drawn apart", "inputs and labels were drawn independently")(
    masking(labels_of=lambda ids, inputs, form, uniform: ids.where((uniform() < 0.15) & ~form, IGNORE_INDEX)))
wrong("mask_tokens", "a label everywhere", "Every position has a label")(
    masking(labels_of=lambda ids, inputs, form, uniform: ids))
wrong("mask_tokens", "labels taken after masking", "A label is not the piece that stood there")(
    masking(labels_of=lambda ids, inputs, form, uniform: inputs.where(inputs != ids, IGNORE_INDEX)))
wrong("mask_tokens", "special pieces chosen", "[PAD], [CLS] or [SEP] was chosen")(
    masking(chosen_of=lambda chosen: chosen))
wrong("mask_tokens", "all become [MASK]", "it should be 80, 10 and 10 %")(
    masking(kinds=lambda u, uniform: (u < 2, u > 2)))
wrong("mask_tokens", "30 % chosen", "should choose 15 %")(masking(p=0.3))
wrong("mask_tokens", "special pieces at random", "one of the special ones")(masking(low=0))
wrong("mask_tokens", "another generator", "With the same generator the masks were others")(masking(seeded=False))
SEEDED = lambda: torch.Generator().manual_seed(0)
SMALLEST, LARGEST = len(SPECIAL_PIECES), 1_012  # of the ids that may stand in a text of this grader
wrong("mask_tokens", "a seed of its own", "100% are chosen again")(masking(generator_of=lambda generator: SEEDED()))
wrong("mask_tokens", "a seed of its own for what becomes of a piece", "become the same with both")(
    masking(kinds=lambda u, uniform: (lambda v: (v < 0.8, (v >= 0.8) & (v < 0.9)))(
        torch.rand(u.shape, generator=SEEDED()))))
wrong("mask_tokens", "the next id as a random piece", "The random pieces are not random")(
    masking(random_of=lambda ids, g: torch.where(ids < LARGEST, ids + 1, SMALLEST)))
wrong("mask_tokens", "the piece beside it as a random piece", "The random pieces are not random")(
    masking(random_of=lambda ids, g: ids.roll(1, 1).where(ids.roll(1, 1) >= SMALLEST, SMALLEST)))
wrong("mask_tokens", "random pieces by a seed of their own", "The random pieces are not random")(
    masking(random_of=lambda ids, g: torch.randint(SMALLEST, LARGEST + 1, ids.shape, generator=SEEDED())))
wrong("mask_tokens", "one distance for all random pieces", "The random pieces are not random")(
    masking(random_of=lambda ids, g: SMALLEST + (ids - SMALLEST + torch.randint(1, LARGEST, (), generator=g))
            % (LARGEST + 1 - SMALLEST)))
wrong("mask_tokens", "the text itself changed", "You changed `token_ids` itself")(masking(inplace=True))


def attend(scores: Callable = lambda q, k: q @ k.mT / math.sqrt(q.shape[-1]), axis: int = -1,
           mask_of: Callable = lambda s, m: s.masked_fill(~m, -torch.inf),
           after: Callable = lambda shares, m: shares) -> Callable:
    """An answer to task 7 with one part replaced."""

    def answer(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        m = mask.unsqueeze(1)
        return after(mask_of(scores(q, k), m).softmax(dim=axis), m) @ v

    return answer


wrong("attention", "unscaled", "The scores are unscaled")(attend(lambda q, k: q @ k.mT))
wrong("attention", "divided by d", "are 0.250 times")(attend(lambda q, k: q @ k.mT / q.shape[-1]))
wrong("attention", "divided by the number of keys", "not 1 / √d")(attend(lambda q, k: q @ k.mT / k.shape[1] ** 0.5))
wrong("attention", "softmax over the queries", "The softmax is over the keys")(attend(axis=1))
wrong("attention", "softmax over the texts", "The softmax is over the keys")(attend(axis=0))
wrong("attention", "mask ignored", "The mask is ignored")(attend(mask_of=lambda s, m: s))
wrong("attention", "scores of padding times 0", "is not to mask them")(attend(mask_of=lambda s, m: s * m))
wrong("attention", "masked after the softmax", "before the softmax")(
    attend(mask_of=lambda s, m: s, after=lambda shares, m: shares * m))
wrong("attention", "mask inverted", "the wrong way round")(
    attend(mask_of=lambda s, m: s.masked_fill(m & ~m.all(-1, keepdim=True), -torch.inf)))


def head(y: Tensor, W: Tensor, b: Tensor, norm: Callable, E: Tensor, c: Tensor, activation: Callable = gelu) -> Tensor:
    return norm(activation(y @ W.T + b)) @ E.T + c


def lm(reduce: Callable, logits_of: Callable = head) -> Callable:
    """An answer to task 8: losses (B, T) and which tokens are masked are handed to `reduce`."""

    def answer(y: Tensor, labels: Tensor, *parts) -> Tensor:
        masked = labels != IGNORE_INDEX
        logits = logits_of(y, *parts).flatten(0, 1)
        losses = cross_entropy(logits, labels.flatten().clamp(min=0), reduction="none").view(labels.shape)
        return reduce(losses, masked)

    return answer


MEAN = lambda losses, masked: losses[masked].sum() / max(int(masked.sum()), 1)
wrong("masked_lm_loss", "all tokens count", "The loss changes with states of tokens that were not masked")(
    lm(lambda losses, masked: losses.mean()))
wrong("masked_lm_loss", "sum", "the sum over the masked tokens")(lm(lambda losses, masked: losses[masked].sum()))
wrong("masked_lm_loss", "divided by all tokens", "You divide by all 21 tokens")(
    lm(lambda losses, masked: losses[masked].sum() / losses.numel()))
wrong("masked_lm_loss", "nan where nothing is masked", "0 / 0")(lm(lambda losses, masked: losses[masked].mean()))
wrong("masked_lm_loss", "relu", "GELU (exactly")(
    lm(MEAN, lambda *parts: head(*parts, activation=relu)))
wrong("masked_lm_loss", "no layer normalisation", "then norm")(
    lm(MEAN, lambda y, W, b, norm, E, c: head(y, W, b, lambda h: h, E, c)))
wrong("masked_lm_loss", "no output bias", "Is c added")(
    lm(MEAN, lambda y, W, b, norm, E, c: head(y, W, b, norm, E, 0 * c)))
wrong("masked_lm_loss", "softmax over the tokens", "The softmax is over the tokens")(
    lambda y, labels, *parts: -head(y, *parts).log_softmax(1)[labels != IGNORE_INDEX].gather(
        1, labels[labels != IGNORE_INDEX].unsqueeze(1)).sum() / max(int((labels != IGNORE_INDEX).sum()), 1))

wrong("layer_rates", "upside down", "the wrong way round")(lambda G, eta, d: [eta * d**k for k in range(G)])
wrong("layer_rates", "off by one", "one power of δ too small")(lambda G, eta, d: [eta * d ** (G - k) for k in range(G)])
wrong("layer_rates", "all alike", "all alike")(lambda G, eta, d: [eta] * G)
wrong("layer_rates", "rates on a line", "the rates should be")(
    lambda G, eta, d: [eta * (1 - d * (G - k) / G) for k in range(1, G + 1)])
wrong("layer_rates", "one rate", "a list of 4 rates")(lambda G, eta, d: eta * d)


def forgotten(of: Callable, combine: Callable = lambda before, after: after - before) -> Callable:
    """An answer to task 10 from a loss of logits and targets."""
    return lambda before, after, targets: combine(of(before, targets), of(after, targets))


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)


REAL = lambda logits, targets: token_losses(logits, targets)[targets != 0].mean()
wrong("forgetting", "before − after", "It is after − before")(forgotten(REAL, lambda before, after: before - after))
wrong("forgetting", "after alone", "the loss afterwards")(forgotten(REAL, lambda before, after: after))
wrong("forgetting", "bits", "in bits")(forgotten(REAL, lambda before, after: (after - before) / math.log(2)))
wrong("forgetting", "perplexities", "perplexities")(forgotten(REAL, lambda before, after: after.exp() - before.exp()))
wrong("forgetting", "padding counted", "mean over padding")(forgotten(lambda z, y: token_losses(z, y).mean()))
wrong("forgetting", "padding in the divisor", "You divide by all 21 tokens")(
    forgotten(lambda z, y: token_losses(z, y)[y != 0].sum() / y.numel()))
wrong("forgetting", "mean of the texts' means", "The mean is over tokens")(
    forgotten(lambda z, y: torch.stack([REAL(z[b : b + 1], y[b : b + 1]) for b in range(len(y))]).mean()))
wrong("forgetting", "softmax over the tokens", "the softmax is over the tokens")(
    forgotten(lambda z, y: -z.log_softmax(1).gather(2, y.unsqueeze(2)).squeeze(2)[y != 0].mean()))


SCALED = lambda q, k: q @ k.mT / math.sqrt(q.shape[-1])


def looking_back(mask_of: Callable = lambda T: torch.ones(T, T).tril().bool(), score: Callable = SCALED, axis: int = -1,
                 hide: Callable = lambda s, m: s.masked_fill(~m, -torch.inf),
                 after: Callable = lambda shares, m: shares) -> Callable:
    """An answer to task 11 with one part replaced."""

    def answer(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        m = mask_of(q.shape[1])
        return after(hide(score(q, k), m).softmax(dim=axis), m) @ v

    return answer


def leaking_by_the_gradient(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    everything = attend()(q, k, v, torch.ones(k.shape[:2], dtype=torch.bool))
    return looking_back()(q, k, v) + everything - everything.detach()


wrong("causal_attention", "no mask", "The future leaks: the result at token 1")(looking_back(hide=lambda s, m: s))
wrong("causal_attention", "scores of later tokens times 0", "0 is no mask")(looking_back(hide=lambda s, m: s * m))
wrong("causal_attention", "scores of later tokens a little lower", "neither is a small number")(
    looking_back(hide=lambda s, m: s.masked_fill(~m, -5.0)))
wrong("causal_attention", "leak by the gradient", "no value shows it")(leaking_by_the_gradient)
wrong("causal_attention", "one token too far", "by one token")(
    looking_back(lambda T: torch.ones(T, T).tril(diagonal=1).bool()))
wrong("causal_attention", "not itself", "A token attends to itself")(
    looking_back(lambda T: torch.ones(T, T).tril(diagonal=-1).bool()))
wrong("causal_attention", "mask inverted", "the wrong way round")(
    looking_back(lambda T: torch.ones(T, T).triu().bool()))
wrong("causal_attention", "masked after the softmax", "after the softmax")(
    looking_back(hide=lambda s, m: s, after=lambda shares, m: shares * m))
wrong("causal_attention", "softmax over the queries", "The softmax is over the keys")(looking_back(axis=1))
wrong("causal_attention", "numpy", "Compute in torch")(
    lambda *parts: torch.from_numpy(looking_back()(*(torch.from_numpy(part.numpy()) for part in parts)).numpy()))
wrong("causal_attention", "unscaled", "The scores are unscaled")(looking_back(score=lambda q, k: q @ k.mT))


def next_piece(at: slice, wanted: slice, reduce: Callable = lambda losses, real: losses[real].mean()) -> Callable:
    """An answer to task 12: losses (B, places) of the pieces `wanted`, by the logits `at` so many places."""

    def answer(logits: Tensor, token_ids: Tensor) -> Tensor:
        z, w = logits[:, at], token_ids[:, wanted]
        losses = cross_entropy(z.flatten(0, 1), w.flatten(), reduction="none").view(w.shape)
        return reduce(losses, w != PAD_ID)

    return answer


AHEAD = slice(None, -1), slice(1, None)
wrong("next_piece_loss", "not shifted", "which the model has just read")(next_piece(slice(None), slice(None)))
wrong("next_piece_loss", "shifted the wrong way", "the piece before it")(
    lambda z, w: next_piece(slice(None), slice(None), lambda losses, real: losses[w[:, 1:] != PAD_ID].mean())(
        z[:, 1:], w[:, :-1]))
wrong("next_piece_loss", "padding predicted", "Padding is predicted")(
    next_piece(*AHEAD, lambda losses, real: losses.mean()))
wrong("next_piece_loss", "padding in the divisor", "You divide by 15 places")(
    next_piece(*AHEAD, lambda losses, real: losses[real].sum() / losses.numel()))
wrong("next_piece_loss", "divided by all real pieces", "has no next piece")(
    next_piece(*AHEAD, lambda losses, real: losses[real].sum() / (real.sum() + len(real))))
wrong("next_piece_loss", "sum", "Yours is the sum")(next_piece(*AHEAD, lambda losses, real: losses[real].sum()))
wrong("next_piece_loss", "bits", "in bits")(
    next_piece(*AHEAD, lambda losses, real: losses[real].mean() / math.log(2)))
wrong("next_piece_loss", "perplexity", "Yours is the perplexity")(
    next_piece(*AHEAD, lambda losses, real: losses[real].mean().exp()))
wrong("next_piece_loss", "softmax over the places", "the softmax is over the places")(
    lambda z, w: -z.log_softmax(1)[:, :-1].gather(2, w[:, 1:, None]).squeeze(2)[w[:, 1:] != PAD_ID].mean())


def prompt(at: Callable = lambda z, w: z[w == MASK_ID], score: Callable = lambda z, a, b: z[:, a] - z[:, b],
           judge: Callable = lambda s, others: s > others.median()) -> Callable:
    """An answer to task 13 with one part replaced."""

    def answer(logits: Tensor, token_ids: Tensor, a: int, b: int, unlabelled: Tensor) -> tuple[Tensor, Tensor]:
        s = score(at(logits, token_ids), a, b)
        return s, judge(s, unlabelled)

    return answer


wrong("prompt_answers", "read at [CLS]", "You read the logits at [CLS]")(prompt(lambda z, w: z[:, 0]))
wrong("prompt_answers", "read at the last place", "the last place")(prompt(lambda z, w: z[:, -1]))
wrong("prompt_answers", "wrong sign", "the wrong sign")(prompt(score=lambda z, a, b: z[:, b] - z[:, a]))
wrong("prompt_answers", "difference of probabilities", "You compare probabilities")(
    prompt(score=lambda z, a, b: z.softmax(1)[:, a] - z.softmax(1)[:, b]))
wrong("prompt_answers", "positive word alone", "the positive word alone")(
    prompt(score=lambda z, a, b: z.log_softmax(1)[:, a]))
wrong("prompt_answers", "softmax over the texts", "The scores should be")(
    prompt(score=lambda z, a, b: z.log_softmax(0)[:, a] - z.log_softmax(0)[:, b]))
wrong("prompt_answers", "threshold 0", "Your threshold is 0")(prompt(judge=lambda s, others: s > 0))
wrong("prompt_answers", "threshold the mean", "the mean of the scores")(
    prompt(judge=lambda s, others: s > others.mean()))
wrong("prompt_answers", "threshold their own median", "the very texts")(prompt(judge=lambda s, others: s > s.median()))
wrong("prompt_answers", "answers inverted", "the wrong way round")(prompt(judge=lambda s, others: s < others.median()))


def soft(of_teacher: Callable = lambda x, τ: x / τ, of_student: Callable = lambda z, τ: z / τ, axis: int = -1,
         divergence: Callable = lambda log_p, log_q: log_p.exp() * (log_p - log_q),
         reduce: Callable = lambda losses, τ: τ**2 * losses.sum(-1).mean(), still: bool = True) -> Callable:
    """An answer to task 14 with one part replaced."""

    def answer(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        log_p = of_teacher(teacher.detach() if still else teacher, temperature).log_softmax(axis)
        return reduce(divergence(log_p, of_student(student, temperature).log_softmax(axis)), temperature)

    return answer


wrong("distillation_loss", "no τ²", "The factor τ² is missing")(soft(reduce=lambda losses, τ: losses.sum(-1).mean()))
wrong("distillation_loss", "τ for τ²", "You scale by τ. It is τ²")(
    soft(reduce=lambda losses, τ: τ * losses.sum(-1).mean()))
wrong("distillation_loss", "sum over the tokens", "the sum over the tokens")(
    soft(reduce=lambda losses, τ: τ**2 * losses.sum()))
wrong("distillation_loss", "mean over the vocabulary", "mean over the vocabulary")(
    soft(reduce=lambda losses, τ: τ**2 * losses.mean()))
wrong("distillation_loss", "softmax over the tokens", "over the wrong axis")(soft(axis=0))
wrong("distillation_loss", "divergence turned round", "the wrong way round")(
    soft(divergence=lambda log_p, log_q: log_q.exp() * (log_q - log_p)))
wrong("distillation_loss", "teacher alone softened", "divide the student's logits")(soft(of_student=lambda z, τ: z))
wrong("distillation_loss", "student alone softened", "divide the teacher's logits")(soft(of_teacher=lambda x, τ: x))
wrong("distillation_loss", "logits times τ", "You multiply the logits")(soft(lambda x, τ: x * τ, lambda z, τ: z * τ))
wrong("distillation_loss", "cross-entropy", "the teacher's own entropy")(
    soft(divergence=lambda log_p, log_q: -log_p.exp() * log_q))
wrong("distillation_loss", "numpy", "Compute in torch")(
    lambda z, x, τ: torch.from_numpy(soft()(torch.from_numpy(z.numpy()), torch.from_numpy(x.numpy()), τ).numpy()))
wrong("distillation_loss", "the teacher learns", "The gradient reaches the teacher")(soft(still=False))


def glove(weight: Callable = lambda x, x_max: (x / x_max).pow(0.75).clamp(max=1), target: Callable = torch.log,
          bias: Callable = lambda b, b_: b.unsqueeze(1) + b_, reduce: Callable = torch.sum) -> Callable:
    """An answer to task 15 with one part replaced."""

    def answer(w: Tensor, w_: Tensor, b: Tensor, b_: Tensor, X: Tensor, x_max: float) -> Tensor:
        error = w @ w_.T + bias(b, b_) - target(X)
        return reduce((weight(X, x_max) * error**2)[X > 0])

    return answer


wrong("glove_loss", "log 0", "Leave those pairs out")(
    lambda w, w_, b, b_, X, x_max: ((X / x_max).clamp(max=1) * (w @ w_.T - X.log()) ** 2).sum())
wrong("glove_loss", "no weights", "f(X_ij) are missing")(glove(lambda x, x_max: torch.ones_like(x)))
wrong("glove_loss", "weights not cut", "A weight is above 1")(glove(lambda x, x_max: (x / x_max).pow(0.75)))
wrong("glove_loss", "no power", "The power ¾")(glove(lambda x, x_max: (x / x_max).clamp(max=1)))
wrong("glove_loss", "no biases", "The biases are missing")(glove(bias=lambda b, b_: 0))
wrong("glove_loss", "biases swapped", "the wrong way round")(glove(bias=lambda b, b_: b + b_.unsqueeze(1)))
wrong("glove_loss", "counts for logarithms", "compared with counts")(glove(target=lambda X: X))
wrong("glove_loss", "log(1 + x)", "You take log(1 + X_ij)")(glove(target=torch.log1p))
wrong("glove_loss", "mean", "the mean over the pairs")(glove(reduce=torch.mean))
wrong("glove_loss", "half", "half of the sum")(glove(reduce=lambda losses: losses.sum() / 2))
