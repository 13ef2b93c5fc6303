"""What a command took: a small table beside its log. It measures the process itself, however that was started."""

import csv
import resource
import sys
import time
from pathlib import Path

_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
_began = time.monotonic()  # when this module was imported, which is when the command began


def usage_file(log: Path) -> Path:
    """Where the usage of the command stands that writes to a log."""
    return log.with_suffix(".tsv")


def write_usage(log: Path) -> None:
    """Write what this process and those that it waited for took so far.

    The columns are seconds (on the clock, since the command began), cpu_seconds (user and system) and peak_bytes (of
    the largest process).
    """
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    row = {
        "seconds": round(time.monotonic() - _began, 3),
        "cpu_seconds": round(sum(each.ru_utime + each.ru_stime for each in used), 3),
        "peak_bytes": max(each.ru_maxrss for each in used) * _UNIT,
    }
    with open(usage_file(log), "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, row, delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerow(row)


def read_usage(path: Path) -> dict[str, float]:
    """Column -> value, of a file that `write_usage` wrote."""
    with open(path, encoding="utf-8", newline="") as file:
        return {name: float(value) for name, value in next(csv.DictReader(file, delimiter="\t")).items()}
