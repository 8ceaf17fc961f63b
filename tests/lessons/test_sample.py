"""Claims about the built-in corpora, checked by reading the texts and not by asking the grammar.

The one that matters most: the labelled reviews alone do not teach what the test words mean, and the unlabelled do.
"""

import hashlib
import math
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from minitransfer.text.sample import LEXICON, SENSES, articles, reviews, sense_contexts

ROOT = Path(__file__).resolve().parents[2]
DENIALS = {"not", "hardly", "never", "isn't", "far", "neither", "nobody", "no"}


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def half(name: str) -> dict[str, int]:
    """The opinion words of one half of the lexicon, each with +1 or -1."""
    signs = {"positive": 1, "negative": -1}
    return {w: s for polarity, s in signs.items() for group in LEXICON[polarity][name].values() for w in group}


OPINION = half("A") | half("B")


def verdict_by_rule(text: str) -> set[int]:
    """The labels that a reader who knows the lexicon, denial and contrast finds in the sentences of a review."""
    labels = set()
    for sentence in text.split("."):
        contrast = re.fullmatch(r"\s*(?:.*, but|Although .*?,) (.*)", sentence)
        last_clause = words(contrast[1] if contrast else sentence)
        for i, word in enumerate(last_clause):
            if word in OPINION:
                denied = bool(DENIALS & set(last_clause[:i]))
                labels.add(int((OPINION[word] > 0) != denied))
    return labels


def naive_bayes(data: list[tuple[str, int]]):
    """A classifier that counts single words, each on its own."""
    counts = [Counter(w for text, label in data if label == n for w in words(text)) for n in (0, 1)]
    vocabulary = set(counts[0]) | set(counts[1])
    totals = [sum(c.values()) + len(vocabulary) for c in counts]

    def log_odds(word: str) -> float:
        return math.log((counts[1][word] + 1) / totals[1]) - math.log((counts[0][word] + 1) / totals[0])

    return lambda text: int(sum(log_odds(w) for w in words(text) if w in vocabulary) > 0)


def accuracy(classify, data: list[tuple[str, int]]) -> float:
    return sum(classify(text) == label for text, label in data) / len(data)


def word_vectors(texts: list[str], *, window: int, size: int) -> dict[str, np.ndarray]:
    """Words by their company alone: positive pointwise mutual information, cut down by an SVD."""
    counts = Counter(w for text in texts for w in words(text))
    index = {w: i for i, w in enumerate(w for w in counts if counts[w] >= 20)}
    near = np.zeros((len(index), len(index)))
    for text in texts:
        ids = [index[w] for w in words(text) if w in index]
        for i, a in enumerate(ids):
            np.add.at(near, (a, ids[i + 1 : i + 1 + window]), 1)
    near += near.T
    pmi = np.log(np.maximum(near * near.sum() / np.outer(near.sum(1), near.sum(1)), 1))
    u, s, _ = np.linalg.svd(pmi)
    return dict(zip(index, u[:, :size] * np.sqrt(s[:size]), strict=True))


def mean_vectors(texts: list[str], vectors: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack([np.mean([vectors[w] for w in words(text) if w in vectors], axis=0) for text in texts])


def logistic_regression(features: np.ndarray, labels: np.ndarray):
    """Trained by plain gradient descent on standardised features."""
    mean, deviation = features.mean(0), features.std(0)
    x, w, b = (features - mean) / deviation, np.zeros(features.shape[1]), 0.0
    for _ in range(500):
        error = 1 / (1 + np.exp(-(x @ w + b))) - labels
        w, b = w - 0.5 * (x.T @ error / len(x) + 1e-3 * w), b - 0.5 * error.mean()
    return lambda other: ((other - mean) / deviation @ w + b > 0).astype(int)


def transfer_accuracy(vectors: dict[str, np.ndarray]) -> float:
    """Mean vectors of the labelled training reviews teach a classifier, which is then tried on the test reviews."""
    train, test, _ = reviews()
    labels, expected = (np.array([label for _, label in data]) for data in (train, test))
    classify = logistic_regression(mean_vectors([text for text, _ in train], vectors), labels)
    return (classify(mean_vectors([text for text, _ in test], vectors)) == expected).mean()


# ---- both corpora ----------------------------------------------------------------------


def test_two_processes_with_different_hash_seeds_write_the_same_corpora():
    code = "from minitransfer.text.sample import articles, reviews; print(repr((articles(), reviews())))"

    def digest_elsewhere(hash_seed: str) -> str:
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)
        return hashlib.sha256(run.stdout.strip()).hexdigest()

    here = hashlib.sha256(repr((articles(), reviews())).encode()).hexdigest()
    assert digest_elsewhere("1") == digest_elsewhere("4242") == here


