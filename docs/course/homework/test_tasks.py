"""The tasks, each graded by itself: python -m pytest docs/course/homework --solutions my_solutions.py"""

import pytest
from tasks import TASKS


@pytest.mark.parametrize("task", [pytest.param(task, id=f"{task.number}-{task.name}",
                                               marks=[pytest.mark.core] if task.core else []) for task in TASKS])
def test_homework(task, answers, record_property):
    record_property("most", task.points)
    complaint = task.complaint(answers)
    if complaint:
        pytest.fail(complaint, pytrace=False)
    record_property("points", task.points)
