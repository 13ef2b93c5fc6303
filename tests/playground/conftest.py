"""A finished run of the tiny model, with all that the playground reads."""

import json
import shutil
from pathlib import Path

import pytest
from default_config import DEFAULTS

from lape.cli import main
from lape.playground.answering import Playground
from lape.playground.asking import Request
from lape.playground.change import Change
from lape.playground.finished_run import FinishedRun

PROMPT = "la maison près de cette rivière ?"


@pytest.fixture(scope="package")
def run_folder(finished_stages, tmp_path_factory) -> Path:
    """The artifacts of the stages as a run has them; for reading only."""
    folder = shutil.copytree(finished_stages, tmp_path_factory.mktemp("played") / "workspace")
    run = folder / "results" / "tiny"
    for stage in ("models", "neurons", "steering", "expert_units"):
        shutil.copytree(folder / stage, run / stage / "tiny")
    shutil.copytree(folder / "statistics", run / "statistics" / "tiny")
    shutil.copytree(folder / "questions", run / "questions")
    own = {"run": "tiny", "models": ["tiny"], "languages": ["fr", "ja"], "catalogue": {"tiny": {}}}
    own["generation"] = DEFAULTS["generation"] | {"max_new_tokens": 12}
    own["expert_units"] = DEFAULTS["expert_units"] | {"size": 5}
    (run / "config.json").write_text(json.dumps(DEFAULTS | own))
    return run


@pytest.fixture(scope="package")
def playground(run_folder) -> Playground:
    return Playground(FinishedRun.open(run_folder))


@pytest.fixture
def ask(playground, monkeypatch):
    """Ask the tiny model: the last answers. langdetect stands in for lingua, whose models load for many seconds."""
    from lape.text import identification

    monkeypatch.setitem(identification.IDENTIFIERS, "lingua", identification.by_langdetect)

    def ask(off=(), on=None, dose="set-all-1-1", method="lape", prompt=PROMPT, **settings):
        *_, found = playground.answers(request(off, on, dose, method, prompt, **settings))
        return found

    return ask


@pytest.fixture
def printed(capsys, ask):
    """Run `lape play`: its exit status, what it printed and its messages."""

    def run(*words) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["play", *map(str, words)])
        return status, *capsys.readouterr()

    return run


def request(off=(), on=None, dose="set-all-1-1", method="lape", prompt=PROMPT, **settings) -> Request:
    from lape.interventions.dose import Dose

    change = Change(tuple(off), on, Dose.parse(dose))
    return Request("tiny", method, prompt, change, **{"max_new_tokens": 12} | settings)
