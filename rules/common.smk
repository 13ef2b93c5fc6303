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
from lape.generation.settings import Dose, Setting
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
URL_DOWNLOADS = [name for name, download in config["downloads"].items() if "url" in download]
PACKAGE_DOWNLOADS = [name for name in config["downloads"] if name not in URL_DOWNLOADS]
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
PAPER_TABLES += ("table1", "table2", "table4", "table5", "cross_lingual", "dose_response", "figure6", "figure7")
PAPER_FIGURES += ("cross_lingual", "dose_response", "figure6", "figure7")
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
    file=one_of(
        file
        for download in config["downloads"].values()
        for file in (download["files"] if "url" in download else [download["save_as"]])
    ),
    prompt="plain|suffix",
    setting="(normal|random|(deactivated|cross|cross_random)-[^@/]+|steered|steered_random)(@[^/]+)?",


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


def in_repository(pattern, language):
    """A pattern of files for one language, in this repository where nothing matches in the working directory."""
    here = pattern[language] if isinstance(pattern, dict) else pattern
    ours = os.path.join(glob.escape(os.path.relpath(Path(workflow.basedir).resolve())), here)
    return next((each for each in (here, ours) if matching_files(each, language)), here)


def matching_input(pattern, language):
    """The files of a pattern. Where nothing matches, the pattern: a download makes it, or Snakemake names it at once."""
    return matching_files(pattern, language) or pattern.replace("{language}", language)


def instructions_settings(wildcards):
    """Settings of the configured source for one language, as its reader takes them."""
    section, language = config["instructions"], wildcards.language
    if section["source"] == "hub":
        return section["hub"][language]
    return {**section["files"], "pattern": in_repository(section["files"]["pattern"], language)}


def instructions_input(wildcards):
    """What a language's instructions are made from: the files of its glob, or nothing (hub)."""
    if config["instructions"]["source"] == "hub":
        return []
    return matching_input(instructions_settings(wildcards)["pattern"], wildcards.language)


def questions_settings(wildcards):
    """How one language's questions are read."""
    section = config["questions"]
    pattern = in_repository(section["pattern"], wildcards.language)
    return {"pattern": pattern, "columns": section["columns"], "skip": section["skip"]}


def questions_input(wildcards):
    """What a language's questions are read from; a download's files may be among them."""
    return matching_input(questions_settings(wildcards)["pattern"], wildcards.language)


def aligned_settings(wildcards):
    """How one language's aligned sentences are read: all questions, where no others are named."""
    pattern = config["structure"]["aligned"]
    if pattern is None:
        return questions_settings(wildcards)
    return {"pattern": in_repository(pattern, wildcards.language)}


def aligned_input(wildcards):
    """What a language's aligned sentences are read from."""
    return matching_input(aligned_settings(wildcards)["pattern"], wildcards.language)


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


def language_of(item, key, paper, other_than=None):
    """The language of an experiment: the configured one, the paper's where it is among the languages, or the first."""
    known = [language for language in config["languages"] if language != other_than] or config["languages"]
    return config["experiments"][item][key] or (paper if paper in known else known[0])


def table5_languages():
    """The languages of question and answer of Table 5: the configured ones, es and zh, or the first that there are."""
    source = language_of("table5", "source", "es", other_than=config["experiments"]["table5"]["target"])
    target = language_of("table5", "target", "zh", other_than=source)
    if target == source:
        raise WorkflowError(f"config experiments.table5.target: {target!r} is the question's language; name another")
    return source, target


def beside(headers):
    """The tables (chunks, scores) beside the headers that a function of the wildcards gives."""
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
    language = language_of("figure4", "language", "fr")

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


def perturbing_input(wildcards):
    """Neurons, and where they are steered their values, that a setting of generation perturbs with."""
    setting = Setting.parse(wildcards.setting, Dose())
    folders = [folder for folder, used in (("neurons", setting.method), ("steering", setting.dose)) if used]
    return [
        f"<results>/{folder}/{wildcards.model}/{setting.method}{suffix}"
        for folder in folders
        for suffix in (".json", ".tsv")
    ]


