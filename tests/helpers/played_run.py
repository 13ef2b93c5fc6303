"""A finished run of the tiny model to play with, and what is asked of it."""

import json
import shutil
from pathlib import Path

from default_config import DEFAULTS

from lape.interventions.dose import Dose
from lape.playground.asking import Request
from lape.playground.change import Change

PROMPT = "la maison près de cette rivière ?"


def make_run(stages: Path, folder: Path) -> Path:
    """Lay out a copy of the finished stages as a run has them; returns the run's folder."""
    shutil.copytree(stages, folder)
    run = folder / "results" / "tiny"
    for stage in ("models", "neurons", "steering", "expert_units", "statistics", "tokens"):
        shutil.copytree(folder / stage, run / stage / "tiny")
    shutil.copytree(folder / "questions", run / "questions")
    own = {"run": "tiny", "models": ["tiny"], "languages": ["fr", "ja"], "catalogue": {"tiny": {}}}
    own["generation"] = DEFAULTS["generation"] | {"max_new_tokens": 12}
    own["expert_units"] = DEFAULTS["expert_units"] | {"size": 5}
    (run / "config.json").write_text(json.dumps(DEFAULTS | own))
    return run


def request(off=(), on=None, dose="set-all-1-1", method="lape", prompt=PROMPT, **settings) -> Request:
    """A request to the tiny model."""
    change = Change(tuple(off), on, Dose.parse(dose))
    return Request("tiny", method, prompt, change, **{"max_new_tokens": 12} | settings)
