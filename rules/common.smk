"""Functions and constants that the rules share; nothing here computes."""

import glob
import json
import os
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
from lape.paper import pretraining_shares
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
# PV compares three languages or more.
METHODS = [
    method for method in config["experiments"]["figure2"]["methods"] if method != "pv" or len(config["languages"]) > 2
]
FIGURE3_MODELS = list(dict.fromkeys([*config["models"], *config["experiments"]["figure3"]["more_models"]]))
# Tables and figures by the target that makes them; what the report shows.
DEFAULT_ITEMS = [
    *(f"<results>/tables/{item}.csv" for item in ("baseline", "deactivation", "table3", "tables6_10")),
    *(f"<results>/figures/{item}.svg" for item in ("deactivation", "deactivation_log_ratio", "figure5")),
]
PAPER_TABLES = ("figure2", "figure3", "figure4", "figure8", "sharing", "sharing_histogram", "diagonality")
PAPER_TABLES += ("agreement", "stability", "stability_curve")
PAPER_TABLES += ("table7",) * (not set(pretraining_shares().index).isdisjoint(config["languages"]))
PAPER_TABLES += ("left_out",) * (len(config["languages"]) > 2)  # of two languages none can be left out
PAPER_FIGURES = ("figure2", "figure3", "figure4", "figure8", "sharing", "sharing_histogram", "agreement")
PAPER_FIGURES += ("stability", "stability_curve")
PAPER_ITEMS = [
    *DEFAULT_ITEMS,
    *(f"<results>/tables/{item}.csv" for item in PAPER_TABLES),
    *(f"<results>/figures/{item}.svg" for item in PAPER_FIGURES),
]


def one_of(names):
    """A regular expression that matches these names and nothing else; nothing at all where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    model=one_of(config["catalogue"]),
    language=one_of(config["languages"]),
    split="train|valid",
    deactivated=one_of(config["languages"]),
    ratio=r"[\d.e-]+",
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


def instructions_settings(wildcards):
    """Settings of the configured source for one language, as its reader takes them.

    Files are looked for in the working directory, then in this repository, where the default's are.
    """
    section, language = config["instructions"], wildcards.language
    if section["source"] == "hub":
        return section["hub"][language]
    pattern = section["files"]["pattern"]
    here = pattern[language] if isinstance(pattern, dict) else pattern
    ours = os.path.join(glob.escape(os.path.relpath(Path(workflow.basedir).resolve())), here)
    found = next((each for each in (here, ours) if matching_files(each, language)), here)
    return {**section["files"], "pattern": found}


def instructions_input(wildcards):
    """What a language's instructions are made from: the files of its glob, or nothing (hub)."""
    if config["instructions"]["source"] == "hub":
        return []
    pattern = instructions_settings(wildcards)["pattern"]
    # Where nothing matches, Snakemake names the pattern before anything runs.
    return matching_files(pattern, wildcards.language) or pattern.replace("{language}", wildcards.language)


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


def chunk_length(wildcards):
    """Positions in a chunk of a split."""
    tokens = config["tokens"]
    return (wildcards.split == "valid" and tokens["valid_chunk_length"]) or tokens["chunk_length"]


def selection_flags(wildcards):
    """Command-line form of what a method selects by, beside the ratio; a sweep of ratios has no quota."""
    neurons, method = config["neurons"], getattr(wildcards, "method", "lape")
    if method == "lap":
        flags = [f"--probability {neurons['lap_probability']}"]
    else:
        flags = [f"--quantile {neurons['quantile']}"]
    if method == "lave":
        flags.append(f"--negative {neurons['lave_negative']}")
    flags += [f"--minimum-tokens {neurons['minimum_tokens']}", f"--assignment {neurons['assignment']}"]
    flags.append(optional("--entropy-ceiling", neurons["entropy_ceiling"]))
    if hasattr(wildcards, "method"):
        flags.append(optional("--quota", neurons["quota"]))
    return " ".join(filter(None, flags))


def launcher():
    """What starts the fine-tuning's ranks, before the command; nothing for a single process."""
    file = config["parameter_variation"]["launcher"]
    return "" if file is None else f"accelerate launch --config_file {shlex.quote(file)} -m"


def finetuning_flags():
    """Command-line form of how PV fine-tunes."""
    settings = config["parameter_variation"]
    keys = ("epochs", "batch_size", "device_batch_size", "learning_rate", "optimizer", "seed")
    keys += ("max_length", "precision")
    flags = [optional(f"--{key.replace('_', '-')}", settings[key]) for key in keys]
    flags += [f"--{key.replace('_', '-')}" for key in ("gradient_checkpointing", "freeze_embeddings") if settings[key]]
    return " ".join(filter(None, flags))


def chunks_of(headers):
    """The chunks beside the headers that a function of the wildcards gives."""
    return lambda wildcards: [header.removesuffix(".json") + ".tsv" for header in headers(wildcards)]


def perplexity_headers(models, methods):
    """Headers of whole matrices and of their baselines."""
    return [
        f"<results>/perplexity/{model}/{row}.json"
        for model in models
        for row in (
            "none/baseline",
            *(f"{method}/{language}" for method in methods for language in config["languages"]),
        )
    ]


def baseline_headers(wildcards):
    """Every configured model, nothing deactivated."""
    return perplexity_headers(config["models"], [])


def deactivation_headers(wildcards):
    """LAPE and its control on every configured model."""
    return perplexity_headers(config["models"], ["lape", "matched_lape"])


def figure2_headers(wildcards):
    """Every method and its control on every configured model."""
    return perplexity_headers(config["models"], [row for method in METHODS for row in (method, f"matched_{method}")])


def figure3_headers(wildcards):
    """LAPE and its control on more models."""
    return perplexity_headers(FIGURE3_MODELS, ["lape", "matched_lape"])


def figure4_headers(wildcards):
    """One language deactivated at every ratio."""
    neurons, ratios = config["neurons"], config["experiments"]["figure4"]["ratios"]
    default = "fr" if "fr" in config["languages"] else config["languages"][0]
    language = config["experiments"]["figure4"]["language"] or default

    def selected(ratio):
        # The matrix has this row already.
        return "lape" if ratio == neurons["ratio"] and neurons["quota"] is None else f"sweep-{ratio}"

    return [
        f"<results>/perplexity/{model}/{row}.json"
        for model in config["models"]
        for row in ("none/baseline", *(f"{selected(ratio)}/{language}" for ratio in ratios))
    ]


def figure8_headers(wildcards):
    """Random controls on every configured model: from all layers alike, and layer by layer."""
    return perplexity_headers(config["models"], ["random", "matched_lape"])


def diagonality_headers(wildcards):
    """Every matrix of the other items."""
    headers = [*figure2_headers(wildcards), *figure3_headers(wildcards), *figure8_headers(wildcards)]
    return list(dict.fromkeys(headers))


def print_outputs():
    """Say where the results are."""
    run = Path("results", config["run"])
    reports = [path for path in (run / "report.html", run / "paper" / "report.html") if path.exists()]
    print(f"\nTables   {run / 'tables'}\nFigures  {run / 'figures'}")
    for path in reports:
        print(f"Report   {path}")
