"""A claim about the whole: in ten lines of Python, or four commands, one's own text and reviews become a classifier.

In Japanese, with three classes, by the presets as they are. The sentences asked about are built as those learned from:
of others, an encoder of 50 words from a minute of training knows nothing.
"""

import csv
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from languages import LANGUAGES

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
TEN_LINES = """
import minitransfer
minitransfer.run("pretrain.static", corpus=["text.txt"], out="runs/static")
minitransfer.run("pretrain.bilm", corpus=["text.txt"], out="runs/bilm")
results = minitransfer.run("finetune.imdb", mode="frozen", data=["reviews.csv"], encoder="runs/bilm", out="runs/frozen")
assert results["test_accuracy"] > 0.9 and len(results["test_counts"]) == 3, results
classifier = minitransfer.load("runs/frozen")
texts = "この映画は本当に美しい。", "私には音楽はひどいと思えた。", "やはりその物語は、普通だった。"
p = classifier.predict_proba(texts)
assert p.shape == (3, 3) and abs(p.sum(axis=1) - 1).max() < 1e-5, p
assert list(classifier.classes_[p.argmax(axis=1)]) == ["良い", "悪い", "中立"], p
"""
COMMANDS = (
    "pretrain.static --corpus text.txt --out runs/static",
    "pretrain.bilm --corpus text.txt --out runs/bilm",
    "finetune.imdb --mode frozen --data reviews.csv --encoder runs/bilm --out runs/frozen",
    "finetune.predict runs/frozen この映画は本当に美しい。 私には音楽はひどいと思えた。",
)


@pytest.fixture
def folder(tmp_path):
    """A folder with text.txt and reviews.csv."""
    patterns, good, bad, things, verb = LANGUAGES["japanese"]
    opinions = {"良い": good, "悪い": bad, "中立": ["普通だった", "まあまあ", "どちらでもない"]}
    rng = random.Random(0)

    def text(label: str) -> str:
        return "".join(rng.choice(patterns).format(thing=rng.choice(things), opinion=rng.choice(opinions[label]),
                                                   **{"is": verb}) for _ in range(2))

    with open(tmp_path / "reviews.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        rows.writerows([text(label), label] for label in list(opinions) * 200)
    documents = ("\n".join(text(rng.choice(list(opinions))) for _ in range(10)) for _ in range(300))
    (tmp_path / "text.txt").write_text("\n\n".join(documents), encoding="utf-8")
    return tmp_path


def python(folder, *argv):
    """What Python prints, started in the folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, *argv], cwd=folder, env=environment, capture_output=True, timeout=500)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout.decode()


def test_in_ten_lines_of_python(folder):
    python(folder, "-c", TEN_LINES)


def test_by_four_commands(folder):
    for command in COMMANDS:
        told = python(folder, "-m", *command.split())
    assert [line.split()[0] for line in told.splitlines()] == ["良い", "悪い"]
