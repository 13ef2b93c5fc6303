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

from lape import ranks
from lape.checkpoint import checkpoint_files
from lape.config import check_config, item_models, model_languages, named_models
from lape.errors import LapeError
from lape.globs import matching_files
from lape.expert_units.settings import TextSetting
from lape.generation.settings import Dose, Setting
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


def valid_tokens(wildcards):
    """Headers of the valid tokens of every language of the wildcard's model, which `valid.sha256` stands for."""
    run = f"results/{config['run']}/tokens/{wildcards.model}"
    return [f"{run}/{language}/valid.json" for language in languages_of(wildcards.model)]


def models_of(item):
    """The models that an item is made of."""
    return item_models(config, item)


def optional(flag, value):
    """A flag and its quoted value, which may begin with a dash, for a shell line; nothing where there is no value."""
    return "" if value is None else f"{flag}={shlex.quote(str(value))}"


def optional_list(flag, paths):
    """The same of several values."""
    return " ".join([flag, *map(shlex.quote, paths)]) if paths else ""


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


def language_check():
    """What becomes of documents in other languages; where it is not set, those of the hub are dropped, being too many to read."""
    return config["corpus"]["language_check"] or ("drop" if config["corpus"]["source"] == "hub" else "keep")


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
    keys = ("dtype", "device", "device_map", "tensor_parallel", "attn_implementation", "quantization")
    flags = [optional(f"--{key.replace('_', '-')}", model.get(key)) for key in keys]
    flags += [f"--{key.replace('_', '-')}" for key in ("compile", "trust_remote_code") if model.get(key)]
    flags.append(optional("--shape", json.dumps(model["shape"]) if "shape" in model else None))
    return " ".join(filter(None, flags))


def booked(wildcards, key, default):
    """What a job of the wildcard's model asks for, or of none."""
    model = config["catalogue"].get(getattr(wildcards, "model", None), {})
    return model.get("resources", {}).get(key, default)


def gpus(wildcards):
    """GPUs that a job of the wildcard's model takes where its device is, or may be, CUDA: one, or one for each rank.

    None where the device is a card by its number: whoever names one shares it.
    """
    model = config["catalogue"][wildcards.model]
    device = model.get("device", "auto")
    used = device == "cuda" or (device == "auto" and bool(shutil.which("nvidia-smi")))
    return booked(wildcards, "gpu", model.get("tensor_parallel", 1)) if used else 0


def mem_mb(wildcards, attempt):
    """Memory to ask for, in MB; a job that failed asks for more."""
    return booked(wildcards, "mem_mb", config["resources"]["mem_mb"]) * attempt


def runtime(wildcards, attempt):
    """Minutes to ask for; a job that failed asks for more."""
    return booked(wildcards, "runtime", config["resources"]["runtime"]) * attempt


def counted(wildcards):
    """What the jobs counted that share a language's shards; nothing where one job counts and adds up."""
    jobs = config["statistics"]["jobs"]
    return [
        f"<results>/statistics/{wildcards.model}/{wildcards.language}.{job}.json" for job in range(jobs) if jobs > 1
    ]


def counting_flags():
    """How activations are counted."""
    section = config["statistics"]
    flags = [optional(f"--{key.replace('_', '-')}", section[key]) for key in ("batch_size", "memory", "skip_first")]
    flags += [optional("--thresholds", json.dumps(section["thresholds"]))]
    return " ".join(filter(None, [*flags, f"--shards {section['shards']} --backend {section['backend']}"]))


def torchrun(wildcards):
    """What starts the ranks that share the wildcard's model, before the command; nothing for a single process."""
    model = config["catalogue"][wildcards.model]
    number = model.get("tensor_parallel", 1)
    claim = ["lape", "claim", str(number), "--"] if model.get("device") != "cpu" else []
    # What torchrun sets with a warning; a command's --threads decides.
    return " ".join(["OMP_NUM_THREADS=1", *claim, *ranks.launcher(number)]) if number > 1 else ""


def chunk_length(wildcards):
    """Positions in a chunk of a split."""
    tokens = config["tokens"]
    whole = config["catalogue"][wildcards.model].get("chunk_length", tokens["chunk_length"])
    return (wildcards.split == "valid" and tokens["valid_chunk_length"]) or whole


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
    return "" if file is None else f"accelerate launch --config_file={shlex.quote(file)} -m"


def finetuning_flags():
    """Command-line form of how PV fine-tunes."""
    settings = config["parameter_variation"]
    keys = ("epochs", "batch_size", "device_batch_size", "learning_rate", "optimizer", "seed")
    keys += ("max_length", "precision")
    flags = [optional(f"--{key.replace('_', '-')}", settings[key]) for key in keys]
    flags += [f"--{key.replace('_', '-')}" for key in ("gradient_checkpointing", "freeze_embeddings") if settings[key]]
    return " ".join(filter(None, flags))


def sentences_settings(wildcards):
    """How one language's sentences are read from the configured source."""
    section, language = config["sentences"], wildcards.language
    settings = {key: section[key] for key in ("minimum_bytes", "maximum_characters")}
    if section["source"] == "files":
        settings["pattern"] = in_repository(section["files"]["pattern"], language)
    return settings | (section["hub"] if section["source"] == "hub" else {})


