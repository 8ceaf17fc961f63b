"""Benchmarks: steps. What is one step of training, ours, and as one would first write it?

Both are functions without arguments that do all of a step, clipping and AdamW included.

Next: bilm.py, the first benchmark.
"""

from collections.abc import Callable
from types import MethodType, SimpleNamespace

import torch
from torch.nn import functional as F

from minitransfer.apparatus.distributed import average_gradients
from minitransfer.apparatus.optim import adamw, choose_for_rows, clip_gradients, weight_decay_groups
from minitransfer.apparatus.runtime import autocast
from minitransfer.elmo.bilm import BiLM, BiLMConfig
from minitransfer.elmo.charcnn import CharCNN
from minitransfer.elmo.softmax import CandidateSoftmax, draw
from minitransfer.text.words import spell_all
from pretrain.bilm.directions import Directions
from pretrain.bilm.text import WordVectors
from pretrain.bilm.train import MAX_GRAD_NORM
from pretrain.settings import WEIGHT_DECAY

CPU = torch.device("cpu")


def make_model(config: BiLMConfig, learning_rate: float, fixed: bool) -> tuple[BiLM, torch.optim.Optimizer]:
    """A new biLM and its optimiser, which moves whatever has a gradient."""
    torch.manual_seed(0)
    model = BiLM(config)
    model.charcnn.requires_grad_(not fixed)
    return model, adamw(weight_decay_groups(model, learning_rate, WEIGHT_DECAY))


def strongest_of_all(char_ids: torch.Tensor, c: torch.Tensor, F: torch.Tensor) -> torch.Tensor:
    """The strongest response by a product of all windows with all filters of one width: (U, C) -> (U, n)."""
    position = torch.arange(char_ids.shape[1])
    begin = torch.where(char_ids != 0, position, 0).unsqueeze(-1)  # instead of a window in the padding, the first one
    padded = torch.nn.functional.pad(c[char_ids.long()], (0, 0, 0, F.shape[2] - 1))
    windows = padded.unfold(1, F.shape[2], 1).flatten(2)
    return torch.nn.functional.linear(windows.gather(1, begin.expand_as(windows)), F.flatten(1)).amax(dim=1)


def with_plain_maximum(charcnn: CharCNN) -> CharCNN:
    """Multiply every window with every filter, and leave the gradient of the maximum to autograd."""

    def respond(charcnn: CharCNN, char_ids: torch.Tensor) -> torch.Tensor:
        padding, bytes_and_marks = charcnn.chars.weight.tensor_split([1])
        c = torch.cat([padding.detach(), bytes_and_marks])
        strongest = [strongest_of_all(char_ids, c, convolution.weight) + convolution.bias
                     for convolution in charcnn.convolutions]
        return torch.cat(strongest, dim=-1).relu()

    charcnn.respond = MethodType(respond, charcnn)
    return charcnn


def our_step(config: BiLMConfig, sizes: dict, text: SimpleNamespace, run_both: Callable, *, fixed: bool = True,
             full: bool = False, whole: bool = False, plain_maximum: bool = False,
             precision: str = "fp32") -> Callable[[], None]:
    """A job: one step as in the loop of `pretrain.bilm`.

    full: each word is chosen among all words.  whole: among few, but by gradients of all, and AdamW moves them all.
    """
    model, optimizer = make_model(config, sizes["learning_rate"], fixed)
    if plain_maximum:
        with_plain_maximum(model.charcnn)
    word_vectors, states = WordVectors(model, text, fixed), [None, None]
    directions = Directions(model, word_vectors, 0, precision, run_both)
    name = "adamw" if whole else "adagrad"
    softmax_optimizer = choose_for_rows(name, model.softmax, sizes["learning_rate"], WEIGHT_DECAY)

    def step():
        nonlocal states
        negatives = draw(text.log_q, sizes["negatives"], torch.Generator().manual_seed(0))
        candidates = CandidateSoftmax(model.softmax, text.targets, None if full or whole else negatives)
        candidates.negatives = negatives if whole else candidates.negatives
        optimizer.zero_grad()
        _, states = directions.back_propagate(text.inputs, text.targets, candidates, states, 0)
        learning = [*model.parameters(), *candidates.parameters()]
        average_gradients(learning)
        clip_gradients(learning, MAX_GRAD_NORM)
        optimizer.step()
        softmax_optimizer.step(candidates.word_ids, [p.grad for p in candidates.parameters()])

    return step


def plain_step(config: BiLMConfig, sizes: dict, text: SimpleNamespace, precision: str = "fp32") -> Callable[[], None]:
    """A job: one step as it would first be written, on one window that is read in both directions."""
    model, optimizer = make_model(config, sizes["learning_rate"], fixed=False)
    with_plain_maximum(model.charcnn)
    char_ids = torch.from_numpy(spell_all(text.vocabulary.words))[text.inputs[0].flatten(), : text.width]

    def both_losses():
        x, loss = model.charcnn(char_ids).view(*text.inputs[0].shape, -1), 0.0
        for stack, words, targets in zip(model.stacks(), (x, x.flip(1)), text.targets):
            for k, (lstm, projection) in enumerate(zip(stack.lstms, stack.projections)):
                y = projection(lstm(F.dropout(words, config.dropout))[0])
                words = y + words if k else y
            logits = F.linear(F.dropout(words, config.dropout), model.softmax.weight, model.softmax.bias)
            loss = loss + F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten()) / 2
        return loss

    def step():
        optimizer.zero_grad()
        with autocast(CPU, precision):
            loss = both_losses()
        loss.backward()
        clip_gradients(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()

    return step
