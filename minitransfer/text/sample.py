"""Part I, text into integers: the built-in corpora.

What can be read when no real corpus is at hand? Articles and film reviews written by a small grammar: templates whose
`{slots}` are filled from tables by chance. Only `random.Random(seed).random()` decides, and its values are the same
in every Python version, so the corpora are the same on every machine.

The articles use words of several senses in contexts that tell them apart. The labelled reviews are an exam for
transfer: the training half knows one half of the opinion words and the test half the other. What the test words mean
can only be learnt from text without labels: from the unlabelled reviews, which use both halves, and a little from the
articles. Denials and contrasts turn words round.

The tables are in `sample_words.toml`, `sample_articles.toml` and `sample_reviews.toml`; here is what draws from them.

Read next: `minitransfer.text.cleaning`.
"""

import functools
import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from minitransfer.text import CLASSES

__all__ = ["LEXICON", "SENSES", "articles", "reviews", "sense_contexts"]

TRAIN_ARTICLES, VALIDATION_ARTICLES = 420, 42  # whole rounds of the fourteen topics
TRAIN_REVIEWS, TEST_REVIEWS, UNSUP_REVIEWS = 1000, 600, 4000
FEWEST_WORDS, MOST_WORDS = 25, 90  # of a review
DENIED, CONTRASTED = 0.2, 0.25  # share of opinions that deny the opposite, and of reviews with a contrast
KEPT = 0.8  # of an article section's sentences after the first

Tables = Mapping[str, Sequence[str]]  # slot -> what may stand there

WORDS, ARTICLES, REVIEWS = (
    tomllib.loads(resources.files("minitransfer.text").joinpath(f"sample_{kind}.toml").read_text("utf-8"))
    for kind in ("words", "articles", "reviews")
)
SENSES: dict[str, list[str]] = WORDS["senses"]  # ambiguous word -> its senses
LEXICON: dict[str, dict[str, dict[str, list[str]]]] = WORDS["lexicon"]  # by polarity, half and part of speech
SHARED: Tables = {
    **WORDS["tables"],
    "early": [str(year) for year in range(1811, 1860)],
    "late": [str(year) for year in range(1871, 1930)],
    "recent": [str(year) for year in range(1946, 1990)],
    "number": [str(n) for n in range(21, 99)],
    "minutes": [str(n) for n in range(81, 139)],
    "hundreds": [str(n) for n in range(120, 960, 20)],
    "thousands": [f"{n},{rest}" for n in range(2, 40) for rest in ("100", "400", "500", "800")],
}
_SLOT = re.compile(r"\{(\w+)\}")
_MARK = re.compile(r"\^\w+")


def articles() -> tuple[list[str], list[str]]:
    """Encyclopaedia-like documents in WikiText's form: (train, validation).

    A document's lines are a title `= Title =`, section lines `= = History = =` and paragraphs, with a space on either
    side of every punctuation mark.
    """
    documents = [_MARK.sub("", document) for document in _marked_articles()]
    return documents[:TRAIN_ARTICLES], documents[TRAIN_ARTICLES:]


def sense_contexts(word: str) -> list[tuple[str, int, str]]:
    """Every use of an ambiguous word, or its plural, in the training articles: (sentence, position, sense).

    The word is `sentence.split()[position]`; titles are left out.
    Example: sense_contexts("bat") holds ("The bat hunts moths and beetles in the dark .", 1, "animal").
    Raises: KeyError if `word` is not in SENSES.
    """
    marked = re.compile(rf"{word}s?\^({'|'.join(SENSES[word])})", re.IGNORECASE)
    contexts = []
    for sentence in re.findall(r"(?m)[^=\s].*? \.(?= |$)", "\n".join(_marked_articles()[:TRAIN_ARTICLES])):
        for position, token in enumerate(sentence.split()):
            if match := marked.fullmatch(token):
                contexts.append((_MARK.sub("", sentence), position, match[1]))
    return contexts


def reviews() -> tuple[list[tuple[str, int]], list[tuple[str, int]], list[str]]:
    """Film reviews: labelled train and test as (text, label), and unlabelled texts. Label 0 = negative, 1 = positive.

    Labels alternate, so both labelled parts are balanced. No text occurs twice.
    """
    train, test, unsup = _all_reviews()
    return list(train), list(test), [text for text, _ in unsup]


@functools.cache
def _marked_articles() -> tuple[str, ...]:
    """All articles, train first, with the sense marks still on; no two bear the same title."""
    rng, topics = random.Random(2018), ARTICLES["topics"]
    documents: dict[str, str] = {}
    while len(documents) < TRAIN_ARTICLES + VALIDATION_ARTICLES:
        document = _article(topics[len(documents) % len(topics)], rng)
        documents.setdefault(document.split("\n")[0], document)
    return tuple(documents.values())


def _article(topic: Mapping[str, Any], rng: random.Random) -> str:
    """One marked article, its facts drawn first and then kept."""
    opinions = {"good": _opinions("positive", "AB")["adjective"], "bad": _opinions("negative", "AB")["adjective"]}
    tables: dict[str, Sequence[str]] = {**SHARED, **opinions}
    used: set[str] = set()
    for fact, template in topic["facts"].items():
        tables[fact] = (_fill(template, tables, rng, used),)
    lines = [f"= {topic['title']} ="]
    for heading, (first, *others) in {"": topic["lead"], **topic["sections"]}.items():
        lines += [f"= = {heading} = ="] if heading else []
        lines.append(" ".join([first] + [sentence for sentence in others if rng.random() < KEPT]))
    return _tokenise(_polish(_fill("\n".join(lines), tables, rng, used)))


