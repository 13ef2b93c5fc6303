"""In which order the workers of a test run take the tests: what takes longest first, so that they end together.

`tests/durations.json` has the seconds of each unit of work; `python -m bench.ci` writes it anew.
"""

import json
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

DURATIONS = Path(__file__).parents[1] / "durations.json"
# Their tests share nothing within the file, or only what all workers share: each test is a unit of its own.
SPLIT = (
    "tests/kernels/test_build.py",
    "tests/workflow/test_kill.py",
    "tests/workflow/test_paper.py",
    "tests/workflow/test_workflow.py",
)
# What is not in the table.
UNKNOWN = 5.0


def unit(test: str) -> str:
    """What one worker takes as a whole: a test of a split file, or else all tests of a file."""
    file = test.split("::", 1)[0]
    return test if file in SPLIT else file


class LongestFirst(LoadScopeScheduling):
    """Units of work by their duration, longest first; ties stand as they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)

    def _assign_work_unit(self, node) -> None:
        """Let the queue, which was filled in the order of collection, begin with the longest unit."""
        if not getattr(self, "_sorted", False):
            seconds = json.loads(DURATIONS.read_text(encoding="utf-8")) if DURATIONS.exists() else {}
            for scope in sorted(self.workqueue, key=lambda scope: -seconds.get(scope, UNKNOWN)):
                self.workqueue.move_to_end(scope)
            self._sorted = True
        super()._assign_work_unit(node)
