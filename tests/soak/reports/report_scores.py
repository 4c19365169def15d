"""How many recorded crash logs are read right, in five folds: recognised, kind, guilty function.

    PYTHONPATH=harness:tests python tests/soak/reports/report_scores.py [FOLDER]

FOLDER: ../shared/data/kernel-logs, or another of the same form. Which functions are machinery comes from
kernel sources (harness/scripts/function_places.py): no fold is learnt from, they show how even the score is.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import Splat, find_splats
from needs.catalogue import RECORDED_LOGS
from unit.klog.recorded_logs import accepted_functions, expected_kind, guilty, read_log

FOLDS = 5
QUESTIONS = ("recognised", "kind", "function")


@dataclass(frozen=True)
class Score:
    """How many logs that ask a question were answered right."""

    right: int
    asked: int

    @property
    def share(self) -> float:
        """The share of right answers; 1 where nothing was asked."""
        return self.right / self.asked if self.asked else 1.0

    def __str__(self) -> str:
        return f"{self.right} of {self.asked} ({self.share:.1%})"


def answers(fields: Mapping[str, str], splats: tuple[Splat, ...]) -> dict[str, bool]:
    """Question -> whether its answer is right, for those that the log asks."""
    fields = dict(fields)
    title = fields.get("TITLE", "")
    found = {}
    if not title.startswith(("SYZ", "trusty")):
        found["recognised"] = bool(title) == bool(splats)
    if "CORRUPTED" in fields:
        return found
    kind = expected_kind(title, fields.get("TYPE", ""))
    if kind:
        found["kind"] = bool(splats) and splats[0].kind.value == kind
    if guilty(fields):
        found["function"] = bool(splats) and splats[0].function in accepted_functions(fields)
    return found


def answers_of(folder: Path) -> list[dict[str, bool]]:
    """The answers for each log of a folder, in the order of their numbers."""
    paths = [path for path in folder.iterdir() if path.name != "README.md"]
    found = []
    for path in sorted(paths, key=lambda path: (len(path.name), path.name)):
        fields, log = read_log(path)
        found.append(answers(fields, find_splats(parse_console(log))))
    return found


def score_of(given: list[dict[str, bool]], question: str) -> Score:
    """The score of these answers to a question."""
    asked = [each[question] for each in given if question in each]
    return Score(sum(asked), len(asked))


def table(given: list[dict[str, bool]]) -> str:
    """The scores of each fold and of all, in Markdown."""
    rows = [("all", given), *((f"fold {fold + 1}", given[fold::FOLDS]) for fold in range(FOLDS))]
    lines = [" | ".join(("| ", *QUESTIONS)) + " |", "|---" * (1 + len(QUESTIONS)) + "|"]
    lines += [
        " | ".join((f"| {name}", *(str(score_of(each, q)) for q in QUESTIONS))) + " |" for name, each in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(answers_of(Path(sys.argv[1]) if len(sys.argv) > 1 else RECORDED_LOGS)))
