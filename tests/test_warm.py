"""The warm programs of the tests: they do what a new process would, and nothing of them outlives who uses them."""

import os
import shutil
import subprocess
import sys
import tempfile

import psutil
import pytest
from tiny_data import ROOT
from waiting import wait_until
from workflow_run import Workspace

from lape.machine import warm
from lape.machine.usage import read_usage, usage_file

WORK = "import os, subprocess, time; child = subprocess.Popen(['sleep', '600']); "
WORK += "print(os.getpid(), child.pid, flush=True); time.sleep(600)"
# A test run: it starts a server, lets it work, and stands still.
RUN = f"""
import subprocess, time
from warm import warm_programs
with warm_programs(["json"]) as folder:
    subprocess.run([folder / "python", "-c", {WORK!r}])
"""


def running(process: int) -> bool:
    """Whether a process lives; a dead one that nobody has waited for does not."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_warm_program_has_the_callers_words_folder_variables_files_and_status(programs, tmp_path):
    code = (
        "import os, sys; print(sys.argv[1:], os.getcwd(), os.environ['HUE']); print('no', file=sys.stderr); sys.exit(7)"
    )
    done = subprocess.run(
        [programs / "python", "-c", code, "a b", "é"],
        cwd=tmp_path,
        env={**os.environ, "HUE": "red"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"['a b', 'é'] {tmp_path} red\n" and done.stderr == "no\n" and done.returncode == 7


def test_what_goes_wrong_in_a_warm_program_is_told_and_fails(programs):
    done = subprocess.run([programs / "python", "-c", "1 / 0"], capture_output=True, text=True)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


def test_a_caller_that_is_killed_takes_its_work_with_it(programs):
    caller = subprocess.Popen([programs / "python", "-c", WORK], stdout=subprocess.PIPE, text=True)
    work = [int(number) for number in caller.stdout.readline().split()]
    assert all(map(running, work))
    caller.kill()
    caller.communicate()
    wait_until(lambda: not any(map(running, work)), "the end of the work")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_a_killed_test_run_leaves_no_server():
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "helpers")}
    run = subprocess.Popen([sys.executable, "-c", RUN], env=environment, stdout=subprocess.PIPE, text=True)
    worker = int(run.stdout.readline().split()[0])
    server = [
        process.pid for process in psutil.Process(worker).parents() if "helpers/warm.py" in " ".join(process.cmdline())
    ]
    assert len(server) == 2  # the server, and its child that waits for the worker
    run.kill()
    run.wait()
    wait_until(lambda: not any(map(running, [worker, *server])), "the end of the server")


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("nvidia-smi"), reason="jobs start by themselves here")
def test_jobs_of_a_workflow_start_from_one_process_with_their_libraries(tmp_path):
    workspace = Workspace.create(tmp_path / "run")
    command = workspace.folder / "lape" / "commands" / "questions.py"
    note = (
        "import sys\nfrom pathlib import Path\nPath(f'{sys.argv[-1]}.warm').write_text(str('torch' in sys.modules))\n"
    )
    command.write_text(note + command.read_text())
    (tmp_path / "t").mkdir()
    names = [f"{folder}/{language}.jsonl" for folder in ("questions", "aligned") for language in ("fr", "ja", "en")]
    paths = [workspace.results / name for name in names]
    call = workspace.command("--cores", "2", "--", *(f"results/tiny/{name}" for name in names))
    call["env"]["TMPDIR"] = str(tmp_path / "t")
    done = subprocess.run(**call)
    assert done.returncode == 0, done.stdout
    assert {path.with_name(f"{path.name}.warm").read_text() for path in paths} == {"True"}
    assert all(read_usage(usage_file(workspace.results / "logs" / name))["peak_bytes"] > 2**26 for name in names)
    assert not list((tmp_path / "t").glob("lape-warm-*"))


def test_a_call_with_another_number_of_threads_is_a_process_of_its_own(tmp_path, monkeypatch):
    """The folder of temporary files may have a name that is too long for a socket's address."""
    (tmp_path / ("long" * 20)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 20)))
    echo = shutil.which("echo")
    with warm.serving(warm.__file__, {"lape": echo}, ["json"], threads="1") as folder:
        for threads, expected in (("2", "echoed\n"), ("1", "")):
            environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)}
            done = subprocess.run([folder / "lape", "echoed"], env=environment, capture_output=True, text=True)
            assert done.stdout == expected, done.stderr
            assert ("there is no command 'echoed'" in done.stderr) is (threads == "1")


def test_few_jobs_start_by_themselves():
    before = os.environ["PATH"]
    with warm.warm_lape(jobs=warm.JOBS - 1, threads=1):
        assert os.environ["PATH"] == before