def sentences_input(wildcards):
    """What a language's sentences are made from: its corpus, the files of its glob, or nothing (hub)."""
    source = config["sentences"]["source"]
    if source == "corpus":
        return [f"<results>/corpus/{wildcards.language}.parquet", f"<results>/corpus/{wildcards.language}.json"]
    return matching_input(sentences_settings(wildcards)["pattern"], wildcards.language) if source == "files" else []


def sentences_flags(wildcards):
    """The corpus that is split into sentences, and how its documents are divided."""
    if config["sentences"]["source"] != "corpus":
        return ""
    tokens = config["tokens"]
    path = f"results/{config['run']}/corpus/{wildcards.language}.parquet"
    return f"--corpus {shlex.quote(path)} --seed {tokens['seed']} --valid-share {tokens['valid_share']}"


def pairs_settings(wildcards):
    """How one corpus's pairs are read."""
    section = config["translation"]["corpora"][wildcards.corpus]
    return {key: value for key, value in section.items() if key not in ("source", "languages")}


def pairs_input(wildcards):
    """What the pairs are made from: the questions of both languages, files, or nothing (hub)."""
    section, languages = config["translation"]["corpora"][wildcards.corpus], (
        config["translation"]["source"],
        wildcards.language,
    )
    if section["source"] == "questions":
        return [f"<results>/questions/{language}{suffix}" for suffix in (".json", ".jsonl") for language in languages]
    if section["source"] == "files":
        found = [matching_input(in_repository(section["pattern"], language), language) for language in languages]
        return [file for files in found for file in ([files] if isinstance(files, str) else files)]
    return []


def pairs_flags(wildcards, input):
    """The questions that are paired."""
    headers = [shlex.quote(path) for path in input.texts if path.endswith(".json")]
    questions = config["translation"]["corpora"][wildcards.corpus]["source"] == "questions"
    return f"--questions {' '.join(headers)}" if questions else ""


def translated_languages(corpus):
    """Languages that a corpus's sentences are translated into."""
    section, source = config["translation"]["corpora"][corpus], config["translation"]["source"]
    return [each for each in section.get("languages", EXPERT_LANGUAGES) if each in EXPERT_LANGUAGES and each != source]


def pairs_headers(wildcards):
    """Pairs of every language of a corpus."""
    return [f"<results>/pairs/{wildcards.corpus}/{each}.json" for each in translated_languages(wildcards.corpus)]


def expert_number():
    """Units of each ranking, as many as the largest setting takes."""
    section = config["expert_units"]
    return max([2 * section["size"], *(-(-size // 2) for size in section["sizes"])])


def selected_input(wildcards):
    """Units, or neurons and the values to steer with, that a setting of the texts overwrites."""
    setting = TextSetting.parse(wildcards.selection)
    headers = {}
    if setting.kind in ("top", "bottom", "both", "random"):
        headers["--units"] = f"<results>/expert_units/{wildcards.model}/units"
    if setting.size == "lape" or setting.method == "lape":
        headers["--neurons"] = f"<results>/neurons/{wildcards.model}/lape"
    elif setting.kind == "neurons":
        headers["--neurons"] = f"<results>/neurons/{wildcards.model}/{setting.method}"
    if setting.kind == "neurons":
        headers["--values"] = f"<results>/steering/{wildcards.model}/{setting.method}"
    return headers


def selected_files(wildcards):
    """Files of what a setting of the texts overwrites with."""
    return [stem + suffix for stem in selected_input(wildcards).values() for suffix in (".json", ".tsv")]


def selected_flags(wildcards, input):
    """The same, as the command takes them."""
    headers = [path for path in input.selected if path.endswith(".json")]
    return " ".join(f"{flag} {shlex.quote(path)}" for flag, path in zip(selected_input(wildcards), headers))


def sampling_flags(wildcards):
    """How the unconditional texts are sampled."""
    section, model = config["expert_units"], config["catalogue"][wildcards.model]
    keys = ("seeds", "max_new_tokens", "temperature", "top_k", "top_p")
    flags = [optional(f"--{key.replace('_', '-')}", section[key]) for key in keys]
    return " ".join(filter(None, [*flags, optional("--prompt-token", model.get("prompt_token"))]))


def beside(headers):
    """The data beside the headers that a function of the wildcards gives: tables, and arrays."""
    array = re.compile("/average_precision.json$|/embeddings/")
    return lambda wildcards: [
        header.removesuffix(".json") + (".npy" if array.search(header) else ".tsv") for header in headers(wildcards)
    ]


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
        suffixes = {language: section["suffixes"][language] for language in languages_of(wildcards.model)}
        flags.append(optional("--suffixes", json.dumps(suffixes, ensure_ascii=False)))
    return " ".join(filter(None, flags))


def answers_of(headers):
    """The answers that the scores of a function of the wildcards were given to."""
    return lambda wildcards: [
        header.replace("<results>/scores/", "<results>/generations/").removesuffix(".json") + suffix
        for header in headers(wildcards)
        for suffix in (".json", ".jsonl")
    ]


def print_outputs():
    """Say where the results are."""
    run = Path("results", config["run"])
    reports = [run / "report.html", *(run / target / "report.html" for target in ("paper", "expert_units"))]
    reports = [path for path in reports if path.exists()]
    print(f"\nTables   {run / 'tables'}\nFigures  {run / 'figures'}")
    for path in reports:
        print(f"Report   {path}")
