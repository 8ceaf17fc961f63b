"""Part IV, around inspecting: filling in. What does a masked language model think has been left out?

The question of pretraining, asked of a text of one's own. Of each [MASK] BERT says how probable every piece is, given
all that stands to its left and right; of several masks it guesses each by itself, without knowing the other answers.

Read next: `pretrain.inspect.agreement`.
"""

import numpy as np
import torch

from minitransfer.apparatus.errors import UsageError
from minitransfer.bert.encoder import MaskedLM
from minitransfer.text.wordpiece import CLS_ID, MASK, MASK_ID, SEP_ID, WordPiece


def ask(text: str, wordpiece: WordPiece, max_tokens: int) -> np.ndarray:
    """The pieces of a text as BERT is given it, int64 (T,). Raises: UsageError for one without [MASK], or too long."""
    parts = wordpiece.encode(text.split(MASK))
    if len(parts) < 2:
        raise UsageError(f"--fill: there is no {MASK} in the text", f"write {MASK} for what is to be guessed")
    body = [piece for part in parts for piece in (*part, MASK_ID)][:-1]
    if len(body) > max_tokens - 2:
        what = f"--fill: the text is {len(body):,} pieces, and this run was pretrained on up to {max_tokens - 2:,}"
        raise UsageError(what, "give a shorter text")
    return np.array([CLS_ID, *body, SEP_ID], np.int64)


@torch.no_grad()
def guesses(model: MaskedLM, question: np.ndarray, how_many: int) -> list[list[tuple[int, float]]]:
    """For each [MASK] of a question, int64 (T,), the likeliest pieces, likeliest first, as (token id, probability).

    p(w) = exp(z_w) / Σ_v exp(z_v),   z the logits of `MaskedLM` at the mask
    """
    token_ids = torch.from_numpy(question).to(model.bias.device)
    z = model(token_ids.unsqueeze(0))[0, token_ids == MASK_ID].float()  # (M, V)
    p, ids = z.softmax(dim=-1).topk(min(how_many, z.shape[1]))
    return [list(zip(of_mask, probabilities)) for of_mask, probabilities in zip(ids.tolist(), p.tolist())]
