"""What a worker of a test run takes as a whole, and how long each such unit takes.

`python -m bench.ci` writes `tests/durations.json` anew, also where nothing is installed.
"""

from pathlib import Path

DURATIONS = Path(__file__).parents[1] / "durations.json"
# Their tests share nothing within the file, or only what all workers share: each test is a unit of its own.
SPLIT = (
    "tests/kernels/test_build.py",
    "tests/workflow/test_kill.py",
    "tests/workflow/test_paper.py",
    "tests/workflow/test_workflow.py",
)


def unit(test: str) -> str:
    """What one worker takes as a whole: a test of a split file, or else all tests of a file."""
    file = test.split("::", 1)[0]
    return test if file in SPLIT else file
