"""The presets of config/presets: made from one table of languages, and planned over the default model."""

import json

import presets
import pytest

from lape.plan.costs import COSTS, Sizes
from lape.plan.jobs import planned_jobs
from lape.text.identification import known_languages
from lape.text.language_codes import base_language


def settings(job) -> dict:
    return json.loads(job.arguments.settings) if isinstance(job.arguments.settings, str) else job.arguments.settings


def test_presets_are_those_of_the_table():
    files = {path.name: path.read_text(encoding="utf-8") for path in presets.FOLDER.glob("*.yaml")}
    assert files == presets.presets(), "run `make format`"


def test_languages_are_what_the_datasets_call_them_and_fasttext_knows_them():
    known = presets.languages()
    assert len(known) == 100 and all(len(code) == 2 for code in known)
    assert {base_language(code) for code in known} <= known_languages("fasttext")
    for code, row in known.items():
        for name in filter(None, (row["fineweb2"], row["flores"])):
            # langcodes does not know that Southern Pashto (pbt) is Pashto.
            assert base_language(name) == base_language(code) or (code, name) == ("ps", "pbt_Arab")


@pytest.mark.parametrize(
    ("names", "target", "languages", "questions"),
    [
        (["fineweb2-30", "flores-30"], "similarity_by_layer", 30, 30),
        (["fineweb2-100", "flores-100"], "expert_precision", 100, 0),
        (["fineweb2-100"], "sharing", 100, 0),
        (["clas-bench"], "steering_methods", 32, 32),
        (["language-confusion"], "answers_steered", 15, 15),
    ],
)
def test_presets_are_planned(names, target, languages, questions):
    files = [presets.FOLDER / f"{name}.yaml" for name in names]
    config, jobs = planned_jobs(files, [target], everything=True)
    corpora = {job.arguments.language: job for job in jobs if job.command == "corpus"}
    known = presets.languages()
    for code, job in corpora.items():
        english = ("HuggingFaceFW/fineweb", "sample-10BT")
        place = english if code == "en" else ("HuggingFaceFW/fineweb-2", known[code]["fineweb2"])
        assert tuple(settings(job)[key] for key in ("path", "config")) == place
    asked = {job.arguments.language: settings(job) for job in jobs if job.command == "questions"}
    drawn = {job.arguments.language: settings(job) for job in jobs if job.command == "sentences"}
    assert {*corpora, *drawn} == {*config["languages"]} and len(config["languages"]) == languages
    assert len(asked) == questions
    # No setting of another language is among those of one: a language more makes no other anew.
    for code, own in asked.items():
        assert all(set(value) <= {code, "number", "question"} for value in own.values() if isinstance(value, dict))
    sizes = Sizes(jobs)
    fetched = sum(COSTS["corpus"](job.arguments, None, sizes).network for job in corpora.values())
    assert fetched == len(corpora) * 40_000 * 3000 / 2
