"""The checked configuration, and the names and constants and imports that all rules share; nothing here computes."""

import json
import re
import shlex
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)

from lape.artifacts.code import code_of
from lape.model.checkpoint import checkpoint_files
from lape.config import check_config, item_models, model_languages, named_models
from lape.errors import LapeError
from snakemake.exceptions import WorkflowError

try:
    check_config(config, Path(workflow.basedir, "config", "schema.yaml"))
    for name in named_models(config):
        if config["catalogue"][name]["source"] == "path":
            checkpoint_files(config["catalogue"][name]["path"])
except LapeError as error:
    raise WorkflowError(str(error)) from None

GGUF_MODELS, PATH_MODELS, HUB_MODELS = (
    [name for name, model in config["catalogue"].items() if model["source"] in sources]
    for sources in (("embedded", "gguf"), ("path",), ("hub",))
)
PICKLED_MODELS = [name for name in HUB_MODELS if config["catalogue"][name].get("pickled")]
URL_DOWNLOADS = [name for name, download in config["downloads"].items() if "url" in download]
PACKAGE_DOWNLOADS = [name for name in config["downloads"] if name not in URL_DOWNLOADS]
EXPERT_LANGUAGES = config["expert_units"]["languages"] or config["languages"]
LANGUAGES = list(dict.fromkeys([*config["languages"], *EXPERT_LANGUAGES, config["translation"]["source"]]))


def one_of(names):
    """A regular expression that matches these names and nothing else; nothing at all where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    model=one_of(config["catalogue"]),
    language=one_of(LANGUAGES),
    split="train|valid",
    deactivated=one_of(config["languages"]),
    ratio=r"[\d.e-]+",
    download=one_of(config["downloads"]),
    file=one_of(
        file
        for download in config["downloads"].values()
        for file in (download["files"] if "url" in download else [download["save_as"]])
    ),
    prompt="plain|suffix",
    job="[0-9]+",
    corpus=one_of(config["translation"]["corpora"]),
    selection="none|(top|bottom|both|random)-([0-9]+|lape)|lape|matched_lape|ap",
    setting="(normal|random|(deactivated|cross|cross_random)-[^@/]+|steered|steered_random)(@[^/]+)?",


def code(*modules):
    """The files whose edit changes what some modules compute; Snakemake does not watch imports."""
    return below_here(code_of(*modules))


def repository_files(*patterns):
    """Files of this repository."""
    return below_here(file for pattern in patterns for file in sorted(Path(workflow.basedir).resolve().glob(pattern)))


def below_here(files):
    """Paths, relative to the working directory where they lie below it."""
    here = Path.cwd().resolve()
    return [str(file.relative_to(here) if file.is_relative_to(here) else file) for file in files]


def languages_of(model):
    """The run's languages that a model is studied in."""
    return model_languages(config, model)


def of_languages(pattern):
    """Paths with {model} and {language}: one for every language of the wildcard's model."""
    return lambda wildcards: expand(pattern, model=wildcards.model, language=languages_of(wildcards.model))


def models_of(item):
    """The models that an item is made of."""
    return item_models(config, item)


def print_outputs():
    """Say where the results are."""
    run = Path("results", config["run"])
    reports = [run / "report.html", *(run / target / "report.html" for target in ("paper", "expert_units"))]
    reports = [path for path in reports if path.exists()]
    print(f"\nTables   {run / 'tables'}\nFigures  {run / 'figures'}")
    for path in reports:
        print(f"Report   {path}")
