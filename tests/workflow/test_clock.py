"""A clock that jumps: no number depends on it, nothing is done twice, and what Snakemake misses the audit names."""

import os
import time

import pytest
from stages import STAGES, arguments
from workflow_run import Workspace

YEARS = 10 * 365 * 86400
CORPUS, CONFIG = "results/tiny/corpus/fr.json", "results/tiny/config.json"


def shift(folder, seconds: float) -> None:
    """Change the time of every file, as a jump of the clock before they were written would have."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (path.stat().st_atime + seconds, path.stat().st_mtime + seconds))


@pytest.mark.parametrize("seconds", [-YEARS, YEARS])
def test_stages_write_the_same_bytes_at_any_time(stages, lape, monkeypatch, seconds):
    before = {path: path.read_bytes() for path in stages.rglob("*") if path.is_file()}
    shift(stages, seconds)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    for stage in STAGES:
        if stage != "manifest":  # which says when each artifact was written
            status, messages = lape(*arguments(stage))
            assert status == 0, messages
    after = {path: path.read_bytes() for path in before}
    assert {path for path in before if before[path] != after[path]} == set()


@pytest.mark.workflow
def test_a_workflow_whose_clock_jumps(tmp_path, programs, lape, monkeypatch):
    run = Workspace.create(tmp_path / "run", programs)
    run.run(CORPUS, CONFIG)
    monkeypatch.chdir(run.folder)
    for seconds in (-YEARS, 2 * YEARS):  # results of the past, then of the future
        shift(run.results, seconds)
        assert run.pending(CORPUS) == {}
    assert lape("manifest", CORPUS, "--config", CONFIG, "--output", "results/tiny/manifest.json")[0] == 0

    # Edited after the clock was put back: Snakemake compares times first, and sees nothing. The audit compares hashes.
    text = run.folder / "texts/fr/00.txt"
    text.write_text(text.read_text(encoding="utf-8") + " maison", encoding="utf-8")
    assert run.pending(CORPUS) == {}
    status, messages = lape("audit", "results/tiny/manifest.json")
    assert status == 1 and f"{CORPUS}: was made from another texts/fr/00.txt" in messages
    # Its remedy, to delete what it names, holds whatever the clock says.
    for suffix in (".json", ".parquet"):
        (run.folder / CORPUS).with_suffix(suffix).unlink()
    run.run(CORPUS)
    header = (run.folder / CORPUS).read_text(encoding="utf-8")
    assert lape("manifest", CORPUS, "--config", CONFIG, "--output", "results/tiny/manifest.json")[0] == 0
    assert "was made from another" not in lape("audit", "results/tiny/manifest.json")[1], header
