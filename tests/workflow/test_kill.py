"""Kill -9 of Snakemake and all its jobs at random times: the next run ends with the bytes of an uninterrupted one.

`make test` kills one run five times over, once in each fifth of its work; `make test-kill` kills twenty runs, each
once, over the whole of its time. The jobs of the one run are forks of a warm server, which kills them with their
callers: they spend their time on work and not on imports, so that a kill hits the work.
"""

import os
import random
import signal
import subprocess
import time

import pytest
from workflow_run import ENVIRONMENT, TIMED, Workspace

pytestmark = pytest.mark.workflow

KILLS = 20


def killed(workspace: Workspace, seconds: float) -> bool:
    """Start the workflow and kill its process group after a time; whether it was still at work then."""
    process = subprocess.Popen(**workspace.command("--cores", "2"), start_new_session=True)
    try:
        process.communicate(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True


def killed_at(workspace: Workspace, files: int, pause: float) -> bool:
    """The same, but the time is told by the work: a pause after so many files are there."""
    command = workspace.command("--cores", "2")
    command["args"][0] = str(ENVIRONMENT / "snakemake")  # a process of its own, whatever its jobs are
    process = subprocess.Popen(**command, start_new_session=True)
    try:
        while process.poll() is None and len(workspace.artifacts()) < files:
            time.sleep(0.05)
        time.sleep(pause)
        return process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()  # to its end: every job has a copy of the pipe


def check_what_stands(workspace: Workspace, whole: Workspace) -> None:
    """What a kill leaves under an artifact's name is the whole artifact; temporary files have names of their own."""
    expected = whole.hashes()
    stand = {
        name: digest
        for name, digest in workspace.hashes().items()
        if "/." not in name and ".partial" not in name and name not in TIMED
    }
    assert {name for name, digest in stand.items() if digest != expected[name]} == set()


def check_end(workspace: Workspace, whole: Workspace) -> None:
    """Run again as a user does; all is there to the byte, nothing is left over, and the audit passes."""
    if list((workspace.folder / ".snakemake" / "locks").glob("*")):
        workspace.snakemake("--unlock")
    workspace.run()
    workspace.check_same(whole)
    records = workspace.folder / ".snakemake"
    assert not [path for name in ("locks", "incomplete") for path in (records / name).rglob("*") if path.is_file()]
    audit = {**workspace.command(), "args": ["lape", "audit", "results/tiny/manifest.json"]}
    done = subprocess.run(**audit)
    assert done.returncode == 0, done.stdout
    assert "Nothing to be done" in workspace.run()


@pytest.fixture(scope="module")
def seconds(tmp_path_factory) -> float:
    """How long an uninterrupted run takes, with processes of its own for its jobs."""
    workspace = Workspace.create(tmp_path_factory.mktemp("timed") / "run")
    start = time.monotonic()
    workspace.run()
    return time.monotonic() - start


def test_a_run_that_is_killed_again_and_again(complete_run, programs, tmp_path):
    workspace, draw = Workspace.create(tmp_path / "run", programs), random.Random(0)
    files = len(complete_run.artifacts())
    for fifth in range(5):
        share = (fifth + 0.9 * draw.random()) / 5
        assert killed_at(workspace, int(share * files), draw.uniform(0, 0.3)), "it ended before it could be killed"
        check_what_stands(workspace, complete_run)
        if list((workspace.folder / ".snakemake" / "locks").glob("*")):
            workspace.snakemake("--unlock")
    check_end(workspace, complete_run)


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(KILLS))
def test_a_run_that_is_killed_once(complete_run, programs, seconds, tmp_path, number):
    # The times are spread over the run: one at random in each twentieth of it.
    moment = (number + random.Random(number).random()) / KILLS * seconds
    for attempt in range(5):
        workspace = Workspace.create(tmp_path / f"run{attempt}")
        if killed(workspace, moment * 0.8**attempt):
            break
    else:
        pytest.fail("every run ended before it could be killed")
    check_what_stands(workspace, complete_run)
    workspace.programs = programs
    check_end(workspace, complete_run)
