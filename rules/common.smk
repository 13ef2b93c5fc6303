"""The checked configuration, and the names and constants and imports that all rules share; nothing here computes."""

import json
import re
import shlex
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)

from lape.checkpoint import checkpoint_files
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


def code(*patterns):
    """Files of this repository whose edit changes a rule's numbers; Snakemake does not watch imports."""
    here, base = Path.cwd().resolve(), Path(workflow.basedir).resolve()
    files = [file for pattern in patterns for file in sorted(base.glob(pattern))]
    return [str(file.relative_to(here) if file.is_relative_to(here) else file) for file in files]


# What several rules run.
TEXT_CODE = code(
    "lape/expert_units/texts.py",
    "lape/expert_units/settings.py",
    "lape/expert_units/selection.py",
    "lape/expert_units/intervention.py",
    "lape/expert_units/linear.py",
    "lape/generation/decoding.py",
    "lape/generation/answers.py",
    "lape/generation/parts.py",
    "lape/generation/settings.py",
    "lape/steering.py",
    "lape/perturbation.py",
    "lape/neurons.py",
    "lape/tokenizer.py",
    "lape/ffn.py",
    "lape/ranks.py",
    "lape/probe.py",
    "lape/fused.py",
    "lape/ops.py",
    "lape/reference.py",
    "lape/model.py",
    "csrc/*",
)
STATISTICS_CODE = code(
    "lape/statistics.py",
    "lape/recording.py",
    "lape/fused.py",
    "lape/ffn.py",
    "lape/ranks.py",
    "lape/probe.py",
    "lape/batches.py",
    "lape/memory.py",
    "lape/ops.py",
    "lape/reference.py",
    "lape/model.py",
    "lape/commands/statistics.py",
    "csrc/*",
)
SCORE_CODE = code(
    "lape/generation/scores.py",
    "lape/identification.py",
    "lape/generation/answers.py",
    "lape/generation/references.py",
    "lape/corpus/pairs.py",
    "lape/corpus/sentences.py",
    "lape/tokenizer.py",
    "lape/perplexity.py",
    "lape/ffn.py",
    "lape/ranks.py",
    "lape/ops.py",
    "lape/reference.py",
    "lape/model.py",
    "lape/commands/score.py",
    "csrc/*",
)


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
