"""Claims about docs/course/slides.md: it follows the lecture, its figures exist, its numbers are in the pages it links.

Rendering takes a tool that the suite does without; docs/course/README.md has the command.
"""

import re
from pathlib import Path

import pytest
from markdown_tables import table_rows
from tasks import TASKS

COURSE = Path(__file__).parents[2] / "docs" / "course"
DECK = (COURSE / "slides.md").read_text("utf-8")
LECTURE = ["1", "2.1", "2.2", "2.3", "2.4", "2.5", "3.1", "3.2", "3.3", "3.4", "3.5", "4.1", "4.2", "5.1", "5.2", "5.3",
           "5.4", "6", "7", "8"]
MOST_WORDS = 110  # on a slide, a formula being one; more of them do not fit beside a figure
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
FIGURES = sorted((COURSE / "slides").glob("*.svg"))


def slides() -> list[str]:
    """The slides behind the front matter."""
    _, front, body = DECK.split("---\n", 2)
    assert "marp: true" in front
    return re.split(r"^---$", body, flags=re.MULTILINE)


def section_of(slide: str) -> str | None:
    """The section of the lecture that a slide's heading names."""
    heading = re.search(r"^# (?:§ ([\d.]+) )?\S", slide, re.MULTILINE)
    assert heading, slide
    return heading[1]


def links(text: str) -> list[str]:
    return re.findall(r"\]\((\S+?)\)", text)


def test_the_deck_has_one_or_two_slides_for_each_section_in_the_lectures_order():
    sections = [section_of(slide) for slide in slides()]
    assert sections[0] is None and list(dict.fromkeys(sections[1:])) == LECTURE
    assert max(sections.count(section) for section in LECTURE) <= 2


@pytest.mark.parametrize("section", LECTURE)
def test_each_section_has_a_figure_and_says_what_was_measured_and_where(section):
    text = "".join(slide for slide in slides() if section_of(slide) == section)
    assert re.search(r"!\[[^\]]*[a-z]{4,}[^\]]*\]\(\S+\.(svg|png)\)", text)
    assert section == "7" or re.search(r"^> Measured.*\]\(\.\./[\w-]+\.md\)\)?$", text, re.MULTILINE)


def test_the_page_of_the_course_counts_the_slides_and_their_minutes():
    minutes = [int(n) for n in re.findall(r"(?m)^<!-- (\d+) minutes\. .*-->$", DECK)]
    assert len(minutes) == len(slides())
    assert f"| {len(slides())} slides, about {sum(minutes)} minutes |" in (COURSE / "README.md").read_text("utf-8")


def test_no_slide_holds_more_words_than_fit():
    shown = [re.sub(r"\$[^$\n]+\$", "formula", re.sub(r"<!--.*?-->", "", slide)) for slide in slides()]
    assert max(len(slide.replace("|", " ").split()) for slide in shown) <= MOST_WORDS


def test_every_file_that_the_deck_leads_to_exists():
    assert not [link for link in links(DECK) if not (COURSE / link).is_file()]


def test_each_number_that_was_measured_stands_in_the_page_that_is_linked_beside_it():
    lines = re.findall(r"^> Measured.*$", DECK, re.MULTILINE)
    assert len(lines) >= len(LECTURE) - 1
    for line in lines:
        (page,) = links(line)
        recorded = set(NUMBER.findall((COURSE / page).read_text("utf-8")))
        said = re.sub(r"\(\[.*|WikiText-2", "", line)
        assert not set(NUMBER.findall(said)) - recorded, line


def test_the_table_on_a_slide_has_the_cells_of_the_page_it_is_from():
    head, *rows = table_rows(DECK)
    plain = [[cell.replace("*", "") for cell in row]
             for row in table_rows((COURSE.parent / "frozen-or-finetuned.md").read_text("utf-8"))]
    columns = [plain[0].index(name) for name in ("", "parameters updated", "500", "25,000", "minutes, 25,000",
                                                 "forgetting, nats")]
    whole = {row[0]: row for row in plain[1:]}
    assert len(head) == len(columns) and len(rows) == 6
    assert rows == [[whole[row[0]][column] for column in columns] for row in rows]


