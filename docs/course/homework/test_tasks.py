"""The tasks, each graded by itself: python -m pytest docs/course/homework --solutions my_solutions.py"""

import pytest
from tasks import TASKS


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.number}-{task.name}")
def test_homework(task, answers, record_property):
    complaint = task.complaint(answers)
    if complaint:
        pytest.fail(complaint, pytrace=False)
    record_property("points", task.points)
