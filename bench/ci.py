"""How long each part of `.ci/run` takes, and each test: `python -m bench.ci` runs it and keeps what it finds.

It writes bench/results/ci.json, one entry a run, and tests/durations.json, by which the tests are scheduled.
`--kept` reads the last run's files instead of running anything.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from units import DURATIONS, unit  # noqa: E402

RESULTS = ROOT / "bench" / "results" / "ci.json"
LOG, TESTS = ROOT / "build" / "ci.log", ROOT / "build" / "tests.xml"
SLOWEST = 25
# Of a unit that is faster, its place in the order matters to nobody.
SHORT = 1.0


def run() -> None:
    """Run `.ci/run`; its output is shown and kept.

    Raises:
        SystemExit: it failed.
    """
    LOG.parent.mkdir(exist_ok=True)
    start = time.monotonic()
    with open(LOG, "w", encoding="utf-8") as log:
        process = subprocess.Popen([ROOT / ".ci" / "run"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in process.stdout:
            print(line, end="", flush=True)
            log.write(line)
        log.write(f"part all: {time.monotonic() - start:.0f} s\n")
    if process.wait():
        sys.exit(process.returncode)


def parts(log: str) -> dict[str, int]:
    """Seconds of each part, in the order in which they ended."""
    return {name: int(seconds) for name, seconds in re.findall(r"^part ([\w-]+): (\d+) s$", log, re.MULTILINE)}


def tests(xml: str) -> dict[str, float]:
    """Seconds of each test, set-up of what it is the first to use included."""
    cases = ElementTree.fromstring(xml).iter("testcase")
    return {
        f"{case.get('classname').replace('.', '/')}.py::{case.get('name')}": float(case.get("time")) for case in cases
    }


def units(seconds: dict[str, float]) -> dict[str, float]:
    """Seconds of each unit of work that a worker of the tests takes as a whole; short ones are left out."""
    total = Counter()
    for test, time_taken in seconds.items():
        total[unit(test)] += time_taken
    return {name: round(time_taken, 1) for name, time_taken in sorted(total.items()) if time_taken >= SHORT}


def processor() -> str:
    """The processor's name as lscpu tells it."""
    done = subprocess.run(["lscpu"], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    return next((line.split(":")[1].strip() for line in done.stdout.splitlines() if "Model name" in line), "unknown")


def main() -> None:
    """Measure, or read what was measured, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kept", action="store_true", help="read the files of the last run")
    parser.add_argument("--note", default="", help="under what conditions")
    options = parser.parse_args()
    if not options.kept:
        run()
    seconds = tests(TESTS.read_text(encoding="utf-8"))
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    entry = {
        "commit": git.stdout.strip(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "note": options.note,
        "parts": parts(LOG.read_text(encoding="utf-8")),
        "tests": len(seconds),
        "slowest": dict(sorted(seconds.items(), key=lambda each: -each[1])[:SLOWEST]),
    }
    runs = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    RESULTS.write_text(json.dumps([*runs, entry], indent=1) + "\n", encoding="utf-8")
    DURATIONS.write_text(json.dumps(units(seconds), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
