"""Part III, chapter 6: evaluation. How well does a biLM predict a text, and does it still, after another task?

**Perplexity** measures it: e to the power of the **cross-entropy loss** on held-out text. Each word is predicted, out
of the whole vocabulary, from what stands before it and again from what stands behind it. This needs the two stacks and
the softmax, but they need not belong to one model: fine-tuned stacks may be given the softmax that pretraining left
behind, and show what they have forgotten.

Read next: `pretrain.bilm.train`, the command.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from minitransfer.apparatus.errors import NumericsError
from minitransfer.elmo.bilm import LSTMStack, one_after_the_other
from minitransfer.elmo.softmax import WordSoftmax
from minitransfer.text.batching import as_rows, windows
from minitransfer.text.words import PAD_ID, UNK_ID

ROWS, WINDOW = 16, 128  # a text is laid out in rows side by side, and predicted one window of tokens at a time
MOST_NATS = 700.0  # e to a higher power is no longer a number


def held_out_loss(stacks: Sequence[LSTMStack], softmax: WordSoftmax, table: Tensor, token_ids: np.ndarray,
                  run_both: Callable = one_after_the_other,
                  check: Callable[[], None] = lambda: None) -> tuple[float, float]:
    """**Cross-entropy loss** of both directions on a text: mean −log p per token over the full vocabulary, in nats.

    forward   −1/N Σ_t log p(w_t | w_1 … w_{t−1}),    backward   −1/N Σ_t log p(w_t | w_{t+1} … w_N)

    Each of the N tokens is counted once, `<eos>` too; exp of a loss is the perplexity. The text is cut into 16 rows,
    each encoded from a zero LSTM state. `check` is called before each window, and may raise Stopped.
    Shapes: table (words, D) word vectors, token_ids (N,) rows of it; ids that the softmax does not have are
    encoded by their vector, and predicted as `<unk>`.
    """
    with torch.no_grad():
        totals = run_both(*(lambda d=d: _total_loss(stacks[d], softmax, table, token_ids[:: 1 - 2 * d], check)
                            for d in (0, 1)))  # the backward model begins at the end
    ahead, back = (total / len(token_ids) for total in totals)
    return ahead, back


def check_nats(what: str, *nats: float) -> None:
    """Raises: NumericsError, which says `what`, for losses in nats that have no perplexity: e to them is no number."""
    if not all(abs(loss) < MOST_NATS for loss in nats):  # nan is not smaller either
        raise NumericsError(what)


def as_targets(token_ids: np.ndarray, vocab_size: int) -> np.ndarray:
    """What the softmax is to predict: the words themselves, and <unk> for those that it cannot predict."""
    return np.where(token_ids < vocab_size, token_ids, UNK_ID)


def _total_loss(stack: LSTMStack, softmax: WordSoftmax, table: Tensor, token_ids: np.ndarray,
                check: Callable[[], None]) -> float:
    """Sum of −log p of every token, in the order in which one direction predicts them, in nats."""
    total, state = 0.0, None
    for inputs, targets in zip(*(windows(rows, WINDOW) for rows in as_rows(token_ids, ROWS))):
        check()
        outputs, state = stack(table[torch.from_numpy(inputs).to(table.device)], state)
        real = targets.ravel() != PAD_ID
        target_ids = as_targets(targets, len(softmax.bias)).ravel()[real]
        h = outputs[-1].flatten(0, 1)[torch.from_numpy(real).to(table.device)]
        y = torch.from_numpy(target_ids).to(table.device)
        z_y = (h * softmax.weight[y]).sum(dim=1) + softmax.bias[y]
        total += (softmax.log_partition(h) - z_y).sum().item()  # −log p(y | h) = log Σ_w exp(z_w) − z_y
    return total
