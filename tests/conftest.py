"""Fixtures that tests of several packages share, and how the workers of a test run share their work."""

import contextlib
import shutil
from pathlib import Path

import pytest
from harness_tasks import harness_tasks  # noqa: F401 (a fixture of several packages)
from once import made_once
from package_index import index  # noqa: F401 (a fixture of several packages)
from tiny_data import make_model, make_texts
from warm import warm_programs

_ENDING = pytest.StashKey[contextlib.ExitStack]()
_PROGRAMS = pytest.StashKey[Path]()


def pytest_configure(config):
    """Collect what is to be ended after the test run."""
    config.stash[_ENDING] = contextlib.ExitStack()


def pytest_unconfigure(config):
    """End it."""
    config.stash[_ENDING].close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tell each worker where the warm programs are; one server for all saves seconds and memory."""
    stash = node.config.stash
    if _PROGRAMS not in stash:
        stash[_PROGRAMS] = stash[_ENDING].enter_context(warm_programs())
    node.workerinput["programs"] = str(stash[_PROGRAMS])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Let `--dist loadfile` begin with what takes longest."""
    if config.getvalue("dist") == "loadfile":
        from schedule import LongestFirst

        return LongestFirst(config, log)
    return None


def pytest_terminal_summary(terminalreporter):
    """Show what the compiler says of the CUDA kernels, which CI compiles and cannot run."""
    reports = (report for kind in terminalreporter.stats.values() for report in kind)
    lines = {line for report in reports for key, line in getattr(report, "user_properties", ()) if key == "nvcc"}
    if lines:
        terminalreporter.section("nvcc")
        for line in sorted(lines):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """A saved tiny model, for reading only."""
    return make_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tiny_model(tiny_folder):
    """The tiny model, loaded anew."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_folder).eval()


@pytest.fixture(scope="session")
def tiny_texts(tmp_path_factory) -> Path:
    """Tiny texts in three languages, for reading only."""
    return make_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture
def lape(capsys):
    """Run a command as a user would: returns its exit status and what it wrote to stderr."""
    from lape.cli import main

    def run(*arguments) -> tuple[int, str]:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return status, capsys.readouterr().err

    return run


@pytest.fixture(scope="session")
def programs(request):
    """A folder with a `lape` and a `snakemake` that start at once; the workers share it."""
    if shared := getattr(request.config, "workerinput", {}).get("programs"):
        yield Path(shared)
    else:
        with warm_programs() as folder:
            yield folder


@pytest.fixture(scope="session")
def complete_run(tmp_path_factory, programs):
    """The workflow, run once to its end on the tiny model; for reading only, so copy it before changing it."""
    from workflow_run import Workspace

    folder = made_once(tmp_path_factory, "workflow", lambda folder: Workspace.create(folder, programs).run())
    return Workspace(folder, programs)


@pytest.fixture
def tampered(complete_run, tmp_path, monkeypatch):
    """A copy of the complete run, to tamper with; the working directory."""
    workspace = complete_run.copy(tmp_path / "run")
    monkeypatch.chdir(workspace.folder)
    return workspace


@pytest.fixture
def faults(lape):
    """Audit the tampered run: what is wrong with which file, one (file, fault) a line."""
    from tampering import MANIFEST

    from lape.errors import counted

    def audit() -> list[tuple[str, str]]:
        status, messages = lape("audit", MANIFEST)
        lines = [line for line in messages.splitlines() if line.startswith(("results", "model", "texts", "lape audit"))]
        assert "Traceback" not in messages
        if status == 0:
            return []
        *found, last = lines
        assert status == 1
        remedy = "make what is named again: snakemake --cores all --force FILE ..."
        assert last == f"lape audit: {MANIFEST}: {counted(len(found), 'fault')}; {remedy}"
        return [tuple(line.split(": ", 1)) for line in found]

    return audit


@pytest.fixture(scope="session")
def finished_stages(tmp_path_factory) -> Path:
    """A folder in which every stage has run by its command; for reading only."""
    from stages import finish

    def make(folder: Path) -> None:
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            finish(folder)

    return made_once(tmp_path_factory, "stages", make)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, finished_stages) -> Path:
    """The folder of a finished run of the tiny model; for reading only."""
    from played_run import make_run

    return made_once(tmp_path_factory, "finished", lambda folder: make_run(finished_stages, folder)) / "results/tiny"


@pytest.fixture
def stages(finished_stages, tmp_path, monkeypatch) -> Path:
    """A copy of the finished stages, to break; the working directory."""
    folder = shutil.copytree(finished_stages, tmp_path / "stages")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def refused(stages, lape):
    """Run a command that must fail: checks its line, and that no file below the working directory is new or changed."""
    from stages import check_refusal, tree

    def run(words: list[str], *names: str) -> str:
        before = tree(stages)
        status, messages = lape(*words)
        line = check_refusal(status, messages, words[0], *names)
        assert tree(stages) == before
        return line

    return run
