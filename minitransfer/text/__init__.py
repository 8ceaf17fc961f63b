"""Part I, text into integers: corpora, words, batches."""

from collections.abc import Mapping
from typing import Any

WIKITEXT = ("wikitext-2", "wikitext-2-raw", "wikitext-103", "wikitext-103-raw")
CORPORA = ("auto", *WIKITEXT, "imdb", "sample")  # to pretrain on
REVIEWS = ("auto", "imdb", "sample")  # to transfer to
CLASSES = ("negative", "positive")  # of these


def classes_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes of a transfer run or a bag; an older config, which does not tell, has IMDB's.

    Raises: ValueError if these are no different names, two at least.
    """
    names = config.get("classes", list(CLASSES))
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"the classes are {names!r:.60}, not a list of names")
    if len(set(names)) < len(names):
        raise ValueError(f"two classes have one name: {names!r:.60}")
    return tuple(names)
