"""Part IV, chapter 4: evaluation. How well are masked pieces predicted, and are they still, after another task?

By the **cross-entropy loss** of masked pieces on held-out text. Training masks a text anew in each epoch; whoever
wants to compare must ask the same questions twice. So rows of held-out text are masked once, by a generator of their
own, and the loss on them can be followed: through pretraining, and through fine-tuning, which asks nothing of the
kind and may forget the answers.

Read next: `pretrain.bert.train`, the command.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from minitransfer.apparatus.runtime import generator
from minitransfer.bert.encoder import MaskedLM
from minitransfer.bert.masking import PROBABILITY, mask_tokens
from minitransfer.text.wordpiece import WordPiece

Mask = Callable[..., tuple[Tensor, Tensor]]  # (token_ids, generator, probability=…) -> (inputs, labels)


def masker(wordpiece: WordPiece, probability: float = PROBABILITY, whole_words: bool = False) -> Mask:
    """How a run masks its text: `mask_tokens`, with vocabulary size and flags filled in; by default, held-out text."""
    continues = torch.from_numpy(wordpiece.continues) if whole_words else None
    return partial(mask_tokens, vocab_size=wordpiece.vocab_size, continues=continues, probability=probability)


def mask_once(rows: Tensor, mask: Mask, seed: int) -> tuple[Tensor, Tensor]:
    """Put rows of text in an order of their own, and mask them once and for all, as `seed` alone decides.

    Shapes: rows (N, T) integers -> inputs and labels (N, T) int64.
    """
    drawn = generator(seed, "held out")
    return mask(rows[torch.randperm(len(rows), generator=drawn)].long(), drawn)


@torch.no_grad()
def masked_loss(model: MaskedLM, inputs: Tensor, labels: Tensor, batch_size: int,
                check: Callable[[], None] = lambda: None) -> dict[str, float]:
    """The cross-entropy loss and the accuracy on masked pieces.

    held_out_loss       1/M Σ −log p(w) over the M masked pieces w, in nats; 0 if there is none
    held_out_accuracy   the share of them whose logit is the largest
    held_out_masked     M

    Shapes: inputs and labels (N, T) int64, as `mask_once` returns them; `batch_size` rows make one forward pass,
    before which `check` is called; it may raise Stopped.
    """
    device, total, correct, num_masked = model.bias.device, 0.0, 0, 0
    for token_ids, some_labels in zip(inputs.split(batch_size), labels.split(batch_size)):
        check()
        logits, targets = model.decode(token_ids.to(device), some_labels.to(device))
        total += F.cross_entropy(logits, targets, reduction="sum").item()
        correct += int((logits.argmax(dim=-1) == targets).sum())
        num_masked += len(targets)
    return {"held_out_loss": total / max(num_masked, 1), "held_out_accuracy": correct / max(num_masked, 1),
            "held_out_masked": num_masked}
