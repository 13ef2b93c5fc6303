"""Time and peak memory of a finished run by stage, from the benchmarks that the workflow wrote.

    python bench/stages.py results/default [--json FILE]

Seconds are summed over a stage's jobs; jobs that ran side by side took less time on the clock. The machine and
the versions are those of the run's manifest and of the machine that prints the table.
"""

import argparse
import json
import os
import platform
from pathlib import Path

import pandas as pd


def stages(run: Path) -> pd.DataFrame:
    """One row a stage: jobs, seconds summed over jobs, seconds of the longest, peak memory of the largest."""
    rows = []
    for file in sorted(run.glob("benchmarks/**/*.tsv")):
        job = pd.read_csv(file, sep="\t", na_values="-").iloc[0]
        stage = file.relative_to(run / "benchmarks").parts[0]
        rows.append({"stage": stage, "seconds": job["s"], "peak_mib": job["max_rss"]})
    if not rows:
        raise SystemExit(f"{run}: has no benchmarks; run the workflow first")
    grouped = pd.DataFrame(rows).groupby("stage", sort=False)
    table = grouped.agg(
        jobs=("seconds", "size"), seconds=("seconds", "sum"), longest=("seconds", "max"), peak_mib=("peak_mib", "max")
    )
    order = ["corpus", "models", "tokens", "statistics", "neurons", "perplexity", "tables", "figures"]
    return table.reindex([stage for stage in order if stage in table.index])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("results/default"))
    parser.add_argument("--json", type=Path, help="write the table there too, with the machine and the versions")
    arguments = parser.parse_args()
    table = stages(arguments.run)
    machine = {"machine": platform.machine(), "processor": _processor(), "cores": os.cpu_count()}
    print(f"{arguments.run} on {machine['processor']} ({machine['cores']} cores)\n")
    print(table.round(1).to_string())
    print(f"\nall jobs: {table['seconds'].sum():.0f} s")
    if arguments.json:
        manifest = json.loads((arguments.run / "manifest.json").read_text())
        content = {**machine, "versions": manifest["versions"], "stages": table.reset_index().to_dict("records")}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


if __name__ == "__main__":
    main()
