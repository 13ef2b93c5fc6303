"""Time and peak memory of a run by stage, from what its finished jobs wrote beside their logs.

    python -m bench.stages results/default [--json FILE]

Seconds are summed over a stage's jobs; jobs that ran side by side took less time on the clock. CPU seconds say what
they cost where the machine did other work, too. The versions come from the run's manifest, and the machine is the one
that prints the table.
"""

import argparse
import json
import os
import platform
from pathlib import Path

import numpy as np
import pandas as pd

from bench.report import Row, processor
from bench.timing import Spread
from lape.machine.usage import read_usage


def stages(run: Path) -> pd.DataFrame:
    """One row per stage: jobs, seconds and CPU seconds over all jobs, longest job, largest peak memory."""
    rows = []
    for file in sorted(run.glob("logs/**/*.tsv")):
        stage, used = file.relative_to(run / "logs").parts[0], read_usage(file)
        rows.append({"stage": stage, **used, "peak_mib": used["peak_bytes"] / 2**20})
    if not rows:
        raise SystemExit(f"{run}: its logs do not say what the jobs took; run the workflow first")
    grouped = pd.DataFrame(rows).groupby("stage", sort=False)
    table = grouped.agg(
        jobs=("seconds", "size"),
        seconds=("seconds", "sum"),
        cpu_seconds=("cpu_seconds", "sum"),
        longest=("seconds", "max"),
        peak_mib=("peak_mib", "max"),
    )
    first, last = ["corpus", "models", "tokens", "statistics", "neurons"], ["tables", "figures"]
    others = [stage for stage in table.index if stage not in (*first, *last)]
    return table.reindex([stage for stage in (*first, *others, *last) if stage in table.index])


def stage_rows(run: Path) -> list[Row]:
    """Section 7, from a finished run on whatever machine it ran; no rows without a finished run."""
    if not _finished(run):
        return []
    table = stages(run)
    rows = [
        Row(7, stage, _one(row.seconds), "s", note=f"{row.jobs:.0f} jobs, peak {row.peak_mib * 2**20 / 1e9:.2f} GB")
        for stage, row in table.iterrows()
    ]
    note = f"of {run}, from its first job to its report; the sum over jobs is {table['seconds'].sum():.0f} s"
    return [*rows, Row(7, "the workflow after downloads", _one(clock(run)), "s", ("under", 300.0), note)]


def clock(run: Path) -> float:
    """Seconds from the start of a run's first job to its report. They mean little where the run was interrupted."""
    files = list(run.glob("logs/*/**/*.tsv"))
    starts = [file.stat().st_mtime - read_usage(file)["seconds"] for file in files]
    return (run / "report.html").stat().st_mtime - min(starts)


def _finished(run: Path) -> bool:
    return (run / "report.html").is_file()


def _one(value: float) -> Spread:
    return Spread.of(np.array([value]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("results/default"))
    parser.add_argument("--json", type=Path, help="write the table there too, with the machine and the versions")
    arguments = parser.parse_args()
    table = stages(arguments.run)
    machine = {"machine": platform.machine(), "processor": processor(), "cores": os.cpu_count()}
    print(f"{arguments.run} on {machine['processor']} ({machine['cores']} cores)\n")
    print(table.round(1).to_string())
    finished = _finished(arguments.run)
    on_the_clock = f"on the clock: {clock(arguments.run):.0f} s" if finished else "the run has no report yet"
    print(f"\nall jobs: {table['seconds'].sum():.0f} s, {table['cpu_seconds'].sum():.0f} CPU s; {on_the_clock}")
    if arguments.json:
        if not finished:
            parser.error(f"{arguments.run} has no report and no manifest.json yet; --json is for a finished run")
        manifest = json.loads((arguments.run / "manifest.json").read_text())
        content = {**machine, "versions": manifest["versions"], "stages": table.reset_index().to_dict("records")}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
