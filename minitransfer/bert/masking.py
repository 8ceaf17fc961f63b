"""Part IV, chapter 1: masking. What can be asked of a model that sees both sides of every word?

**Masked language modelling** asks not for the next word, which it would simply look up, but for words that are hidden
from it. A few pieces of each text are chosen; most of them become [MASK], some a piece drawn at random, some stay as
they are, and each is to be predicted. [MASK] does not occur in the texts of a task, so a model must not learn to work
only where it stands. Since the last two kinds look like any other piece, the model has to understand every position.

Read next: `minitransfer.bert.encoder`.
"""

import numpy as np
import torch
from torch import Tensor

from minitransfer.text.wordpiece import CLS_ID, MASK_ID, PAD_ID, SEP_ID, SPECIAL_PIECES

IGNORE_INDEX = -100  # what a loss leaves out: no token id, so that no piece can be left out by mistake
PROBABILITY = 0.15
MASKED, REPLACED = 0.8, 0.9  # below 0.8 becomes [MASK], from there to 0.9 a random piece, and above it stays


def mask_tokens(token_ids: Tensor, generator: torch.Generator, *, vocab_size: int, continues: Tensor | None = None,
                probability: float = PROBABILITY) -> tuple[Tensor, Tensor]:
    """Hide some pieces of a batch: the inputs of the model, and the pieces to be predicted, IGNORE_INDEX elsewhere.

    Each piece but [PAD], [CLS] and [SEP] is chosen with probability p = 15 %. Of a uniform u in [0, 1) a chosen piece

        becomes [MASK] if u < 0.8,  becomes a random piece if 0.8 ≤ u < 0.9,  stays if u ≥ 0.9

    (Devlin et al. 2019, section 3.1). One u for all three: independent draws for each would overlap. Given
    `continues`, the pieces of a word are chosen together, each word with probability p; what becomes of a piece is
    decided for each by itself.

    Differs: each piece is chosen by itself, where BERT's program chooses a fixed number in each sequence; masks are
    drawn anew in every epoch (Liu et al. 2019, section 4.1), by a `generator` that the caller derives from seed, epoch
    and step; a random piece is never a special one.
    Shapes: token_ids (B, T) int64, continues (V,) bool -> inputs and labels (B, T) int64, on the device of token_ids.
    """

    def uniform() -> Tensor:
        """Numbers between 0 and 1, one for each piece."""
        drawn = torch.rand(token_ids.shape, generator=generator, device=generator.device)
        return drawn.to(token_ids.device)  # so one CPU generator masks alike on every device

    choice, u = uniform(), uniform()  # whether a piece is chosen, and what becomes of it
    if continues is not None:
        choice = choice.gather(1, first_of_word(token_ids, continues))
    chosen = (choice < probability) & ~fixed(token_ids)
    first = len(SPECIAL_PIECES)
    random_ids = torch.randint(first, vocab_size, token_ids.shape, generator=generator, device=generator.device)
    labels = torch.where(chosen, token_ids, IGNORE_INDEX)
    inputs = torch.where(chosen & (u < MASKED), MASK_ID, token_ids)
    inputs = torch.where(chosen & (u >= MASKED) & (u < REPLACED), random_ids.to(token_ids.device), inputs)
    return inputs, labels


def fixed(token_ids: Tensor) -> Tensor:
    """Which pieces are never hidden: those that only give a text its form. bool, of the same shape."""
    return (token_ids == PAD_ID) | (token_ids == CLS_ID) | (token_ids == SEP_ID)


def first_of_word(token_ids: Tensor, continues: Tensor) -> Tensor:
    """For each piece the position where its word begins, (B, T) int64; continues (V,) bool marks pieces with ##.

    A row that was cut in the middle of a word begins with such a piece: it counts as the beginning of one.
    """
    positions = torch.arange(token_ids.shape[1], device=token_ids.device).expand_as(token_ids)
    begins = ~continues.to(token_ids.device)[token_ids]
    begins[:, 1:] |= fixed(token_ids[:, :-1])
    return torch.where(begins, positions, 0).cummax(dim=1).values


def unigram_entropy(counts: Tensor | np.ndarray) -> float:
    """The loss, in nats per piece, of a model that knows how frequent each piece is and nothing else.

    H = −Σ_w p(w) log p(w),  p(w) = count(w) / Σ_w' count(w')

    A masked language model whose loss has come down to this has learned nothing yet from what stands around a mask.
    Shapes: counts (V,), zeros allowed. Raises: ValueError if there is nothing counted.
    """
    counts = torch.as_tensor(counts, dtype=torch.float64)
    if not counts.sum() > 0:
        raise ValueError("there is no entropy where nothing was counted")
    p = counts / counts.sum()
    return torch.special.entr(p).sum().item()  # entr(p) = −p log p, and 0 for p = 0