def test_a_caller_who_changes_its_lists_changes_nobody_elses():
    train, _ = articles()
    labelled, _, _ = reviews()
    train.clear()
    labelled.clear()
    assert articles()[0] and reviews()[0]


def test_every_document_is_clean_text():
    labelled, test, unsup = reviews()
    texts = sum(articles(), []) + [text for text, _ in labelled + test] + unsup
    for text in texts:
        assert text.isascii() and not re.search(r"[{}^_]|  |\b[Aa] [aeiou]", text), text
        assert all(line and line == line.strip() for line in text.split("\n")), text


# ---- articles --------------------------------------------------------------------------


def test_articles_have_the_size_and_the_shape_of_a_small_wikitext():
    train, validation = articles()
    assert 380 <= len(train) <= 440 and 35 <= len(validation) <= 45
    assert 60_000 <= sum(len(document.split()) for document in train) <= 90_000
    assert len({document.split("\n")[0] for document in train + validation}) == len(train + validation)
    for document in train + validation:
        title, *lines = document.split("\n")
        assert re.fullmatch(r"= [^=]+ =", title)
        assert sum(line.startswith("= = ") for line in lines) >= 2
        assert all(re.fullmatch(r"= = [A-Z]\w+ = =|[A-Z].* \.", line) for line in lines)
        assert not re.search(r"\w[,.;:()]|[,;:(]\w", document)  # punctuation stands alone


def test_validation_articles_hold_names_never_seen_but_hardly_any_new_common_word():
    train, validation = (set(" ".join(part).split()) for part in articles())
    new = validation - train
    assert sum(word[0].isupper() for word in new) >= 50
    assert len([word for word in new if word[0].islower()]) <= 5


@pytest.mark.parametrize("word", SENSES)
def test_every_sense_of_an_ambiguous_word_is_frequent(word):
    count = Counter(sense for _, _, sense in sense_contexts(word))
    assert set(count) == set(SENSES[word])
    assert min(count.values()) >= (80 if word == "bank" else 50)


@pytest.mark.parametrize("word", SENSES)
def test_every_use_of_an_ambiguous_word_in_running_text_has_a_sense(word):
    train, _ = articles()
    prose = [line for document in train for line in document.split("\n") if not line.startswith("=")]
    uses = sum(token.lower() in (word, word + "s") for line in prose for token in line.split())
    contexts = sense_contexts(word)
    assert len(contexts) == uses
    assert all(sentence.split()[at].lower() in (word, word + "s") for sentence, at, _ in contexts)
    assert all(any(sentence in line for line in prose) for sentence, _, _ in contexts[::37])


def test_a_word_without_two_senses_has_no_contexts():
    with pytest.raises(KeyError):
        sense_contexts("table")


def test_the_words_around_bank_tell_its_senses_apart():
    bags = [(re.sub(r"\b[Bb]anks?\b", "", sentence), int(sense == "money"))
            for sentence, _, sense in sense_contexts("bank")]  # fmt: skip
    assert accuracy(naive_bayes(bags[:500]), bags[500:]) >= 0.95


