"""Graders of tasks 6 to 8: masking, attention, and the masked-LM head with its loss."""

import math
from collections.abc import Callable

import torch
from bert_by_loops import B, T, logits_by_loops, make_model, some_labels, some_tokens, weights_of
from binomial import as_often_as
from elmo_by_loops import minus_log_p
from torch import Tensor
from wrong import ask, close, drawn, number, require, several, tensor

from minitransfer.bert.masking import IGNORE_INDEX
from minitransfer.text.wordpiece import CLS_ID, MASK_ID, PAD_ID, SEP_ID, SPECIAL_PIECES

ROWS, LENGTH, VOCAB_SIZE = 401, 997, 1_013  # enough pieces that 72 % cannot pass for 80 %


def some_text() -> Tensor:
    """Rows of [CLS] pieces [SEP] pieces [SEP] padding."""
    draw = torch.Generator().manual_seed(977)  # no seed that an answer is likely to use
    token_ids = torch.randint(len(SPECIAL_PIECES), VOCAB_SIZE, (ROWS, LENGTH), generator=draw)
    token_ids[:, 0], token_ids[:, LENGTH // 3], token_ids[:, -4] = CLS_ID, SEP_ID, SEP_ID
    token_ids[:, -3:] = PAD_ID
    return token_ids


def masked(function: Callable, token_ids: Tensor, seed: int = 1) -> list[Tensor]:
    answer = function(token_ids, torch.Generator().manual_seed(seed), VOCAB_SIZE)
    return several(answer, (tuple(token_ids.shape), "the inputs"), (tuple(token_ids.shape), "the labels"))


def mask_tokens(function: Callable) -> None:
    token_ids = some_text()
    before = token_ids.clone()
    inputs, labels = ask(lambda: masked(function, token_ids))
    require(torch.equal(token_ids, before), "You changed `token_ids` itself. The next epoch masks the same text anew, "
            "and would find the masks of this one in it: work on a copy.")
    chosen = labels != IGNORE_INDEX
    form = (token_ids == PAD_ID) | (token_ids == CLS_ID) | (token_ids == SEP_ID)
    require(not chosen.all(), "Every position has a label, so the loss would ask for all pieces, most of which the "
            "model can see. The label is IGNORE_INDEX where a piece was not chosen.")
    require(not (chosen & form).any(), "[PAD], [CLS] or [SEP] was chosen. These only give a text its form, and are "
            "never to be predicted.")
    require(torch.equal(labels[chosen], token_ids[chosen]), "A label is not the piece that stood there. Take the "
            "labels from `token_ids`, before anything is masked.")
    require(torch.equal(inputs[~chosen], token_ids[~chosen]), "Pieces were changed whose label is IGNORE_INDEX: inputs "
            "and labels were drawn independently. Draw once which pieces are chosen, and use that for both.")
    n, of = int(chosen.sum()), int((~form).sum())
    require(as_often_as(0.15, n, of), f"You chose {n / of:.1%} of the pieces, and should choose 15 %.")
    hidden = int((inputs[chosen] == MASK_ID).sum())
    replaced = int(((inputs != token_ids) & (inputs != MASK_ID))[chosen].sum())
    shares = f"{hidden / n:.1%} [MASK], {replaced / n:.1%} another piece, {(n - hidden - replaced) / n:.1%} themselves"
    require(not as_often_as(0.18, n - hidden - replaced, n), f"Of the chosen pieces became: {shares}; it should be 80, "
            "10 and 10 %. The draws for [MASK] and for a random piece were independent of each other, so they overlap. "
            "Draw one uniform number u for each piece: below 0.8, from there to 0.9, from there on.")
    itself = 1 / (VOCAB_SIZE - len(SPECIAL_PIECES))  # how often a random piece is the one that stood there
    require(as_often_as(0.8, hidden, n) and as_often_as(0.1 * (1 - itself), replaced, n),
            f"Of the chosen pieces became: {shares}; it should be 80, 10 and 10 %.")
    random_places = chosen & (inputs != MASK_ID) & (inputs != token_ids)
    random_ids = inputs[random_places]
    require(int(random_ids.min()) >= len(SPECIAL_PIECES), "A random piece was one of the special ones. Draw from "
            f"{len(SPECIAL_PIECES)} to vocab_size − 1.")
    require(len(random_ids.unique()) > 0.9 * VOCAB_SIZE, "The random pieces are only "
            f"{len(random_ids.unique())} different ones: draw one for each position, from the whole vocabulary.")
    again = ask(lambda: masked(function, token_ids))
    require(torch.equal(inputs, again[0]) and torch.equal(labels, again[1]), "With the same generator the masks were "
            "others. Give `generator=generator` to everything that draws: then an interrupted run can draw them again.")
    other_inputs, other_labels = ask(lambda: masked(function, token_ids, seed=2))
    twice = chosen & (other_labels != IGNORE_INDEX)  # chosen by each of two generators
    require(as_often_as(0.15, int(twice.sum()), n), "Another generator should choose other pieces, and of yours "
            f"{twice.sum() / n:.0%} are chosen again, where 15 % should be. Draw by the given generator, and give it "
            "no seed: otherwise each epoch masks the same pieces.")
    kinds = [(part == MASK_ID).int() - (part == token_ids).int() for part in (inputs, other_inputs)]
    alike = (kinds[0] == kinds[1])[twice].double().mean()
    require(bool(alike < 0.8), f"Of the pieces that two generators choose, {alike:.0%} become the same with both: "
            "[MASK], another piece, or themselves. It should be 66 %. Draw u by the given generator, too.")
    replaced_twice = twice & (kinds[0] == 0) & (kinds[1] == 0)
    other_ids = other_inputs[(other_labels != IGNORE_INDEX) & (kinds[1] == 0)]
    fewer = min(len(random_ids), len(other_ids))
    pairs = torch.stack([token_ids[random_places], random_ids])
    require(not any(bool((a == b).double().mean() > 0.5) for a, b in (
        (inputs[replaced_twice], other_inputs[replaced_twice]),  # place by place
        (random_ids[:fewer], other_ids[:fewer]),  # one after the other
    )) and len(pairs.unique(dim=1)[0]) > 0.9 * len(random_ids), "The random pieces are not random: what stands in the "
            "text, or its position, decides which they are. Draw them by the generator, from the whole vocabulary.")


def attention_by_loops(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Each query by itself, over the keys that the mask allows."""
    result = torch.zeros(*q.shape[:2], v.shape[2], dtype=q.dtype)
    for b, allowed in enumerate(mask):
        keys, values = k[b, allowed].tolist(), v[b, allowed].tolist()
        for t, query in enumerate(q[b].tolist()):
            shares = weights_of(query, keys)
            result[b, t] = torch.tensor([sum(s * value[i] for s, value in zip(shares, values))
                                         for i in range(v.shape[2])])
    return result


def attention(function: Callable) -> None:
    B, T, S, d, e = 2, 3, 5, 4, 6
    q, k, v = drawn(B, T, d, seed=1), drawn(B, S, d, seed=2), drawn(B, S, e, seed=3)
    everything = torch.ones(B, S, dtype=torch.bool)
    what = "the attention of 3 queries over 5 keys"
    found = tensor(ask(function, q, k[:, :1].expand(B, S, d), v, everything), (B, T, e), what)
    require(close(found, v.mean(dim=1, keepdim=True).expand(B, T, e)), "Where all keys are alike each query should get "
            "the mean of the values. Yours gets something else: the weights of a query do not sum to 1 over the keys. "
            "The softmax is over the keys, the last axis of the scores (B, T, S).")
    keys = torch.tensor([[[0.0, 0, 0, 0], [1.0, 0, 0, 0]]], dtype=torch.float64)
    values, both = torch.eye(2, dtype=torch.float64).unsqueeze(0), torch.ones(1, 2).bool()
    shares = tensor(ask(function, torch.ones(1, 1, d).double(), keys, values, both), (1, 1, 2), what)[0, 0]
    require(bool((shares > 0).all()), "A weight is not positive: the weights are a softmax of the scores.")
    scale = float(shares.log().diff())
    require(abs(scale - 1) > 1e-3, "The scores are unscaled: q·k has to be divided by √d. Unscaled scores grow with "
            "√d, and their softmax puts nearly all weight on one key.")
    require(abs(scale - 0.5) < 1e-3, "The scale of the scores is not 1 / √d. With d = 4 they should be 0.5 times q·k, "
            f"and yours are {scale:.3f} times.")
    mask = torch.tensor([[True] * 5, [True, True, False, True, False]])
    garbage_k = torch.where(mask.unsqueeze(-1), k, 3.0)
    garbage_v = torch.where(mask.unsqueeze(-1), v, -7.0)
    found = tensor(ask(function, q, k, v, mask), (B, T, e), what)
    only_padding = attention_by_loops(q[1:], k[1:], v[1:], ~mask[1:])
    require(not close(found[1:], only_padding), "The mask is the wrong way round: the queries attend to the padding "
            "alone. True marks a real token.")
    ignored = attention_by_loops(q, k, v, everything)
    require(not close(found, ignored), "The mask is ignored: real tokens attend to padding. Scores of padding become "
            "−∞ before the softmax.")
    require(close(tensor(ask(function, q, garbage_k, garbage_v, mask), (B, T, e), what), found), "What stands in the "
            "padding changes the result. To multiply scores by 0 is not to mask them, since e⁰ = 1, and to mask after "
            "the softmax leaves weights that do not sum to 1: scores of padding become −∞ before the softmax.")
    require(close(found, attention_by_loops(q, k, v, mask)), "The result is not softmax(q kᵀ / √d) v, worked out query "
            "by query. Each query gets the values v, weighted by how well their keys suit it.")


def masked_lm_loss(function: Callable) -> None:
    model = make_model().requires_grad_(False)
    D = model.config.hidden_size
    parts = [model.dense.weight.detach(), model.dense.bias.detach(), model.norm,
             model.bert.embeddings.tokens.weight.detach(), model.bias.detach()]
    asked = [(0, 6), (0, 1), (1, 3), (2, 0)]
    y, token_ids = drawn(B, T, D, seed=1), some_tokens(B, T)
    labels = some_labels(token_ids, *asked)
    nothing = torch.full_like(labels, IGNORE_INDEX)

    def loss(states: Tensor, wanted: Tensor, head: list = parts) -> float:
        what = "The loss where nothing is masked, which should be 0 and not 0 / 0," if wanted is nothing else "The loss"
        return number(ask(function, states, wanted, *head), what)

    c = parts[4]
    flat = parts[:3] + [torch.zeros_like(parts[3]), c]  # without embeddings the logits are c, at every token
    expected = sum(minus_log_p(c.tolist(), int(labels[b, t])) for b, t in asked) / len(asked)
    found = loss(y, labels, flat)
    require(all(abs(found - math.log(n)) > 1e-4 for n in (T, B, B * T, len(asked))), "The softmax is over the tokens. "
            "It is over the vocabulary, the last axis of the logits.")
    require(abs(found - expected * len(asked)) > 1e-4, "You return the sum over the masked tokens. The loss is their "
            "mean: otherwise it grows with the batch.")
    require(abs(found - expected * len(asked) / (B * T)) > 1e-4, f"You divide by all {B * T} tokens. The mean is over "
            f"the {len(asked)} masked ones, whose label is not IGNORE_INDEX.")
    other = torch.where((labels == IGNORE_INDEX).unsqueeze(-1), drawn(B, T, D, seed=2), y)
    require(abs(loss(other, labels) - loss(y, labels)) < 1e-6, "The loss changes with states of tokens that were not "
            "masked. Its labels say which ones count: leave out those whose label is IGNORE_INDEX (−100).")
    require(abs(found - expected / math.log(2)) > 1e-4, "Your loss is in bits. Nats come from the natural logarithm.")
    require(abs(found - expected) < 1e-4, f"With E = 0 the logits are c at every token, and the loss is the mean of "
            f"−log softmax(c)[label] = {expected:.4f}. Yours is {found:.4f}. Is c added, and does nothing else count "
            "but the masked tokens?")
    require(abs(loss(y, nothing)) < 1e-9, "Where nothing is masked the loss is 0.")
    logits = [logits_by_loops(model, y[b, t].tolist()) for b, t in asked]
    expected = sum(minus_log_p(z, int(labels[b, t])) for z, (b, t) in zip(logits, asked)) / len(asked)
    found = loss(y, labels)
    require(abs(found - expected) < 1e-4, f"The loss should be {expected:.4f}, worked out number by number, and yours "
            f"is {found:.4f}. The order is W y + b, then GELU (exactly z Φ(z), not an approximation), then norm, then "
            "E h + c.")
