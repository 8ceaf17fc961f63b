"""Part III, around the command: both directions. How do a forward and a backward model learn in the same moment?

In the plain way a step is three lines, one direction after the other:

    for d in (0, 1):
        loss, state = model.direction_loss(d, words[d], targets[d], states[d], …)
        (loss / 2).backward()

Here each direction has a thread of its own, since an LSTM takes its time steps one by one, each too small to be worth
dividing among cores. The gradients are the same: the directions meet only in the word vectors, whose gradients are
added afterwards, and in the softmax, of which each has a copy, cut down to the candidates of the step.

Read next: `pretrain.bilm.spelling`.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from minitransfer.apparatus.distributed import gather_rows, rank_seed, share_of_rows
from minitransfer.apparatus.runtime import SideBySide, autocast, generator
from minitransfer.elmo.bilm import BiLM, State
from minitransfer.elmo.softmax import CandidateSoftmax
from pretrain.bilm.text import PerDirection, WordVectors

States = list[State | None]  # one for the forward model, one for the backward model; None at the beginning of a text


class CarriedStates:
    """The LSTM states of both directions, carried from one window to the next: each layer's h and c (1, B, H).

    With several processes, each holds the states of its own rows; what is saved has those of all B rows, so that any
    number of processes can go on from it.
    """

    def __init__(self, B: int, device: torch.device):
        self._B, self._device = B, device
        self.begin_text()

    def begin_text(self) -> None:
        """Forget what was encoded: zeros stand before the first word."""
        self.states: States = [None, None]

    def state_dict(self) -> States:
        """The states of all rows: h and c (1, B, H)."""
        return change_rows(self.states, lambda h: gather_rows(h, self._B))

    def load_state_dict(self, states: States) -> None:
        """Take this process's rows of what `state_dict` gave."""
        self.states = change_rows(states, lambda h: share_of_rows(h).contiguous().to(self._device))


def change_rows(states: States, change: Callable[[Tensor], Tensor]) -> States:
    """LSTM states after a change to their rows, which `change` is given first: (B, H) -> (…, H)."""
    return [direction and [(change(h[0]).unsqueeze(0), change(c[0]).unsqueeze(0)) for h, c in direction]
            for direction in states]


class Directions:
    """Has both directions of a biLM predict their windows at the same time, and back-propagates their losses.

    seed: decides, with the step, what dropout drops.
    """

    def __init__(self, model: BiLM, word_vectors: WordVectors, seed: int, precision: str, side_by_side: SideBySide):
        self._model, self._word_vectors, self._seed = model, word_vectors, seed
        self._precision, self._side_by_side = precision, side_by_side

    def back_propagate(self, inputs: PerDirection, targets: PerDirection, candidates: CandidateSoftmax, states: States,
                       step: int) -> tuple[list[float], States]:
        """Leave the gradients of ½ (forward + backward) in the model's parameters, and in those of `candidates`.

        Returns the loss of each direction, mean per token in nats, and the LSTM states after the window.
        Shapes: inputs and targets (B, T) int64 of each direction.
        """
        words = self._word_vectors.of(inputs)
        places, log_q = [candidates.places(ids) for ids in targets], self._word_vectors.log_q[candidates.word_ids]
        learn = partial(self._direction, words, places, candidates, log_q, states, step)
        (forward, forward_state), (backward, backward_state) = self._side_by_side(partial(learn, 0), partial(learn, 1))
        candidates.add_gradients()
        self._word_vectors.back_propagate(words)
        return [forward, backward], [forward_state, backward_state]

    def _direction(self, words: PerDirection, targets: PerDirection, candidates: CandidateSoftmax, log_q: Tensor,
                   states: States, step: int, d: int) -> tuple[float, State]:
        """One direction predicts its window, and back-propagates half of its loss."""
        device = self._word_vectors.device
        noise = generator(self._seed, "dropout", step, d, *rank_seed(), device=device)
        with autocast(device, self._precision):
            loss, state = self._model.direction_loss(d, words[d], targets[d], states[d], noise, candidates.negatives,
                                                     log_q, candidates.copies[d])
        (loss / 2).backward()
        return loss.item(), state
