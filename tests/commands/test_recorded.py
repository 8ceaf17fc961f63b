"""Claims about the recorded experiment: what README and docs say of it is what its lines say, and all can be drawn."""

import re
import shlex
from pathlib import Path

import pytest
from markdown_tables import table_rows

from finetune.average import settings as average
from finetune.compare import tables
from finetune.compare.grid import COMMANDS, recorded

ROOT = Path(__file__).parents[2]
EXPERIMENT = ROOT / "docs" / "experiment"
LINES = {  # a row of the table in docs/worth.md, without its run -> its model and mode
    "random weights, the biLM's network, from scratch": ("bilm", "scratch"),
    "random weights, BERT's network, [CLS] head, from scratch": ("bert-imdb", "scratch"),
    "random word embeddings, from scratch": ("static", "scratch"),
    "bag of uni- and bigrams of whole reviews": ("bag", "bag"),
    "static vectors, WikiText-2 and reviews, frozen": ("static", "frozen"),
    "static vectors, the reviews in an order that tells no label, frozen": ("static-2", "frozen"),
    "GloVe vectors of the same text, frozen": ("glove", "frozen"),
    "biLM, 256 units, WikiText-2, over the static vectors, frozen": ("bilm", "frozen"),
    "biLM, 256 units, then one epoch over the reviews, frozen": ("bilm-imdb", "frozen"),
    "biLM, 256 units, then two epochs over the reviews, frozen": ("bilm-imdb2", "frozen"),
    "biLM, 256 units, two epochs, upper layer alone": ("bilm-imdb2", "top"),
    "biLM, 256 units, two epochs, gradually unfrozen": ("bilm-imdb2", "gradual"),
    "biLM, 256 units, two epochs, fine-tuned": ("bilm-imdb2", "finetune"),
    "biLM, 512 units, three epochs over the reviews, frozen": ("bilm-512", "frozen"),
    "biLM, 512 units, fine-tuned": ("bilm-512", "finetune"),
    "BERT, WikiText-2, over vectors of pieces, frozen": ("bert", "frozen"),
    "BERT, then one epoch over the reviews, frozen": ("bert-imdb", "frozen"),
    "BERT, then one epoch over the reviews, [CLS] head, fine-tuned": ("bert-imdb", "finetune"),
    "BERT of the better recipe, one epoch over the reviews, frozen": ("bert-reviews", "frozen"),
    "BERT of the better recipe, [CLS] head, fine-tuned": ("bert-reviews", "finetune"),
    "BERT, rows of 512, one epoch over the reviews, mean of its tokens, fine-tuned": ("bert-512", "finetune"),
    "BERT of the better recipe, WikiText-2, frozen; the teacher": ("bert-wiki", "frozen"),
    "BERT of the better recipe, WikiText-2, [CLS] head, fine-tuned": ("bert-wiki", "finetune"),
    "student, two of the teacher's four layers, frozen": ("student", "frozen"),
    "student, [CLS] head, fine-tuned": ("student", "finetune"),
    "untaught student, frozen": ("untaught", "frozen"),
    "untaught student, [CLS] head, fine-tuned": ("untaught", "finetune"),
    "GPT, WikiText-2, over vectors of pieces, frozen": ("gpt-wiki", "frozen"),
    "GPT, rows of 256, one epoch over the reviews, frozen": ("gpt-reviews", "frozen"),
    "GPT, rows of 256, last token, fine-tuned": ("gpt-reviews", "finetune"),
    "GPT, rows of 512, one epoch over the reviews, last token, fine-tuned": ("gpt-512", "finetune"),
    "GPT, rows of 512, one epoch, pretrained a second time, last token, fine-tuned": ("gpt-512-s1", "finetune"),
    "GPT, rows of 512, two epochs, last token, fine-tuned": ("gpt-512-2", "finetune"),
    "GPT, rows of 512, two epochs in one schedule, last token, fine-tuned": ("gpt-512-e2", "finetune"),
    "average: frozen biLM of 512 units, bag": ("bilm-512 frozen + bag", "average"),
    "average: fine-tuned GPT in rows of 512, bag": ("gpt-512 fine-tuned + bag", "average"),
    "average: fine-tuned biLM of 512 units, bag with trigrams": ("bilm-512 fine-tuned + bag, trigrams too", "average"),
    "average: fine-tuned biLM of 512 units and BERT of the better recipe, bag with trigrams":
        ("bilm-512 and bert-reviews fine-tuned + bag, trigrams too", "average"),
    "average: fine-tuned biLM, BERT and GPT in rows of 256, bag with trigrams":
        ("bilm-512, bert-reviews and gpt-reviews fine-tuned + bag, trigrams too", "average"),
    "average: fine-tuned GPT in rows of 512, bag with trigrams": ("gpt-512 fine-tuned + bag, trigrams too", "average"),
    "average: fine-tuned GPT in rows of 512 of two epochs, bag with trigrams":
        ("gpt-512-2 fine-tuned + bag, trigrams too", "average"),
    "average: fine-tuned GPTs in rows of 512 of one epoch and of two, bag with trigrams":
        ("gpt-512 and gpt-512-2 fine-tuned + bag, trigrams too", "average"),
    "average: fine-tuned GPT of two epochs in one schedule, bag": ("gpt-512-e2 fine-tuned + bag", "average"),
    "average: fine-tuned GPT of two epochs in one schedule, bag with trigrams":
        ("gpt-512-e2 fine-tuned + bag, trigrams too", "average"),
    "average: fine-tuned GPTs in rows of 512, all four, bag with trigrams":
        ("four GPTs in rows of 512 fine-tuned + bag, trigrams too", "average"),
    "average: fine-tuned GPTs in rows of 512, all three, bag with trigrams":
        ("three GPTs in rows of 512 fine-tuned + bag, trigrams too", "average"),
}
ASKED = "prompt: "  # so begin the rows of worth.md that have no label
CONVERGENCE = [  # model and mode of each three lines in the two tables of docs/claims.md, epoch by epoch
    ("bilm-imdb2", "finetune"), ("bilm", "scratch"), ("bilm-imdb2", "frozen"), ("static", "scratch"),
    ("bert-imdb", "finetune"), ("bert-imdb", "scratch"),
]
SPREAD = [  # of each line in its table of how far seeds lie apart
    ("bilm-imdb2", "frozen"), ("bilm-imdb2", "top"), ("bilm-imdb2", "finetune"), ("bilm", "scratch"),
    ("static", "frozen"), ("static", "scratch"), ("bert-imdb", "frozen"), ("bert-imdb", "finetune"),
    ("bert-imdb", "scratch"),
]
LOWEST = [("bilm-imdb2", "finetune"), ("bert-imdb", "finetune"), ("bilm-imdb2", "frozen")]  # of the validation loss


