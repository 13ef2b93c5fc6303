"""Two workflows in one folder at once: side by side, unless both want a file that is not there yet."""

import subprocess
import threading

import pytest
import yaml
from package_index import TEXT, digest
from workflow_run import Workspace

pytestmark = pytest.mark.workflow


@pytest.fixture
def shared(index, programs, tmp_path):
    """A workspace with the runs a and b, and a download that both want: it stands still until it is let go."""
    run, held = Workspace.create(tmp_path / "run", programs), threading.Event()
    index.bodies["/fr.txt"] = TEXT
    answer = index.answer
    index.answer = lambda handler: (held.wait(300), answer(handler))
    download = {"texts": {"url": f"{index.url.removesuffix('/simple/')}/{{file}}", "files": {"fr.txt": digest(TEXT)}}}
    run.configure(downloads=download)
    config = yaml.safe_load((run.folder / "tiny.yaml").read_text(encoding="utf-8"))
    for name in ("a", "b"):
        (run.folder / f"{name}.yaml").write_text(yaml.safe_dump({**config, "run": name}), encoding="utf-8")
    yield run, held
    held.set()


def start(run: Workspace, name: str, *targets: str) -> subprocess.Popen:
    command = run.command("--cores", "1", "--", *targets)
    command["args"][2] = f"{name}.yaml"
    return subprocess.Popen(**command)


def test_two_workflows_in_one_folder(shared):
    run, held = shared
    wanted = "results/downloads/texts/fr.txt"
    first = start(run, "a", wanted, "results/a/config.json")
    while not (run.folder / "results/downloads/texts/fr.txt.log").exists():
        assert first.poll() is None, first.communicate()[0]
        threading.Event().wait(0.1)
    # Another run that wants the download too is refused while the first holds the lock.
    again = start(run, "b", wanted)
    output = again.communicate()[0]
    assert again.returncode == 1 and "cannot be locked" in output and "--unlock" in output, output
    # One that wants nothing of the first's is not. As it ends, Snakemake drops the first's lock, too.
    other = start(run, "b", "results/b/config.json")
    output = other.communicate()[0]
    assert other.returncode == 0, output
    assert not (run.folder / wanted).exists()
    held.set()
    output = first.communicate()[0]
    assert first.returncode == 0, output
    assert (run.folder / wanted).read_bytes() == TEXT
    # Later the other takes what the first has fetched.
    last = start(run, "b", wanted)
    assert "Nothing to be done" in last.communicate()[0]
