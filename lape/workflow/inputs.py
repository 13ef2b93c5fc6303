"""Input functions of the rules, and the settings by which sources are read.

Paths of artifacts begin with `<results>`, which Snakemake replaces with the run's folder.
"""

import glob
import os.path
from collections.abc import Callable, Iterable
from pathlib import Path

from lape.config import expert_languages, model_languages, model_of, task_languages, translated_languages
from lape.errors import LapeError
from lape.generation.settings import Setting, TextSetting
from lape.items.variants import EVALUATION, SELECTION, at, settings
from lape.model.checkpoint import checkpoint_files
from lape.text.file_patterns import matching_files
from lape.workflow.sources import files_of


class Inputs:
    """Input functions of a configuration. Most take the wildcards of a job.

    Args:
        config: the checked configuration.
        repository: the folder of the Snakefile. It holds questions and instructions that a run may read.
    """

    def __init__(self, config: dict, repository: Path):
        self._config, self._repository = config, repository

    def of_languages(self, pattern: str) -> Callable[..., list[str]]:
        """An input function from a pattern with {model}, {language} and {step}: a path per language of the model."""
        return lambda wildcards: [
            pattern.format(model=wildcards.model, language=language, step=getattr(wildcards, "step", None))
            for language in model_languages(self._config, wildcards.model)
        ]

    def earlier_copies(self) -> list[str]:
        """The copies that a fine-tuning keeps after fewer steps than it has, as patterns of {model} and {language}."""
        stem = "<results>/parameters/{model}/finetuned/after-%s/{language}%s"
        steps = self._config["experiments"]["pv_learning_curve"]["steps"]
        return [stem % (step, suffix) for step in steps for suffix in (".safetensors", ".json")]

    def of_experts(self, pattern: str) -> list[str]:
        """Paths from a pattern with {language}: one per language of the expert units."""
        return [pattern.format(language=language) for language in expert_languages(self._config)]

    def model(self, file: str) -> Callable[..., str]:
        """An input function: a file of the wildcard's model, which its variants share."""
        return lambda wildcards: f"<results>/models/{model_of(wildcards.model)}/{file}"

    def counted(self, suffix: str) -> Callable[..., str]:
        """An input function: the train tokens of the wildcard's model and language."""
        return lambda wildcards: f"<results>/tokens/{self._at(wildcards, 'tokens')}/{wildcards.language}/train{suffix}"

    def statistics(self, suffix: str) -> Callable[..., list[str]]:
        """An input function: the statistics of every language that the wildcard's model is selected by."""
        return lambda wildcards: [
            f"<results>/statistics/{self._at(wildcards, 'statistics')}/{language}{suffix}"
            for language in model_languages(self._config, wildcards.model)
        ]

    def neurons(self, suffix: str) -> Callable[..., str]:
        """An input function: the neurons of the wildcard's model and method."""
        return lambda wildcards: f"<results>/neurons/{self._at(wildcards, 'neurons')}/{wildcards.method}{suffix}"

    def means(self, wildcards) -> list[str]:
        """The statistics whose means take the place of zero; empty where neurons are set to zero."""
        if settings(self._config, wildcards.model).get("ablation") != "mean":
            return []
        return [path for suffix in (".json", ".npz") for path in self.statistics(suffix)(wildcards)]

    def evaluated_text(self, wildcards) -> str:
        """The list of hashes of the valid tokens that the wildcard's model is evaluated on."""
        return f"<results>/tokens/{self._at(wildcards, 'tokens', EVALUATION)}/valid.sha256"

    def valid_tokens(self, wildcards) -> list[str]:
        """Headers of the valid tokens of every language of the wildcard's model. `valid.sha256` has their hashes."""
        folder = f"results/{self._config['run']}/tokens/{self._at(wildcards, 'tokens', EVALUATION)}"
        return [f"{folder}/{language}/valid.json" for language in model_languages(self._config, wildcards.model)]

    def documents(self, wildcards) -> list[str]:
        """The corpus, and its header, that the wildcards' split is drawn from."""
        use = EVALUATION if wildcards.split == "valid" else SELECTION
        suffix = at(self._config, wildcards.model, "corpus", use).removeprefix(model_of(wildcards.model))
        return [f"<results>/corpus{suffix}/{wildcards.language}{end}" for end in (".parquet", ".json")]

    def gguf(self, wildcards) -> str:
        """The GGUF file of a model: a download, or a file of the user."""
        model = self._config["catalogue"][wildcards.model]
        return self._downloaded(model["download"]) if model["source"] == "embedded" else _concrete(model["path"])

    def checkpoint(self, wildcards) -> list[str]:
        """The files of a model's folder.

        The folder itself is no input: its time does not change when a file in it is written anew.
        """
        files = checkpoint_files(self._config["catalogue"][wildcards.model]["path"])
        return [_concrete(str(file)) for file in files]

    def corpus(self, wildcards) -> list[str]:
        """The sources of a language's corpus: the downloaded file, the files of its pattern, or no file (hub)."""
        corpus = settings(self._config, wildcards.variant)["corpus"]
        if corpus["source"] in ("embedded", "archive"):
            return [self._downloaded(corpus[corpus["source"]]["download"])]
        if corpus["source"] == "files":
            return _files(corpus["files"]["pattern"], wildcards.language, "corpus.files.pattern")
        return []

    def shares(self, wildcards) -> list[str]:
        """The headers of the jobs that share the counting of a language; empty where one job does everything."""
        jobs = self._config["statistics"]["jobs"]
        stem = f"<results>/statistics/{wildcards.model}/{wildcards.language}"
        return [f"{stem}.{job}.json" for job in range(jobs) if jobs > 1]

    def looked_at(self) -> list[str]:
        """The headers of what single neurons do, of the methods that `contexts.methods` names: every model's."""
        return [
            path
            for model in self._config["models"]
            for method in self._config["contexts"]["methods"]
            for path in (
                *(f"<results>/contexts/{model}/{method}/{each}.json" for each in model_languages(self._config, model)),
                f"<results>/vocabulary_effects/{model}/{method}.json",
            )
        ]

    def instructions(self, wildcards) -> list[str]:
        """The sources of a language's instructions: the files of its pattern, or no file (hub)."""
        if self._config["instructions"]["source"] == "hub":
            return []
        return _files(
            self.instructions_settings(wildcards)["pattern"], wildcards.language, "instructions.files.pattern"
        )

    def instructions_settings(self, wildcards) -> dict:
        """Settings of the instructions' source for one language, for its reader."""
        section, language = self._config["instructions"], wildcards.language
        if section["source"] == "hub":
            return section["hub"][language]
        return {**section["files"], "pattern": self._in_repository(section["files"]["pattern"], language)}

    def questions(self, wildcards) -> list[str]:
        """The files of a language's questions, which may be downloads, or no file (hub)."""
        pattern = self.questions_settings(wildcards).get("pattern")
        return _files(pattern, wildcards.language, "questions.pattern") if pattern else []

    def questions_settings(self, wildcards) -> dict:
        """The settings by which one language's questions are read."""
        section, language = self._config["questions"], wildcards.language
        if section["hub"] is not None:
            place = _of_language(section["hub"], language)
        else:
            place = {"pattern": self._in_repository(section["pattern"], language)}
        return {**place, "columns": section["columns"], "skip": section["skip"]}

    def aligned(self, wildcards) -> list[str]:
        """The files of a language's aligned sentences, or no file (hub)."""
        pattern = self.aligned_settings(wildcards).get("pattern")
        return _files(pattern, wildcards.language, "structure.aligned") if pattern else []

    def aligned_settings(self, wildcards) -> dict:
        """The settings by which one language's aligned sentences are read.

        Where the configuration names no sentences, all questions are the aligned sentences.
        """
        hub, pattern = (self._config["structure"][key] for key in ("hub", "aligned"))
        if hub is not None:
            return _of_language(hub, wildcards.language)
        if pattern is None:
            return self.questions_settings(wildcards)
        return {"pattern": self._in_repository(pattern, wildcards.language)}

    def sentences(self, wildcards) -> list[str]:
        """The sources of a language's sentences: its corpus, the files of its pattern, or no file (hub)."""
        source = self._config["sentences"]["source"]
        if source == "corpus":
            return [f"<results>/corpus/{wildcards.language}{suffix}" for suffix in (".parquet", ".json")]
        if source == "files":
            pattern = self.sentences_settings(wildcards)["pattern"]
            return _files(pattern, wildcards.language, "sentences.files.pattern")
        return []

    def sentences_settings(self, wildcards) -> dict:
        """The settings by which one language's sentences are read from the configured source."""
        section, language = self._config["sentences"], wildcards.language
        settings = {key: section[key] for key in ("minimum_bytes", "maximum_characters")}
        if section["source"] == "files":
            settings["pattern"] = self._in_repository(section["files"]["pattern"], language)
        return settings | (section["hub"] if section["source"] == "hub" else {})

    def pairs(self, wildcards) -> list[str]:
        """The sources of the pairs: the questions in both languages, files, or no file (hub)."""
        translation = self._config["translation"]
        section, languages = translation["corpora"][wildcards.corpus], (translation["source"], wildcards.language)
        if section["source"] == "questions":
            suffixes = (".json", ".jsonl")
            return [f"<results>/questions/{language}{suffix}" for suffix in suffixes for language in languages]
        if section["source"] == "files":
            key = f"translation.corpora.{wildcards.corpus}.pattern"
            patterns = {language: self._in_repository(section["pattern"], language) for language in languages}
            return [file for language in languages for file in _files(patterns[language], language, key)]
        return []

    def pairs_settings(self, wildcards) -> dict:
        """The settings by which one corpus's pairs are read."""
        section = self._config["translation"]["corpora"][wildcards.corpus]
        return {key: value for key, value in section.items() if key not in ("source", "languages")}

    def pairs_headers(self, wildcards) -> list[str]:
        """Headers of the pairs of every language of a corpus."""
        languages = translated_languages(self._config, wildcards.corpus)
        return [f"<results>/pairs/{wildcards.corpus}/{language}.json" for language in languages]

    def pairs_rows(self, wildcards) -> list[str]:
        """The files of pairs beside the headers that `pairs_headers` gives."""
        return [f"{header.removesuffix('.json')}.jsonl" for header in self.pairs_headers(wildcards)]

    def task(self, wildcards) -> list[str]:
        """The sources of a task's questions in one language: its corpus, a download, or files; none for the hub's."""
        task = self._config["tasks"][wildcards.task]
        if task["source"] == "next_passage":
            return [f"<results>/corpus/{wildcards.language}{suffix}" for suffix in (".parquet", ".json")]
        if task["source"] == "harness":
            folder = task.get("include_path")
            return sorted(str(path) for path in Path(folder).rglob("*") if path.is_file()) if folder else []
        if task["source"] == "embedded":
            return [self._downloaded(task["download"])]
        pattern = self.task_settings(wildcards)["pattern"]
        return _files(pattern, wildcards.language, f"tasks.{wildcards.task}.pattern")

    def task_settings(self, wildcards) -> dict:
        """The settings by which a task's questions in one language are read from the task's source."""
        task = self._config["tasks"][wildcards.task]
        settings = {"skip": task.get("skip", [])}
        if task["source"] == "next_passage":
            corpus = f"results/{self._config['run']}/corpus/{wildcards.language}.parquet"
            split = {key: self._config["tokens"][key] for key in ("valid_share", "seed")}
            lengths = {key: task[key] for key in ("question_bytes", "choice_bytes", "passages") if key in task}
            return settings | {"corpus": corpus} | split | lengths
        if task["source"] == "embedded":
            settings |= {"document": task["document"], "labels": task.get("labels")}
            return settings | {"file": self._downloaded(task["download"])}
        if task["source"] == "harness":
            keys = ("name", "codes", "shots", "ids", "include_path", "overrides")
            return settings | {key: task[key] for key in keys if key in task}
        return settings | {"pattern": self._in_repository(task["pattern"], wildcards.language)}

    def task_headers(self, wildcards) -> list[str]:
        """Headers of a task's questions in every language in which the wildcard's model is measured."""
        languages = task_languages(self._config, wildcards.task, wildcards.model)
        return [f"<results>/tasks/{wildcards.task}/{language}.json" for language in languages]

    def perturbing(self, wildcards) -> list[str]:
        """The artifacts with which a setting of the answers perturbs: neurons and, where it steers, their values."""
        return _with_data(perturbing_stems(wildcards).values())

    def selected(self, wildcards) -> list[str]:
        """The artifacts with which a setting of the texts overwrites: units, or neurons and their steering values."""
        return _with_data(selected_stems(wildcards).values())

    def _at(self, wildcards, artifact: str, use: str = SELECTION) -> str:
        return at(self._config, wildcards.model, artifact, use)

    def _downloaded(self, name: str) -> str:
        return f"results/downloads/{name}/{self._config['downloads'][name]['save_as']}"

    def _in_repository(self, pattern: str | dict[str, str], language: str) -> str:
        """A pattern of files for one language.

        Where no file matches it in the working directory but one does in the repository, the pattern leads there.
        """
        here = pattern[language] if isinstance(pattern, dict) else pattern
        ours = os.path.join(glob.escape(os.path.relpath(self._repository.resolve())), here)
        return next((each for each in (here, ours) if matching_files(each, language)), here)