@pytest.fixture(scope="module")
def rows():
    return recorded([str(EXPERIMENT / "results.jsonl")])


FRONT = {  # a row of the README's table -> its model and mode
    "random word embeddings, from scratch": ("static", "scratch"),
    "bag of uni- and bigrams, without pretraining": ("bag", "bag"),
    "frozen static vectors": ("static-2", "frozen"),
    "frozen biLM": ("bilm-512", "frozen"),
    "frozen biLM and bag, averaged": ("bilm-512 frozen + bag", "average"),
    "fine-tuned GPT": ("gpt-512-e2", "finetune"),
}


def front_table() -> list[list[str]]:
    """The rows of the README's table of results, its head first."""
    _, _, section = (ROOT / "README.md").read_text().partition("## What pretraining is worth")
    return table_rows(section.partition("\n## ")[0])


def cells_told(table: list[list[str]], line_of) -> dict[tuple, str]:
    """What a table of results says of each line and number of labels; line_of gives the line of a row's name."""
    head, *body = table
    counts = [int(re.sub(r"\D", "", cell)) for cell in head[1:]]
    return {(line_of(name), n): cell for name, *cells in body for n, cell in zip(counts, cells, strict=True)
            if cell not in ("—", "")}


def recorded_means(rows, lines) -> dict[tuple, str]:
    """The mean accuracy of each line and number of labels that was run."""
    of = tables.by_line(rows)
    return {(line, n): f"{tables.mean(tables.accuracies(runs)):.1f}" for line in lines for n, runs in of[line].items()}