def test_articles_show_part_of_the_opinion_words_and_none_of_the_rest():
    seen = set(words(" ".join(articles()[0]))) & set(OPINION)
    assert {w for p in LEXICON.values() for h in p.values() for w in h["adjective"]} <= seen
    assert not seen & {w for p in LEXICON.values() for h in p.values() for w in h["verb"]}


# ---- reviews ---------------------------------------------------------------------------


def test_reviews_are_balanced_and_as_long_as_promised():
    train, test, unsup = reviews()
    assert Counter(label for _, label in train) == {0: 500, 1: 500}
    assert Counter(label for _, label in test) == {0: 300, 1: 300}
    assert len(unsup) == 4000
    for text in [text for text, _ in train + test] + unsup:
        assert 25 <= len(text.split()) <= 90
        assert 3 <= text.count(".") <= 8, text


def test_no_review_is_used_twice():
    train, test, unsup = reviews()
    assert len({text for text, _ in train + test} | set(unsup)) == 5600


def test_labelled_train_and_test_share_no_opinion_word_and_unsup_shows_all_of_them():
    train, test, unsup = reviews()
    in_train, in_test, in_unsup = (
        Counter(w for text in texts for w in words(text) if w in OPINION)
        for texts in ([t for t, _ in train], [t for t, _ in test], unsup)
    )
    assert set(in_train) == set(half("A")) and set(in_test) == set(half("B"))
    assert set(in_unsup) == set(OPINION) and min(in_unsup.values()) >= 80


def test_unlabelled_reviews_mix_the_halves_of_the_lexicon():
    _, _, unsup = reviews()
    mixed = sum(bool(half("A").keys() & words(t)) and bool(half("B").keys() & words(t)) for t in unsup)
    assert mixed >= 0.7 * len(unsup)


def test_spelling_does_not_connect_the_halves():
    assert not {w[:4] for w in half("A")} & {w[:4] for w in half("B")}


def test_denial_and_contrast_are_as_frequent_in_either_class():
    train, test, _ = reviews()
    for data in (train, test):
        for label in (0, 1):
            texts = [text for text, n in data if n == label]
            assert 0.3 <= sum(bool(DENIALS & set(words(t))) for t in texts) / len(texts) <= 0.65
            assert 0.15 <= sum(", but " in t or "Although" in t for t in texts) / len(texts) <= 0.35


def test_a_reader_who_knows_the_words_and_the_two_rules_is_always_right():
    train, test, _ = reviews()
    assert all(verdict_by_rule(text) == {label} for text, label in train + test)


def test_the_readers_rules_are_the_ones_described():
    assert verdict_by_rule("There is not a dull moment in it.") == {1}
    assert verdict_by_rule("The plot is hardly moving.") == {0}
    assert verdict_by_rule("The acting is superb, but the plot is dreadful.") == {0}
    assert verdict_by_rule("Although the music is stale, it is a gem, witty and fresh.") == {1}


def test_single_words_do_well_on_the_words_they_know_but_are_not_enough():
    train, _, _ = reviews()
    known = accuracy(naive_bayes(train[:700]), train[700:])
    assert 0.70 < known < 0.97


def test_single_words_learnt_from_the_labelled_half_say_little_about_the_test_half():
    train, test, _ = reviews()
    assert accuracy(naive_bayes(train), test) <= 0.65


@pytest.mark.parametrize("window", [3, 90])
def test_the_company_words_keep_in_unlabelled_text_carries_over_to_the_test_half(window):
    _, _, unsup = reviews()
    assert transfer_accuracy(word_vectors(unsup, window=window, size=40)) >= 0.80


def test_random_vectors_do_not_carry_over():
    _, _, unsup = reviews()
    vocabulary = sorted({w for text in unsup for w in words(text)})
    draws = [np.random.default_rng(seed).normal(size=(len(vocabulary), 40)) for seed in range(7)]
    assert 0.4 <= np.mean([transfer_accuracy(dict(zip(vocabulary, v, strict=True))) for v in draws]) <= 0.6