def perturbing_stems(wildcards) -> dict[str, str]:
    """Option of the command -> path without suffix of the artifact that a setting of the answers takes by it."""
    setting = Setting.parse(wildcards.setting)
    return _stems(wildcards.model, setting.needs, setting.method)


def selected_stems(wildcards) -> dict[str, str]:
    """Option of the command -> path without suffix of the artifact that a setting of the texts takes by it."""
    setting = TextSetting.parse(wildcards.selection)
    return _stems(wildcards.model, setting.needs, setting.method if setting.kind == "neurons" else "lape")


def _stems(model: str, needs: tuple[str, ...], method: str | None) -> dict[str, str]:
    places = {"units": f"expert_units/{model}/units"}
    places |= {"neurons": f"neurons/{model}/{method}", "values": f"steering/{model}/{method}"}
    places |= {"directions": f"directions/{model}"}
    return {f"--{name}": f"<results>/{places[name]}" for name in needs}


def _with_data(stems: Iterable[str]) -> list[str]:
    return [f"{stem}{suffix}" for stem in stems for suffix in (".json", ".npz" if "/directions/" in stem else ".tsv")]


def _of_language(dataset: dict, language: str) -> dict:
    """The settings of a dataset without what is said of other languages, so that no change of that counts here."""
    return {
        key: {language: value[language]} if isinstance(value, dict) and language in value else value
        for key, value in dataset.items()
    }


def _files(pattern: str | dict[str, str], language: str, key: str) -> list[str]:
    return [_concrete(file) for file in files_of(pattern, language, key)]


def _concrete(path: str) -> str:
    """A path in which Snakemake sees no wildcard.

    Raises:
        LapeError: it has braces, which Snakemake cannot be told to take for a part of a name.
    """
    if "{" in path:
        raise LapeError(f"{path}: Snakemake takes braces for a wildcard; rename it, or name a link to it")
    return path
