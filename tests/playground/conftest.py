"""A playground of the tiny model, and who asks it."""

from pathlib import Path

import pytest
from played_run import make_run, request

from lape.cli import main
from lape.playground.answering import Playground
from lape.playground.finished_run import FinishedRun


@pytest.fixture(scope="package")
def run_folder(finished_stages, tmp_path_factory) -> Path:
    """A finished run; for reading only."""
    return make_run(finished_stages, tmp_path_factory.mktemp("played") / "workspace")


@pytest.fixture(scope="package")
def playground(run_folder) -> Playground:
    return Playground(FinishedRun.open(run_folder))


@pytest.fixture
def one_identifier(monkeypatch):
    """langdetect stands in for lingua, whose models load for many seconds."""
    from lape.text import identification

    monkeypatch.setitem(identification.IDENTIFIERS, "lingua", identification.by_langdetect)


@pytest.fixture
def ask(playground, one_identifier):
    """Ask the tiny model: the last answers."""

    def ask(**asked):
        *_, found = playground.answers(request(**asked))
        return found

    return ask


@pytest.fixture
def printed(capsys, one_identifier):
    """Run `lape play`: its exit status, what it printed and its messages."""

    def run(*words) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["play", *map(str, words)])
        return status, *capsys.readouterr()

    return run
