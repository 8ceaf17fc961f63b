"""Part VI, chapter 13: prompts. Can a language model classify a text with no label at all?

By **prompting** (zero-shot classification): a **template** turns the task into the question of pretraining, "… It was
[MASK].", and a **verbaliser**, a pair of words, says which answers stand for the classes (Schick and Schütze 2021,
section 3.1). BERT is asked what stands at [MASK]; a GPT, which looks back alone, what comes next where the gap begins.
Nothing is trained. But nothing tells which of two words a model likes better whatever the review, so the same scores
are also judged against their median over reviews without labels.

With labels there are two ways to go on: to train what answers (`finetune.prompt.tune`), or to show examples in the
question, and train nothing, **in-context learning** (Brown et al. 2020, section 2).

Read next: `finetune.prompt.score`, the command.
"""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minitransfer.apparatus.runtime import autocast
from minitransfer.bert.encoder import MaskedLM
from minitransfer.gpt.causal import CausalLM
from minitransfer.text.batching import batches_by_length, head_and_tail, pad
from minitransfer.text.wordpiece import CLS_ID, MASK, MASK_ID, SEP_ID, UNK_ID, WordPiece

REVIEW = "{review}"
TOKENS_PER_BATCH = 4096
FIXED = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
TEMPLATES: list[str] = FIXED["templates"]
PAIRS: list[list[str]] = FIXED["pairs"]
SAMPLE_PAIRS: list[list[str]] = FIXED["sample_pairs"]


@dataclass(frozen=True)
class Template:
    """What stands before a review and behind it, as pieces, int32 each; one of them is [MASK]."""

    before: np.ndarray
    behind: np.ndarray

    @classmethod
    def of(cls, text: str, wordpiece: WordPiece) -> "Template":
        """From a text with one {review} and one [MASK]. Raises: ValueError if it has not just these."""
        if (text.count(REVIEW), text.count(MASK)) != (1, 1):
            raise ValueError(f"a template has one {REVIEW} and one {MASK}: {text!r}")
        return cls(*(_with_mask(side, wordpiece) for side in text.split(REVIEW)))

    @property
    def asks_behind(self) -> bool:
        """Whether the gap comes after the review; a GPT can be asked nothing before."""
        return MASK_ID in self.behind

    @property
    def length(self) -> int:
        """How many pieces it adds to a review."""
        return len(self.before) + len(self.behind)

    def fill(self, review: np.ndarray, max_tokens: int, examples: Sequence[tuple[np.ndarray, int]] = ()) -> np.ndarray:
        """The question about a review, from [CLS] to [SEP], int64 (≤ max_tokens,): of a long one, head and tail.

        examples: other reviews, each with the piece that is its answer, to stand before it in templates of their own;
        all of them share the room equally.
        """
        room = (max_tokens - 2) // (len(examples) + 1) - self.length
        whole = [np.array([CLS_ID])]
        for text, answer in (*examples, (review, MASK_ID)):
            asked = np.concatenate([self.before, head_and_tail(text, room), self.behind])
            whole.append(np.where(asked == MASK_ID, answer, asked))
        return np.concatenate([*whole, [SEP_ID]]).astype(np.int64)


def _with_mask(text: str, wordpiece: WordPiece) -> np.ndarray:
    """The pieces of a text in which [MASK] is one."""
    first, *others = wordpiece.encode(text.split(MASK))
    return np.concatenate([first, *(part for other in others for part in ([MASK_ID], other))]).astype(np.int32)


def single_pieces(pairs: Sequence[Sequence[str]], wordpiece: WordPiece) -> dict[tuple[str, str], list[int]]:
    """Of the pairs, those whose words are one known piece each, with the ids of these; others cannot be asked for."""
    ids = {(a, b): np.concatenate(wordpiece.encode([a, b])).tolist() for a, b in pairs}
    return {pair: two for pair, two in ids.items() if len(two) == 2 and UNK_ID not in two}


def word_logits(model: MaskedLM, questions: Sequence[np.ndarray], words: Tensor, precision: str = "fp32",
                generator: torch.Generator | None = None) -> Tensor:
    """The logits of some words in the gap of each question, with dropout drawn from `generator` (none for None).

    BERT has them at [MASK], a GPT at the piece before: it sees neither the gap nor what stands behind.
    Shapes: questions int64 (T_i,) each, with one [MASK]; words int64 (…), token ids -> (N, …) float32.
    """
    device = model.bias.device
    token_ids, real = pad(questions)
    wanted = torch.from_numpy(np.flatnonzero(token_ids.ravel() == MASK_ID) - isinstance(model, CausalLM)).to(device)
    with autocast(device, precision):
        y = model.bert.layers(torch.from_numpy(token_ids).to(device), torch.from_numpy(real).to(device), generator,
                              wanted)[-1]
    return model.logits(y.float())[:, words]


@torch.no_grad()
def scores(model: MaskedLM, questions: Sequence[np.ndarray], pairs: Sequence[Sequence[int]], precision: str = "fp32",
           advance: Callable[[int], None] = lambda tokens: None) -> Tensor:
    """How much likelier the positive word is in the gap than the negative one, for each question and pair.

    s = log p(w⁺ | question) − log p(w⁻ | question) = z_{w⁺} − z_{w⁻},   z as `word_logits` gives them

    Shapes: questions int64 (T_i,) each, with one [MASK]; pairs (W, 2) token ids -> (N, W) float32. `advance` is told
    the tokens of each batch.
    """
    lengths, words = [len(question) for question in questions], torch.tensor(pairs, device=model.bias.device)
    found = torch.empty(len(questions), len(words))
    for rows in batches_by_length(lengths, TOKENS_PER_BATCH):
        z = word_logits(model, [questions[i] for i in rows], words, precision)  # (B, W, 2)
        found[torch.from_numpy(rows)] = (z[..., 0] - z[..., 1]).cpu()
        advance(sum(lengths[i] for i in rows))
    return found


def accuracies(s: Tensor, labels: np.ndarray, threshold: Tensor | float = 0.0) -> list[float]:
    """The share of texts called rightly, where those with s above the threshold are called positive, per pair.

    Shapes: s (N, W), labels (N,) of 0 and 1, threshold a number or (W,).
    """
    right = (s > threshold) == torch.from_numpy(labels).bool().unsqueeze(1)
    return right.double().mean(dim=0).tolist()
