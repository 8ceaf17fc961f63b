"""Part VI, chapter 12: baselines. How far does counting words and pairs of words go, with no pretraining at all?

Far: on film reviews a linear classifier over a bag of uni- and bigrams is hard to beat, as Wang and Manning (2012)
showed with the recipe below, so whoever claims that pretraining pays has to be compared with it. A text is the set
of its words and of its pairs of neighbouring words, if asked for of three in a row as well; each of these is weighed by
how much more often one class has it than the other, which needs no training, and then once more by a logistic
regression, which does. Of more than two classes each is told from all the others by a regression of its own (**one
versus rest**).

Read next: `finetune.bag.train`, the command.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from minitransfer.apparatus.errors import UsageError
from minitransfer.text.words import Vocabulary
from minitransfer.transfer.tokens import TokenisedTexts, tokenise_words

SEEN = 2  # times at least: nine in ten bigrams are seen once, and what is seen once says little of other texts
UNKNOWN = -1
WHOLE = 2**31  # tokens: no review is shortened
MAX_PASSES = 400  # over the texts, for one strength; a few dozen are the rule
ITERATIONS = 10  # of L-BFGS between two looks at whether it has arrived, or is to stop
TOLERANCE = 1e-4  # arrived: no slope is steeper than this share of the steepest at the start


@dataclass(frozen=True)
class Bags:
    """Which n-grams are in each of N texts, none twice: in text i, `members[starts[i] : starts[i + 1]]`.

    members (M,) int64 of 0 … V − 1, V n-grams; starts (N + 1,) int64. This is a matrix of zeros and ones, (N, V),
    written row by row, of which almost all is zero.
    """

    members: Tensor
    starts: Tensor

    def sums(self, values: Tensor) -> Tensor:
        """What the n-grams of each text are worth together: values (V,) -> (N,) float64, the product X v.

        Added up in float32, for which torch has a kernel fifty times as fast.
        """
        return F.embedding_bag(self.members, values.float().unsqueeze(1), self.starts, mode="sum",
                               include_last_offset=True).squeeze(1).double()

    def transpose(self, num_ngrams: int) -> "Bags":
        """Which texts each n-gram is in: the matrix Xᵀ."""
        texts = torch.repeat_interleave(torch.arange(len(self.starts) - 1, device=self.members.device),
                                        self.starts.diff())
        order = self.members.argsort(stable=True)
        return Bags(texts[order], _starts(torch.bincount(self.members, minlength=num_ngrams)))

    def logits(self, weights: Tensor, b: Tensor) -> Tensor:
        """What a classifier of n-grams says of each text, as all others here say it: (N, Y) float64.

        Two classes, weights (V,) and b (1,): 0 and s, the score of class 1.
        More, weights (Y, V) and b (Y,): log σ(s_n), the softmax of which is σ(s_n) / Σ_m σ(s_m); s_n tells n from all.
        """
        if weights.dim() == 1:
            s = scores(self, weights, b)
            return torch.stack([torch.zeros_like(s), s], dim=1)
        return F.logsigmoid(torch.stack([scores(self, *of_class) for of_class in zip(weights, b)], dim=1))


@dataclass(frozen=True)
class LabelledBags:
    """Texts as bags of n-grams, and their labels, (N,) int64."""

    texts: Bags
    labels: Tensor


def renumber(texts: TokenisedTexts, vocabulary: Vocabulary) -> list[np.ndarray]:
    """The token ids of texts as another vocabulary numbers its words, int64; −1 for a word that it lacks."""
    ids = np.array([vocabulary.ids.get(word, UNKNOWN) for word in texts.tokens], np.int64)
    return [ids[token_ids] for token_ids in texts.token_ids]


def ngrams(token_ids: Sequence[np.ndarray], num_words: int, longest: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """The n-grams of each text, of one word up to `longest`, as numbers that tell all of them apart.

    code(w) = w,  code(w_1 … w_n) = (code(w_1 … w_{n−1}) + 1) · num_words + w_n

    N-grams with a word of id −1 are left out. Shapes: N arrays of token ids -> rows (the text) and codes, (M,) int64.
    Raises: UsageError for more words than n-grams so long can be told apart of in 63 bits.
    """
    if (num_words + 1) ** longest >= 2**63:
        raise UsageError(f"n-grams of {longest} words out of {num_words:,} are too many to be told apart",
                         "use shorter --ngrams, or fewer texts")
    lengths = [len(text) for text in token_ids]
    words = np.concatenate([np.empty(0, np.int64), *token_ids])
    rows = np.repeat(np.arange(len(lengths)), lengths)
    follows = np.diff(rows, prepend=-1) == 0  # the word before is of the same text
    codes = [words]  # of the n-gram that ends with each word; −1 where there is none
    for _ in range(1, longest):
        before = np.roll(codes[-1], 1)
        codes.append(np.where(follows & (before >= 0) & (words >= 0), (before + 1) * num_words + words, UNKNOWN))
    return np.concatenate([rows[code >= 0] for code in codes]), np.concatenate([code[code >= 0] for code in codes])


def seen_often(token_ids: Sequence[np.ndarray], num_words: int, longest: int = 2, least: int = SEEN) -> np.ndarray:
    """The codes of the n-grams that the texts have `least` times or more, rising, (V,) int64."""
    codes, counts = np.unique(ngrams(token_ids, num_words, longest)[1], return_counts=True)
    return codes[counts >= least]


def bags(token_ids: Sequence[np.ndarray], num_words: int, chosen: np.ndarray, longest: int = 2) -> Bags:
    """Which of the `chosen` n-grams, codes (V,) rising, are in each text; each is numbered by its place there."""
    rows, codes = ngrams(token_ids, num_words, longest)
    place = np.searchsorted(chosen, codes)
    present = place < len(chosen)
    present[present] = chosen[place[present]] == codes[present]
    places = np.sort(rows[present] * len(chosen) + place[present])  # np.unique takes twenty times as long over it
    first = np.diff(places, prepend=-1) > 0  # a text either has an n-gram or has it not
    rows, members = divmod(places[first], max(1, len(chosen)))
    return Bags(torch.from_numpy(members), _starts(torch.from_numpy(np.bincount(rows, minlength=len(token_ids)))))


def spelled(codes: np.ndarray, words: Sequence[str]) -> list[str]:
    """N-grams as a reader would write them: "good", "not good"."""
    spellings = []
    for code in codes.tolist():
        reversed_words = []
        while code >= 0:
            before, w = divmod(code, len(words))
            reversed_words.append(words[w])
            code = before - 1
        spellings.append(" ".join(reversed(reversed_words)))
    return spellings


def log_count_ratio(texts: Bags, labels: Tensor, num_ngrams: int, alpha: float = 1.0) -> Tensor:
    """How much more one class has each n-gram than the other: positive for what speaks for class 1.

    r = log((p / ‖p‖₁) / (q / ‖q‖₁)),  p = α + Σ_{i: y_i = 1} f_i,  q = α + Σ_{i: y_i = 0} f_i

    (Wang and Manning 2012, section 2.1.) f_i is what text i has of each n-gram, 0 or 1, so p and q count texts.
    Shapes: N texts, labels (N,) of 0 and 1 -> (V,) float64.
    """
    of_ngram = texts.transpose(num_ngrams)
    p = alpha + of_ngram.sums((labels == 1).double())
    q = alpha + of_ngram.sums((labels == 0).double())
    return torch.log(p / p.sum()) - torch.log(q / q.sum())


def count_ngrams(learn: tuple[Sequence[str], np.ndarray], *others: tuple[Sequence[str], np.ndarray],
                 device: torch.device, longest: int = 2) -> tuple[list[str], list[LabelledBags]]:
    """The n-grams, of up to `longest` words, that the texts to learn from have at least twice, and all texts as bags
    of these, with labels.

    learn and others: texts and labels (N,) int64. Words of the others alone are in no n-gram, so they decide nothing.
    """
    training = tokenise_words(learn[0], WHOLE)
    vocabulary = Vocabulary(training.tokens)
    chosen = seen_often(training.token_ids, len(vocabulary), longest)
    counted = []
    for texts, labels in (learn, *others):
        tokenised = training if texts is learn[0] else tokenise_words(texts, WHOLE)
        bag = bags(renumber(tokenised, vocabulary), len(vocabulary), chosen, longest)
        on_device = Bags(bag.members.to(device), bag.starts.to(device))
        counted.append(LabelledBags(on_device, torch.from_numpy(labels).to(device)))
    return spelled(chosen, vocabulary.words), counted


def scores(texts: Bags, weights: Tensor, b: Tensor) -> Tensor:
    """The logit of class 1, Σ_{j in text} weights_j + b; that of class 0 is zero. Shapes: (V,), (1,) -> (N,)."""
    return texts.sums(weights) + b


def fit_classes(labelled: LabelledBags, num_classes: int, ratios: Sequence[Tensor], strength: float,
                check: Callable[[], None] = lambda: None) -> tuple[Tensor, Tensor, int]:
    """Fit what `Bags.logits` takes: for two classes one regression, else one for each class against the rest.

    Shapes: ratios (V,) float64, r of each regression, from `class_ratios` -> r ∘ w (V,) and b (1,) of two classes,
    (Y, V) and (Y,) of more, float64. The number is how often the texts were passed over, all regressions together.
    """
    fits = [fit(labelled.texts, y, r, strength, check) for y, r in zip(_targets(labelled.labels, num_classes), ratios)]
    if num_classes == 2:
        return fits[0]
    weights, b, passes = zip(*fits)
    return torch.stack(weights), torch.cat(b), sum(passes)


def class_ratios(labelled: LabelledBags, num_classes: int, num_ngrams: int) -> list[Tensor]:
    """The log-count ratio of each regression of `fit_classes`: (V,) float64 each."""
    return [log_count_ratio(labelled.texts, y, num_ngrams) for y in _targets(labelled.labels, num_classes)]


def _targets(labels: Tensor, num_classes: int) -> list[Tensor]:
    """The labels of each regression: of two classes as they are, else 1 for a class and 0 for the rest."""
    return [labels] if num_classes == 2 else [(labels == y).long() for y in range(num_classes)]


def fit(texts: Bags, labels: Tensor, r: Tensor, strength: float,
        check: Callable[[], None] = lambda: None) -> tuple[Tensor, Tensor, int]:
    """Fit a logistic regression to n-grams scaled by r, with an L2 penalty: the w and b at which J is least.

    J(w, b) = Σ_i log(1 + exp(−(2 y_i − 1) s_i)) + ½ λ ‖w‖²,  s_i = Σ_{j in text i} r_j w_j + b
    ∂J/∂w = r ∘ Xᵀ(σ(s) − y) + λ w,  ∂J/∂b = Σ_i (σ(s_i) − y_i)

    J is convex, so where L-BFGS begins decides nothing. λ is the `strength`.
    Returns r ∘ w (V,), b (1,), and how often the texts were passed over. `check` is called now and then, and may raise
    Stopped.

    Differs: Wang and Manning take a support vector machine and draw its weights towards their mean; a logistic
    regression gives probabilities, which all the other classifiers here have too.
    """
    y, of_ngram, passes = labels.double(), texts.transpose(len(r)), 0
    w, b = (torch.zeros(size, dtype=torch.float64, device=r.device) for size in (len(r), 1))

    def J() -> Tensor:
        """The objective; its gradient goes to w and b."""
        nonlocal passes
        passes += 1
        s = scores(texts, r * w, b)
        error = s.sigmoid() - y
        w.grad = r * of_ngram.sums(error) + strength * w
        b.grad = error.sum().reshape(1)
        return F.softplus((1 - 2 * y) * s).sum() + strength / 2 * w @ w

    optimizer = torch.optim.LBFGS([w, b], max_iter=ITERATIONS, history_size=ITERATIONS, line_search_fn="strong_wolfe")
    J()
    slope = start = _steepest(w, b)
    while slope > TOLERANCE * start and passes < MAX_PASSES:
        check()
        optimizer.step(J)
        J()
        slope = _steepest(w, b)
    return r * w, b, passes


def _steepest(*parameters: Tensor) -> float:
    """The largest slope of all parameters, in size; zero where there is none."""
    return max(p.grad.abs().max().item() for p in parameters if p.numel())


def _starts(counts: Tensor) -> Tensor:
    """Where each bag begins, and where the last one ends: (N,) sizes -> (N + 1,)."""
    return F.pad(counts.cumsum(0), (1, 0))
