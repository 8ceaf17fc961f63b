"""Part VI, chapter 2, aside: coverage. Does an encoder know the language of the texts that it is given?

**Out-of-vocabulary rate**: the share of running tokens that an encoder has learned nothing of. A word that static
vectors have not met counts as zeros; a biLM knows it by its bytes, and those of another language say little; BERT and
GPT have [UNK] for what their pieces cannot spell. Training goes on all the same, as if the task were hard, and every
text is answered: so it is said.

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


PIECES_LACK = "word pieces are [UNK]: none of its {:,} pieces spells what stands there"
UNKNOWN = {  # what becomes of such a token, by kind of encoder
    "static": "running words are none of its {:,} words, and count as zeros",
    "bilm": "running words are none of the {:,} that it was trained to predict, and are told by their bytes alone",
    "bert": PIECES_LACK, "gpt": PIECES_LACK,
}


def count_unknown(texts: TokenisedTexts, known: Collection[str]) -> tuple[int, int]:
    """How many running tokens are not among those of pretraining, and how many there are."""
    ids, counts = np.unique(np.concatenate([np.empty(0, np.int32), *texts.token_ids]), return_counts=True)
    running = {texts.tokens[i]: int(n) for i, n in zip(ids, counts) if texts.tokens[i] not in AROUND}
    return sum(n for token, n in running.items() if token not in known), sum(running.values())


class Coverage:
    """Counts, batch by batch, how much of some texts an encoder of this kind, which `run` holds, does not know.

    Raises: CheckpointError if the run's tokens cannot be read.
    """

    def __init__(self, run: LoadedRun, kind: str):
        tokens = read_tokens(run, kind)
        self.run, self.kind, self.tokens = run, kind, tokens.pieces if isinstance(tokens, WordPiece) else tokens.words
        self.known = set(self.tokens) - {SPECIAL_PIECES[UNK_ID]}
        self.unknown = self.running = 0

    def count(self, texts: TokenisedTexts) -> "Coverage":
        """Count these texts to those before; returns itself."""
        unknown, running = count_unknown(texts, self.known)
        self.unknown, self.running = self.unknown + unknown, self.running + running
        return self

    def warning(self, deviations: float = 0) -> str | None:
        """A line with numbers if more than MUCH of what was counted is unknown, else None.

        deviations: by how many standard deviations, √(N p (1 − p)) of N tokens at p = MUCH: a few may be unknown by
        chance.
        """
        N, p = self.running, MUCH
        if self.unknown <= N * p + deviations * (N * p * (1 - p)) ** 0.5:
            return None
        return (f"warning: {self.run.path} may not know the language of these texts: {self.unknown / N:.0%} of their "
                f"{UNKNOWN[self.kind].format(len(self.tokens))}. Pretrain on text of that language: --corpus takes "
                "your own files")