def test_each_figure_of_the_deck_is_on_a_slide_has_a_title_and_recorded_numbers_only():
    recorded = set()
    for page in ("claims.md", "results.md", "frozen-or-finetuned.md"):
        recorded |= set(NUMBER.findall((COURSE.parent / page).read_text("utf-8")))
    for figure in FIGURES:
        text = figure.read_text("utf-8")
        assert f"slides/{figure.name}" in DECK and re.search(r"<title>\w.*</title>", text), figure.name
        told = [number for label in re.findall(r"<text[^>]*>([^<]*)</text>", text)
                for number in re.findall(r"\d+\.\d+", label)]
        assert not set(told) - recorded, figure.name
    assert len(FIGURES) > 10


def test_the_plan_of_one_lecture_names_slides_and_counts_minutes_and_tasks():
    page = " ".join((COURSE / "README.md").read_text("utf-8").split())
    plan = re.search(r"\*\*One lecture of about 90 minutes:\*\* (.*?) needs a slide that is left out\.", page)[1]
    named = re.findall(r"§ ([\d.]+\d|\d)(?: \*([^*]+)\*)?", plan)
    out = [slide for slide in slides() for section, title in named
           if section_of(slide) == section and title in re.search(r"(?m)^# .*$", slide)[0]]
    kept = [slide for slide in slides() if slide not in out]
    minutes = sum(int(re.search(r"<!-- (\d+) minutes", slide)[1]) for slide in kept)
    assert f"leave out {len(out)} slides" in plan and f"The other {len(kept)} take {minutes} minutes" in plan
    assert 85 <= minutes <= 90
    core = [task for task in TASKS if task.core]
    assert f"tasks {core[0].number} to {core[-1].number}, {sum(task.minutes for task in core)} minutes" in plan
    gone = {section_of(slide) for slide in out} - {section_of(slide) for slide in kept}
    assert not gone & {section for task in core for section in task.lecture.split(", ")}


def test_what_a_notebook_needs_stands_before_it_in_the_plan_of_sessions():
    """As the notebooks say: section 6 of 03 after 01, section 7 after 02, and 04 after section 6 of 03."""
    order = ", ".join(row[3] for row in table_rows((COURSE / "README.md").read_text("utf-8")) if len(row) == 6)
    steps = ["00", "03 to section 5", "01", "03 section 6", "02", "04 to section 3", "03 section 7", "04 to the end"]
    assert [order.index(step) for step in steps] == sorted(order.index(step) for step in steps)


def test_the_plan_of_sessions_covers_the_deck_and_the_homework_and_counts_their_minutes():
    of_section = {section: sum(int(re.search(r"<!-- (\d+) minutes", slide)[1]) for slide in slides()
                               if section_of(slide) == section) for section in (None, *LECTURE)}
    minutes_of = {str(task.number): task.minutes for task in TASKS}
    plan = [row for row in table_rows((COURSE / "README.md").read_text("utf-8")) if len(row) == 6][1:]
    given, tasks = [], []
    for i, (_, slides_shown, minutes, _, homework, its_minutes) in enumerate(plan):
        first, last = re.findall(r"\d(?:\.\d)?", slides_shown)
        sections = LECTURE[LECTURE.index(first) : LECTURE.index(last) + 1]
        given, tasks = given + sections, tasks + homework.split(", ")
        assert int(minutes) == sum(of_section[section] for section in sections) + (of_section[None] if i == 0 else 0)
        assert int(its_minutes) == sum(minutes_of[number] for number in homework.split(", "))
    assert given == LECTURE and sorted(tasks, key=int) == list(minutes_of)
