"""Reviews of three classes of somebody's own, for tests: as a folder, as tables, and vectors that know their words."""

from pathlib import Path

import torch
from corpus_files import write
from encoder_runs import make_static

from minitransfer.text.words import SPECIAL_WORDS

WORDS = {"gut": ("schön", "stark", "素晴らしい"), "mittel": ("mäßig", "lala", "普通"),
         "schlecht": ("fade", "öde", "退屈")}
FILLERS = ("film", "und", "映画", "sehr", "lang")
COUNTS = {"train": {"gut": 14, "mittel": 11, "schlecht": 17}, "test": {"gut": 5, "mittel": 4, "schlecht": 8}}


def texts(half: str, name: str) -> list[str]:
    """Texts of a class, each other than all others."""
    words = WORDS[name]
    return [f"{FILLERS[n % 5]} {words[n % 3]} {FILLERS[n % 4]} {n}{half[:2]} {words[n % 2]}"
            for n in range(COUNTS[half][name])]


def make_folder(path: Path) -> Path:
    """train/CLASS/N.txt and test/CLASS/N.txt."""
    return write(path, {f"{half}/{name}/{n}.txt": text for half, counts in COUNTS.items() for name in counts
                        for n, text in enumerate(texts(half, name))})


def make_tables(path: Path) -> list[Path]:
    """train.csv and test.csv."""
    for half, counts in COUNTS.items():
        rows = [f"{text},{name}\n" for name in counts for text in texts(half, name)]
        write(path, {f"{half}.csv": "review,sentiment\n" + "".join(rows)})
    return [path / "train.csv", path / "test.csv"]


def make_knowing(path: Path) -> Path:
    """Static vectors with a direction for each class, and noise."""
    words = [*SPECIAL_WORDS, *FILLERS, *(word for of_class in WORDS.values() for word in of_class)]
    vectors = 0.1 * torch.randn(len(words), 5, generator=torch.Generator().manual_seed(1))
    for y, of_class in enumerate(WORDS.values()):
        vectors[[words.index(word) for word in of_class], y] += 1
    return make_static(path, words, vectors)