def test_the_table_in_docs_is_drawn_from_its_lines(rows):
    assert (EXPERIMENT / "table.md").read_text() == tables.table(rows)


def test_each_number_in_the_table_of_all_rows_is_the_mean_of_its_lines(rows):
    def line_of(name):
        return LINES[name.partition(" (`")[0]]

    head, *table = table_rows((ROOT / "docs" / "worth.md").read_text())
    told = cells_told([head, *(row for row in table if not row[0].startswith(ASKED))], line_of)
    assert told == recorded_means(rows, LINES.values())


def test_the_column_without_labels_has_what_is_told_of_each_prompted_network():
    head, *table = table_rows((ROOT / "docs" / "worth.md").read_text())
    told = [row[1:] for row in table if row[1] or row[0].startswith(ASKED)]
    results = " ".join((ROOT / "docs" / "results.md").read_text().split())
    means = re.findall(r"Above the median: mean ([\d.]+)", results)
    assert head[1] == "0 labels" and told == [[mean, *[""] * 5] for mean in means]


def test_each_number_in_the_readme_is_the_mean_of_its_lines_and_the_best_of_each_column_is_bold(rows):
    table = front_table()
    told = cells_told(table, FRONT.__getitem__)
    assert [name for name, *_ in table[1:]] == list(FRONT)
    assert {at: cell.strip("*") for at, cell in told.items()} == recorded_means(rows, FRONT.values())
    for n in {n for _, n in told}:
        column = [cell for (_, labels), cell in told.items() if labels == n]
        best = max(column, key=lambda cell: float(cell.strip("*")))
        assert [cell for cell in column if cell.startswith("**")] == [best]


def claims_under(heading: str) -> list[list[str]]:
    """The rows of the tables under a heading of docs/claims.md."""
    return table_rows((ROOT / "docs" / "claims.md").read_text().partition(f"## {heading}")[2].partition("\n## ")[0])


def test_the_claims_of_convergence_show_what_was_recorded_epoch_by_epoch(rows):
    told = [cells[1:] for cells in claims_under("Faster convergence") if cells[0] != "epoch"]
    of = tables.by_line(rows)
    recorded_lines = [[f"{100 * a:.0f}" for a in run["validation_accuracies"][:12]]
                      for line in CONVERGENCE for run in of[line][500]]
    assert told == [line + [""] * (12 - len(line)) for line in recorded_lines]


def test_the_claims_of_stability_and_overfitting_are_those_of_the_recorded_seeds(rows):
    of = tables.by_line(rows)
    spreads = [tables.accuracies(of[line][500]) for line in SPREAD]
    assert [cells[1:] for cells in claims_under("Stabler training")[1:]] == [
        [", ".join(f"{a:.1f}" for a in runs), f"{max(runs) - min(runs):.1f}"] for runs in spreads]
    assert [cells[1:] for cells in claims_under("Fine-tuning overfits")[1:4]] == [
        [", ".join(str(run["epochs"]) for run in of[line][n]) for n in (500, 2_000)] for line in LOWEST]


def test_what_others_reached_is_told_in_the_readme_as_in_the_results():
    told = re.search(r"Keras.*?frozen (\d\d\.\d).*?fine-tuned (\d\d\.\d)", (ROOT / "README.md").read_text(), re.S)
    result = re.search(r"reached (\d\d\.\d) % frozen and ended at (\d\d\.\d) % fine-tuned",
                       " ".join((ROOT / "docs" / "results.md").read_text().split()))
    assert told.groups() == result.groups()


