"""Part V, chapter 2, aside: coverage. Does an encoder know the language of the texts that it is given?

**Out-of-vocabulary rate**: the share of running tokens that an encoder has learned nothing of. A word that static
vectors have not met counts as zeros; a biLM knows it by its bytes, and those of another language say little; BERT has
[UNK] for what its pieces cannot spell. Training goes on all the same, as if the task were hard, so it is said.

    rate = (running tokens that are not among those of pretraining) / (running tokens)

Read next: `minitransfer.transfer.loading`.
"""

from collections.abc import Collection

import numpy as np

from minitransfer.apparatus.saved import LoadedRun
from minitransfer.text.wordpiece import CLS_ID, SEP_ID, SPECIAL_PIECES, UNK_ID, WordPiece
from minitransfer.transfer.loading import read_tokens
from minitransfer.transfer.tokens import TokenisedTexts

AROUND = {SPECIAL_PIECES[CLS_ID], SPECIAL_PIECES[SEP_ID]}  # they stand around every text, and are no part of it
# With encoders of WikiText-2, 5.5 % of the running words of IMDB are unknown at most, and of German ones 37 % at least.
MUCH = 0.2


UNKNOWN = {  # what becomes of such a token, by kind of encoder
    "static": "running words are none of its {:,} words, and count as zeros",
    "bilm": "running words are none of the {:,} that it was trained to predict, and are told by their bytes alone",
    "bert": "word pieces are [UNK]: none of its {:,} pieces spells what stands there",
}


def unknown_rate(texts: TokenisedTexts, known: Collection[str]) -> float:
    """The share of running tokens that are not among those of pretraining; 0 for no token at all."""
    running = np.concatenate([np.empty(0, np.int32), *texts.token_ids])
    inside = np.array([token not in AROUND for token in texts.tokens])[running]
    unknown = np.array([token not in known for token in texts.tokens])[running]
    return float(unknown[inside].mean()) if inside.any() else 0.0


def warning(run: LoadedRun, kind: str, texts: TokenisedTexts) -> str | None:
    """A line with numbers if an encoder of this kind, which `run` holds, knows too little of texts; else None.

    Raises: CheckpointError if the run's tokens cannot be read.
    """
    tokens = read_tokens(run, kind)
    known = tokens.pieces if isinstance(tokens, WordPiece) else tokens.words
    rate = unknown_rate(texts, set(known) - {SPECIAL_PIECES[UNK_ID]})
    if rate <= MUCH:
        return None
    return (f"warning: {run.path} may not know the language of these texts: {rate:.0%} of their "
            f"{UNKNOWN[kind].format(len(known))}. Pretrain on text of that language: --corpus takes your own files")