@functools.cache
def _all_reviews() -> tuple[tuple[tuple[str, int], ...], ...]:
    """Train, test and unlabelled reviews, each as (text, label)."""
    rng = random.Random(1810)
    seen: set[str] = set()
    train = _draw_reviews(TRAIN_REVIEWS, "A", False, seen, rng)
    test = _draw_reviews(TEST_REVIEWS, "B", False, seen, rng)
    return train, test, _draw_reviews(UNSUP_REVIEWS, "AB", True, seen, rng)


def _draw_reviews(count: int, halves: str, with_cue: bool, seen: set[str],
                  rng: random.Random) -> tuple[tuple[str, int], ...]:
    """`count` new reviews of alternating label, drawn again where one is too short, too long or already in `seen`."""
    drawn: list[tuple[str, int]] = []
    while len(drawn) < count:
        label = len(drawn) % 2
        text = _review(label, halves, with_cue, rng)
        if text not in seen and FEWEST_WORDS <= len(text.split()) <= MOST_WORDS:
            seen.add(text)
            drawn.append((text, label))
    return tuple(drawn)


def _review(label: int, halves: str, with_cue: bool, rng: random.Random) -> str:
    """An opening, then opinions, asides and perhaps a cue in any order. Opinion words come from `halves`."""
    used: set[str] = set()
    genre = (_pick(SHARED["genre"], rng),)  # one film, one genre
    for_it, against_it = ({**_tables(p, halves), "genre": genre} for p in (label, 1 - label))
    contrasts = int(rng.random() < CONTRASTED)
    body = [_contrast(for_it, against_it, rng, used) for _ in range(contrasts)]
    body += [_clause("", for_it, against_it, rng, used) for _ in range(2 + int(3 * rng.random()) - contrasts)]
    body = [clause + "." for clause in body]
    body += [_fill("{aside}", for_it, rng, used) for _ in range(int(3 * rng.random()))]
    body += [_fill("{cue}", for_it, rng, used)] if with_cue else []
    body.sort(key=lambda _: rng.random())
    return _MARK.sub("", _polish(" ".join([_fill("{opening}", for_it, rng, used), *body])))


def _contrast(for_it: Tables, against_it: Tables, rng: random.Random, used: set[str]) -> str:
    """Two clauses, of which the first grants something to the other side and the last decides."""
    concession = _clause("_part", against_it, for_it, rng, used)
    contrast = _pick(REVIEWS["tables"]["contrast"], rng)
    return contrast.format(concession=concession, verdict=_clause("", for_it, against_it, rng, used))


def _clause(about: str, for_it: Tables, against_it: Tables, rng: random.Random, used: set[str]) -> str:
    """Plain words for the film, or a denial of words against it; on a part of it only, if `about` is "_part"."""
    if rng.random() < DENIED:
        return _fill(f"{{denial{about}}}", against_it, rng, used)
    return _fill(f"{{plain{about}}}", for_it, rng, used)


@functools.cache
def _tables(polarity: int, halves: str) -> Tables:
    """The tables of a review, with opinion words and cues of one polarity."""
    name, tables = CLASSES[polarity], REVIEWS["tables"]
    of_film_or_part = {kind: tables[f"{kind}_part"] + tables[f"{kind}_film"] for kind in ("plain", "denial")}
    return {**SHARED, **tables, **of_film_or_part, **_opinions(name, halves), "cue": REVIEWS["cues"][name]}


def _opinions(polarity: str, halves: str) -> dict[str, tuple[str, ...]]:
    """Part of speech -> the opinion words of the halves named."""
    parts = ("adjective", "verb", "noun")
    return {part: tuple(word for half in halves for word in LEXICON[polarity][half][part]) for part in parts}


def _pick(options: Sequence[str], rng: random.Random) -> str:
    """One option; `rng.choice` could pick another in another Python version."""
    return options[int(rng.random() * len(options))]


def _fill(template: str, tables: Tables, rng: random.Random, used: set[str]) -> str:
    """Fill every slot, and the slots of what was filled in, sparing options in `used` while there are others."""

    def entry(slot: re.Match[str]) -> str:
        """What is put into one slot."""
        options = tables[slot[1]]
        choice = _pick(options, rng)
        if choice in used:
            choice = _pick([option for option in options if option not in used] or options, rng)
        used.add(choice)
        return _fill(choice, tables, rng, used)

    return _SLOT.sub(entry, template)


def _polish(text: str) -> str:
    """Capitals where sentences and titles begin, and "an" before vowels."""
    text = re.sub(r"\b([Aa]) (?=[aeiouAEIOU])", r"\1n ", text)
    return re.sub(r"(?m)(^(?:= )*|\. )([a-z])", lambda start: start[1] + start[2].upper(), text)


def _tokenise(text: str) -> str:
    """Spaces around punctuation, as WikiText has them once its escapes are undone."""
    return re.sub(r" +", " ", re.sub(r"('s\b|[-,.()])", r" \1 ", text)).replace(" \n", "\n").strip()