def minutes_of_pretraining(names):
    """The minutes of all runs that led to some encoders, each once, by the table of pretraining in docs/results.md."""
    _, _, section = (ROOT / "docs" / "results.md").read_text().partition("## Pretraining")
    runs = [row for row in table_rows(section.partition("\n## ")[0]) if len(row) == 5 and row[1].startswith("`python")]
    commands = {tuple(shlex.split(cell.strip("`"))): float(told.partition(",")[0]) for _, cell, _, told, _ in runs}
    of = {}
    for words, minutes in commands.items():
        flags = dict(zip(words, words[1:]))
        default = {"pretrain.static": "static-pieces" if "--pieces" in words else "static", "pretrain.bilm": "bilm",
                   "pretrain.bert": "bert", "pretrain.gpt": "gpt", "pretrain.distil": "distil"}[flags["-m"]]
        teacher = words[3] if flags["-m"] == "pretrain.distil" else "none"
        before = flags.get("--init-from", flags.get("--warm-start", teacher))
        of[Path(flags.get("--out", default)).name] = minutes, Path(before).name
    led = {}
    for name in names:
        while name != "none":
            led[name], name = of[name]
    return sum(led.values())


def test_each_line_of_a_pretrained_encoder_has_the_minutes_of_its_pretraining(rows):
    for row in rows:
        if row["mode"] in ("bag", "scratch"):
            assert "seconds_pretraining" not in row
        else:
            cells = [run["run"] for run in row["runs"]] if row["mode"] == "average" else [row["cell"]]
            models = {Path(cell).name.rsplit("-", 3)[0] for cell in cells if not Path(cell).name.startswith("bag")}
            assert row["seconds_pretraining"] == pytest.approx(60 * minutes_of_pretraining(models), abs=0.1)


def test_each_line_has_the_command_that_makes_it(rows):
    for row in rows:
        python, m, module, *flags = shlex.split(row["command"])
        if row["mode"] == "average":
            runs = average.Settings.parse_args(flags).runs
            assert (python, m, module) == ("python", "-m", "finetune.average")
            assert list(runs) == [run["run"] for run in row["runs"]]
            continue
        asked = COMMANDS[module].Settings.parse_args(flags)
        assert (python, m, asked.labels, asked.seed) == ("python", "-m", row["labels"], row["seed"])
        assert module == "finetune.bag" or (asked.mode, Path(asked.encoder).name) == (row["mode"], row["model"])


def test_the_picture_of_two_recipes_has_the_losses_of_its_table():
    rows = table_rows((ROOT / "docs" / "recipe.md").read_text().partition("## A whole epoch")[2].partition("\n## ")[0])
    svg = (ROOT / "docs" / "figures" / "recipe.svg").read_text()
    points = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="4" class="dot-(\w+)"', svg)
    for told, line in zip(rows[1:3], ("back", "ahead"), strict=True):
        drawn = [(float(x), float(y)) for x, y, of in points if of == line]
        expected = [(80 + 560 * int(share.split()[0]) / 100, 60 + 240 * (5 - float(nats)) / 1.75)
                    for share, nats in zip(rows[0][1:10], told[1:10])]
        assert drawn == [pytest.approx(point, abs=0.06) for point in expected]


def test_the_picture_of_elmos_own_path_has_the_numbers_of_its_table_each_at_its_height():
    _, _, section = (ROOT / "docs" / "results.md").read_text().partition("**ELMo's own path**")
    told = {row[0]: (row[1], row[3]) for row in table_rows(section) if len(row) == 6}
    own = [told[f"`{name}`, own path"] for name in ("wiki", "imdb1", "imdb2")]
    warm = [told[f"warm-started, {name}"] for name in ("WikiText-2", "one epoch over the reviews", "two epochs")]
    svg = (ROOT / "docs" / "figures" / "own-path.svg").read_text()
    points = re.findall(r'cy="([\d.]+)" r="4" class="dot-(\w+)"/>\s*<text[^>]*>([\d.]+)</text>', svg)
    for panel, column in ((points[:7], 0), (points[7:], 1)):
        assert [number for _, kind, number in panel if kind == "ahead"][1:] == [row[column] for row in warm]
        assert [number for _, kind, number in panel if kind == "back"] == [row[column] for row in own]
    assert len(points) == 14
    for height, _, number in points:  # 90 % is drawn at 70, 60 % at 320
        assert float(height) == pytest.approx(70 + 250 * (90 - float(number)) / 30, abs=0.06)