def perturbing_flags(wildcards, input):
    """The same, as the command takes them."""
    headers = [path for path in input.perturbing if path.endswith(".json")]
    return " ".join(f"{flag} {shlex.quote(path)}" for flag, path in zip(("--neurons", "--values"), headers))


def dose_flag(wildcards):
    """The configured dose, for a setting that steers and names none."""
    setting = Setting.parse(wildcards.setting, Dose())
    return optional("--dose", config["steering"]["dose"] if setting.dose and "@" not in wildcards.setting else None)


def prompt_flags(wildcards):
    """How a question becomes the model's prompt."""
    section, chat = config["generation"], config["catalogue"][wildcards.model].get("chat", False)
    flags = [optional("--template", section["chat_template" if chat else "template"]), "--chat" * chat]
    if wildcards.prompt == "suffix":
        suffixes = {language: section["suffixes"][language] for language in config["languages"]}
        flags.append(optional("--suffixes", json.dumps(suffixes, ensure_ascii=False)))
    return " ".join(filter(None, flags))


def score_headers(models, settings, prompts=None, ratings=True):
    """Scores of some settings, and their ratings where a judge is configured."""
    kinds = ["scores", *(["judgements"] if ratings and config["judge"]["base_url"] else [])]
    prompts = prompts or config["generation"]["prompts"][:1]
    unasked = [language for language in config["languages"] if language not in config["generation"]["suffixes"]]
    if "suffix" in prompts and unasked:
        raise WorkflowError(f"config generation.suffixes: none for language {unasked[0]!r}; add it")
    return [
        f"<results>/{kind}/{model}/{prompt}/{setting}.json"
        for kind in kinds
        for model in models
        for prompt in prompts
        for setting in settings
    ]


def answers_of(headers):
    """The answers that the scores of a function of the wildcards were given to."""
    return lambda wildcards: [
        header.replace("<results>/scores/", "<results>/generations/").removesuffix(".json") + suffix
        for header in headers(wildcards)
        for suffix in (".json", ".jsonl")
    ]


def table1_headers(wildcards):
    """Nothing deactivated, a control of the question's language, and every language."""
    return score_headers(config["models"], ["normal", "random", *(f"deactivated-{k}" for k in config["languages"])])


def table2_headers(wildcards):
    """Normal answers, and those of the language whose neurons are deactivated."""
    return score_headers(
        config["models"], ["normal", f"deactivated-{language_of('table2', 'language', 'zh', 'en')}"], ratings=False
    )


def table4_headers(wildcards):
    """Normal, steered and the control of steering, with every prompt, on more models."""
    models = dict.fromkeys([*config["models"], *config["experiments"]["table4"]["more_models"]])
    return score_headers(models, ["normal", "steered", "steered_random"], config["generation"]["prompts"])


def table5_headers(wildcards):
    """Normal answers, and those in another language."""
    return score_headers(config["models"], ["normal", f"cross-{table5_languages()[0]}"], ratings=False)


def cross_lingual_headers(wildcards):
    """From every language to every other one, and the control."""
    languages = config["languages"]
    crosses = [f"{kind}-{language}" for kind in ("cross", "cross_random") for language in languages]
    return score_headers(config["models"], ["normal", *crosses], ratings=False)


def dose_response_headers(wildcards):
    """Steering towards the question's own language, and from one language to the others, at every dose."""
    section = config["experiments"]["dose_response"]
    kinds = ["steered", f"cross-{language_of('dose_response', 'language', 'en')}"]
    doses = ["", *(f"@{dose}" for dose in section["doses"] if dose != config["steering"]["dose"])]
    return score_headers(
        config["models"], ["normal", *(f"{kind}{dose}" for kind in kinds for dose in doses)], ratings=False
    )


def embeddings_headers(wildcards):
    """Sentence embeddings of every model and language."""
    return [
        f"<results>/embeddings/{model}/{language}.json"
        for model in config["models"]
        for language in config["languages"]
    ]


def figure6_headers(wildcards):
    """Sentence embeddings and neurons of every model."""
    return [*embeddings_headers(wildcards), *(f"<results>/neurons/{model}/lape.json" for model in config["models"])]


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
