"""What rules read: input functions, and the settings by which a source is read."""

import glob
import os

from lape.model.checkpoint import checkpoint_files
from lape.generation.text_settings import TextSetting
from lape.generation.settings import Dose, Setting
from lape.text.file_patterns import matching_files


def valid_tokens(wildcards):
    """Headers of the valid tokens of every language of the wildcard's model, which `valid.sha256` stands for."""
    run = f"results/{config['run']}/tokens/{wildcards.model}"
    return [f"{run}/{language}/valid.json" for language in languages_of(wildcards.model)]


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


def counted(wildcards):
    """What the jobs counted that share a language's shards; nothing where one job counts and adds up."""
    jobs = config["statistics"]["jobs"]
    return [
        f"<results>/statistics/{wildcards.model}/{wildcards.language}.{job}.json" for job in range(jobs) if jobs > 1
    ]


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


def translated_languages(corpus):
    """Languages that a corpus's sentences are translated into."""
    section, source = config["translation"]["corpora"][corpus], config["translation"]["source"]
    return [each for each in section.get("languages", EXPERT_LANGUAGES) if each in EXPERT_LANGUAGES and each != source]


def pairs_headers(wildcards):
    """Pairs of every language of a corpus."""
    return [f"<results>/pairs/{wildcards.corpus}/{each}.json" for each in translated_languages(wildcards.corpus)]


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


def answers_of(headers):
    """The answers that the scores of a function of the wildcards were given to."""
    return lambda wildcards: [
        header.replace("<results>/scores/", "<results>/generations/").removesuffix(".json") + suffix
        for header in headers(wildcards)
        for suffix in (".json", ".jsonl")
    ]
