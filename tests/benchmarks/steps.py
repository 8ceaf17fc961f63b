"""Benchmarks: steps. What is one step of training, ours, and as one would first write it?

Both are functions without arguments that do all of a step, clipping and AdamW included.

Next: bilm.py, the first benchmark.
"""

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch.nn import functional as F

from minitransfer.apparatus.distributed import average_gradients
from minitransfer.apparatus.optim import adamw, clip_gradients, weight_decay_groups
from minitransfer.apparatus.runtime import autocast
from minitransfer.elmo.bilm import BiLM, BiLMConfig
from minitransfer.elmo.softmax import draw
from minitransfer.text.words import spell_all
from pretrain.bilm.text import Reader
from pretrain.bilm.train import MAX_GRAD_NORM, WEIGHT_DECAY

CPU = torch.device("cpu")


def make_model(config: BiLMConfig, learning_rate: float, fixed: bool) -> tuple[BiLM, torch.optim.Optimizer]:
    """A new biLM and its optimiser."""
    torch.manual_seed(0)
    model = BiLM(config)
    model.charcnn.requires_grad_(not fixed)
    return model, adamw(weight_decay_groups(model, learning_rate, WEIGHT_DECAY))


def our_step(config: BiLMConfig, sizes: dict, text: SimpleNamespace, run_both: Callable, *, fixed: bool = True,
             full: bool = False, precision: str = "fp32") -> Callable[[], None]:
    """A job: one step as in the loop of `pretrain.bilm`."""
    model, optimizer = make_model(config, sizes["learning_rate"], fixed)
    reader, states, softmaxes = Reader(model, text, fixed), [None, None], model.softmax.twins(2)

    def step():
        negatives = None if full else draw(text.log_q, sizes["negatives"], torch.Generator().manual_seed(0))
        words = reader.read(text.inputs)

        def learn(d: int):
            noise = torch.Generator().manual_seed(d)
            with autocast(CPU, precision):
                loss, states[d] = model.direction_loss(
                    d, words[d], text.targets[d], states[d], noise, negatives, text.log_q, softmaxes[d])
            (loss / 2).backward()

        optimizer.zero_grad()
        run_both(lambda: learn(0), lambda: learn(1))
        model.softmax.take_gradients(softmaxes)
        reader.back_propagate(words)
        average_gradients(model.parameters())
        clip_gradients(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()

    return step


def plain_step(config: BiLMConfig, sizes: dict, text: SimpleNamespace, precision: str = "fp32") -> Callable[[], None]:
    """A job: one step as it would first be written, on one window that is read in both directions."""
    model, optimizer = make_model(config, sizes["learning_rate"], fixed=False)
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
