"""The share of recorded crash logs that is read right, in each fifth of them."""

from __future__ import annotations

import pytest

from needs.catalogue import RECORDED_LOGS
from soak.reports.report_scores import FOLDS, QUESTIONS, answers_of, score_of, table

pytestmark = pytest.mark.needs("recorded logs")

WANTED = {"recognised": 0.98, "kind": 0.97, "function": 0.9}
#: A fold has about fifty logs that ask for a function: two more wrong ones are 4 %.
UNEVEN = 0.06


def test_each_fold_is_read_as_well_as_all(capsys: pytest.CaptureFixture[str]) -> None:
    given = answers_of(RECORDED_LOGS)
    with capsys.disabled():
        print(f"\n{table(given)}")

    for question in QUESTIONS:
        assert score_of(given, question).share >= WANTED[question]
        for fold in range(FOLDS):
            assert score_of(given[fold::FOLDS], question).share >= WANTED[question] - UNEVEN
