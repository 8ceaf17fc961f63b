"""Part I, chapter 1, articles: WikiText. Where does one article end and the next begin, and what was escaped in it?

WikiText is one long file of lines for each split. An article is what stands from one title to the next, its lines
separated by "\\n", none of them blank; `@-@`, `@,@` and `@.@` become the signs they stand for.

Published WikiText-2 results count one `<eos>` per line of the file, blank lines included: 217,646 tokens in
validation are 213,886 words and 3,760 lines, 245,569 in test are 241,211 and 4,358. Of these lines only 2,461 and
2,891 hold words, so with one `<eos>` per line of a document there are 216,347 and 244,102 tokens, counted by spaces;
`tokenize` cuts some of the words in two (`No.`), and has 216,668 in validation. A blank line is
easily predicted: on equal models the published way of counting gives the lower perplexity. In training, 36 of the
2,051,910 words are a lone zero-width character, which vanishes here.

Read next: `minitransfer.text.imdb`, which reads film reviews.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from pathlib import Path

from minitransfer.apparatus.archives import file_lines, zip_lines
from minitransfer.apparatus.errors import DataError
from minitransfer.apparatus.progress import say
from minitransfer.text.cleaning import say_normalised, text_lines

MARKING = ("wikitext-2", "wikitext-103")  # the word-level ones, where rare words are replaced
OFFICIAL_ARTICLES = {"wikitext-2": (600, 60), "wikitext-2-raw": (600, 60)}  # train, validation

TITLE = re.compile(r"= (?!= ).*(?<! =) =")  # "= Title =", but not "= = Section = ="
ESCAPED = re.compile(r"(?<!\S)@([-,.])@(?!\S)")  # "@-@" alone between spaces


def read_articles(name: str, place: Path) -> tuple[list[str], list[str]]:
    """Return the training and the validation articles of a WikiText folder or zip file.

    name: out of `minitransfer.text.WIKITEXT`.
    Raises: DataError for a file that is absent, damaged, not UTF-8, or blank.
    """
    tally: Counter[str] = Counter()
    splits: list[list[str]] = []
    for split in ("train", "valid"):
        raw_lines, where = _raw_lines(name, place, split)
        splits.append(list(articles(text_lines(raw_lines, where, tally))))
        if not splits[-1]:
            raise DataError(f"{where} holds 0 articles and 0 words", "put a WikiText file with text in its place")
    say_normalised(tally, name)
    counts, official = tuple(map(len, splits)), OFFICIAL_ARTICLES.get(name)
    if official and counts != official:
        say(f"warning: {name} here has {counts[0]:,} + {counts[1]:,} articles (train + validation), "
            f"the official one {official[0]:,} + {official[1]:,}")
    return splits[0], splits[1]


def articles(lines: Iterable[str]) -> Iterator[str]:
    """Yield the articles of stripped WikiText lines, each from its title on, without blank lines and escapes.

    A title is a line `= Title =` between two blank ones: elsewhere such a line is part of a broken table or formula
    (two of 62 in the WikiText-2 test file).

    Example: "", "= Ada =", "", "She wrote @-@ well ." -> "= Ada =\\nShe wrote - well ."
    """
    article: list[str] = []
    before = ""
    for line, after in pairwise(chain(lines, [""])):
        if article and not before and not after and TITLE.fullmatch(line):
            yield "\n".join(article)
            article = []
        if line:
            article.append(ESCAPED.sub(r"\1", line))
        before = line
    if article:
        yield "\n".join(article)


def file_name(name: str, split: str) -> str:
    """Return what a split's file is called. Example: "wikitext-2-raw", "valid" -> "wiki.valid.raw"."""
    return f"wiki.{split}.{'tokens' if name in MARKING else 'raw'}"


def _raw_lines(name: str, place: Path, split: str) -> tuple[Iterator[bytes], str]:
    """Return the lines of a split as they stand in its file, and what to call that file in messages."""
    if place.is_dir():
        path = place / file_name(name, split)
        return file_lines(path), str(path)
    members = {each: f"{name}/{file_name(name, each)}" for each in ("train", "valid", "test")}
    limit = 1 << 30 if "103" in name else 1 << 26  # bytes: about twice and six times the largest member
    return zip_lines(place, members[split], members.values(), limit), f"{members[split]} in {place}"
