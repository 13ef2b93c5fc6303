"""Functions and constants that the rules share; nothing here computes."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)

from lape.checkpoint import checkpoint_files
from lape.config import check_config
from lape.errors import LapeError
from lape.globs import matching_files
from snakemake.exceptions import WorkflowError

try:
    check_config(config, Path(workflow.basedir, "config", "schema.yaml"))
    for name in config["models"]:
        if config["catalogue"][name]["source"] == "path":
            checkpoint_files(config["catalogue"][name]["path"])
except LapeError as error:
    raise WorkflowError(str(error)) from None

GGUF_MODELS, PATH_MODELS, HUB_MODELS = (
    [name for name, model in config["catalogue"].items() if model["source"] in sources]
    for sources in (("embedded", "gguf"), ("path",), ("hub",))
)
# The sets whose deactivation is measured: method and name of each.
DEACTIVATIONS = [
    ("none", "baseline"),
    *(("lape", language) for language in config["languages"]),
    ("random", "random"),
]
# Tables and figures of the run, and what the report shows.
REPORT_ITEMS = [
    *(f"<results>/tables/{item}.csv" for item in ("baseline", "figure2", "table3", "tables6_10", "figure5")),
    *(f"<results>/figures/{item}.svg" for item in ("figure2", "figure2_log_ratio", "figure5")),
]


def one_of(names):
    """A regular expression that matches these names and nothing else; nothing at all where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    model=one_of(config["catalogue"]),
    language=one_of(config["languages"]),
    split="train|valid",
    deactivated=one_of(["random", *config["languages"]]),
    download=one_of(config["downloads"]),
    file=one_of(download["save_as"] for download in config["downloads"].values()),


def code(*patterns):
    """Files of this repository whose edit changes a rule's numbers; Snakemake does not watch imports."""
    here, base = Path.cwd().resolve(), Path(workflow.basedir).resolve()
    files = [file for pattern in patterns for file in sorted(base.glob(pattern))]
    return [str(file.relative_to(here) if file.is_relative_to(here) else file) for file in files]


def optional(flag, value):
    """A flag and its quoted value for a shell line, or nothing where there is no value."""
    return "" if value is None else f"{flag} {shlex.quote(str(value))}"


def downloaded(name):
    """Path of a download."""
    return f"results/downloads/{name}/{config['downloads'][name]['save_as']}"


def gguf(wildcards):
    """The GGUF file of a model: a download, or a file of the user's."""
    model = config["catalogue"][wildcards.model]
    return downloaded(model["download"]) if model["source"] == "embedded" else model["path"]


def corpus_input(wildcards):
    """What a language's corpus is made from: the downloaded file, the files of its glob, or nothing (hub)."""
    corpus = config["corpus"]
    if corpus["source"] == "embedded":
        return downloaded(corpus["embedded"]["download"])
    if corpus["source"] == "files":
        return matching_files(corpus["files"]["pattern"], wildcards.language)
    return []


def corpus_settings():
    """Settings of the configured source, as its reader takes them."""
    settings = dict(config["corpus"][config["corpus"]["source"]])
    del settings["exclude"]  # an option of the command, whatever the source
    return settings


def checkpoint(wildcards):
    """Files of a model's folder: a file that is written anew must be noticed, a folder's time stays."""
    return [str(file) for file in checkpoint_files(config["catalogue"][wildcards.model]["path"])]


def model_flags(wildcards):
    """Command-line form of the settings that every source of a model shares."""
    model = config["catalogue"][wildcards.model]
    keys = ("dtype", "device", "device_map", "attn_implementation", "quantization")
    flags = [optional(f"--{key.replace('_', '-')}", model.get(key)) for key in keys]
    flags += [f"--{key.replace('_', '-')}" for key in ("compile", "trust_remote_code") if model.get(key)]
    return " ".join(filter(None, flags))


def gpus(wildcards):
    """GPUs that a job of the wildcard's model takes: one where its device is, or may be, CUDA."""
    device = config["catalogue"][wildcards.model].get("device", "auto")
    return int(device.startswith("cuda") or (device == "auto" and bool(shutil.which("nvidia-smi"))))


def perplexity_headers(wildcards):
    """Headers of every row of the matrix, of every model."""
    return [
        f"<results>/perplexity/{model}/{method}/{deactivated}.json"
        for model in config["models"]
        for method, deactivated in DEACTIVATIONS
    ]


def print_outputs():
    """Say where the results are."""
    run = Path("results", config["run"])
    print(f"\nTables   {run / 'tables'}\nFigures  {run / 'figures'}\nReport   {run / 'report.html'}")
