"""Part VI, chapter 11: erasure. Which words moved the decision?

A classifier says what a text is, and not why. But it can be asked again, by **occlusion** or erasure (Li et al. 2016):
without one of the words it is a little less sure of its answer, or a little more, and by that much the word has spoken
for the answer or against it. One word after the other is taken out, so a text of N words is encoded N + 1 times.

What this does not see: where two words say the same, neither is missed, and a text with a word torn out may be one
that nobody would write. Of a text of one word nothing is left, and what a classifier says of that is chance. It tells
what the classifier did with this text, not what words mean.

This is the end of the path from text to answer. Read next: `minitransfer.transfer.api`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from minitransfer.text.batching import head_and_tail
from minitransfer.text.wordpiece import PREFIX
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.examples import logits_of
from minitransfer.transfer.tokens import TokenisedTexts

MOST_WORDS = 256  # of a text are taken out, one after the other: the outermost ones, if there are more


def word_importances(model: Classifier, text: str, max_tokens: int, label: int) -> list[tuple[str, float]]:
    """Each word of a text, in order, with how much it speaks for `label`, the number of a class.

    importance(w_i) = s(w_1 … w_N) − s(w_1 … w_{i−1} w_{i+1} … w_N),   s(x) = log (p / (1 − p)),  p = p(label | x)
    (leave-one-out: Li, Monroe and Jurafsky 2016, "Understanding Neural Networks through Representation Erasure")

    In nats: a word at +0.69 doubles the odds of the label, one at −0.69 halves them. The text is what the encoder
    is given of it: at most `max_tokens`, and of a longer one head and tail. A word that BERT cuts into pieces is taken
    out with all of them; of more than 256 words the outermost 256 are tried, and only they are given back. The model
    must be in evaluation mode.

    Differs: Li et al. put zeros in the place of a word's vector, compare log p, divide by the log p of the whole text
    and average over texts. Here no gap is left: an LSTM would count it as a step, and a mean would shrink by it. And
    log p flattens where a model is sure: at p = 0.99 no word could speak against the label by more than 0.01.
    """
    tokenised = model.encoder.tokenise([text], max_tokens)
    (token_ids,) = tokenised.token_ids
    tokens = [tokenised.tokens[i] for i in token_ids]
    cut = len(tokens) // 2 if tokenised.shortened[0] else 0
    spans = head_and_tail(np.array(word_spans(tokens, model.encoder.has_cls, cut)), MOST_WORDS).tolist()
    variants = [token_ids, *(np.delete(token_ids, slice(start, end)) for start, end in spans)]
    without = TokenisedTexts(tokenised.tokens, variants, np.zeros(len(variants), bool))
    s = log_odds(logits_of(model, without), label)
    words = ["".join(tokens[start:end]).replace(PREFIX, "") for start, end in spans]
    return list(zip(words, (s[0] - s[1:]).tolist()))


def word_spans(tokens: Sequence[str], framed: bool, cut: int = 0) -> list[tuple[int, int]]:
    """Where each word of a text begins, and where it ends, exclusive: `##` goes on with a word.

    `framed`: whether the text stands between [CLS] and [SEP], which are no words. `cut`: the place of the first token
    after a middle that was left out, where no word goes on.

    Example: [CLS] a play ##wright [SEP] -> (1, 2), (2, 4)
    """
    first, end = (1, len(tokens) - 1) if framed else (0, len(tokens))
    starts = [i for i in range(first, end) if i in (first, cut) or not tokens[i].startswith(PREFIX)]
    return list(zip(starts, [*starts[1:], end]))


def log_odds(logits: Tensor, label: int) -> Tensor:
    """log (p_n / (1 − p_n)) = z_n − log Σ_{m≠n} exp z_m for n = `label`, in nats: (N, classes) -> (N,) float64.

    From the logits z, because in float32 the probability of a model that is sure is 1, and its odds infinite.
    """
    z = logits.double()
    others = [m for m in range(z.shape[1]) if m != label]
    return z[:, label] - torch.logsumexp(z[:, others], dim=1)
