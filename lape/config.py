"""The workflow's configuration: defaults, a schema that refuses what it does not know, and clear messages."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import yaml

from lape.errors import LapeError, nearest
from lape.interventions.dose import Dose

# Every start of Snakemake reads the schema, and the loader in C takes a tenth of the time.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Names of rows of tables, which no language may have.
RESERVED = ("baseline", "all")
# Experiments that take one of the languages, and the keys that name it.
_LANGUAGES = {
    "deactivation_by_ratio": ("language",),
    "example_deactivated": ("language",),
    "example_cross_lingual": ("source", "target"),
}
_LANGUAGES |= {"dose_response": ("language",), "steering_methods": ("language",)}


def check_config(config: dict, schema_path: str | Path) -> None:
    """Check a merged configuration against the schema, and then by each of `CHECKS`.

    Args:
        config: the configuration as Snakemake merged it.
        schema_path: config/schema.yaml.

    Raises:
        LapeError: the first fault: its key, what is wrong, and the nearest known key or value.
    """
    schema = yaml.load(Path(schema_path).read_text(encoding="utf-8"), Loader=_LOADER)
    for place, fault in _unfit(config, ()):
        raise LapeError(f"config {'.'.join(map(str, place)) or 'the top level'}: {fault}")
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(config))
    if error is not None:
        raise LapeError(_explain(error))
    for check in CHECKS:
        check(config)


def read_config(path: str | Path) -> dict:
    """What one configuration file says, without the defaults.

    Raises:
        LapeError: there is no such file, or it is no YAML with keys; the line of the fault is named.
    """
    try:
        found = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise LapeError(f"{path}: cannot be read ({why}); name a YAML file of settings") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        problem = getattr(error, "problem", None) or error
        raise LapeError(f"{path}{line}: is no YAML ({problem}); mend the line, or the line above it") from error
    if not isinstance(found, dict):
        raise LapeError(f"{path}: has no keys; write `key: value`, as config/config.yaml does")
    return found


def with_defaults(config: dict, path: str | Path) -> dict:
    """A configuration over the defaults of a file. Mappings merge, as Snakemake merges them; lists replace the default.

    Raises:
        LapeError: see `read_config`.
    """
    return merged(read_config(path), config)


def merged(defaults: dict, config: dict) -> dict:
    """A configuration over another one; see `with_defaults`."""
    both = {key for key in config if isinstance(config[key], dict) and isinstance(defaults.get(key), dict)}
    return defaults | config | {key: merged(defaults[key], config[key]) for key in both}


# Keys whose values are paths on this machine; "*" stands for every name of a mapping.
_PATHS = (
    "catalogue.*.path",
    "corpus.files.pattern",
    "questions.pattern",
    "instructions.files.pattern",
    "tasks.*.pattern",
    "tasks.*.include_path",
    "structure.aligned",
    "sentences.files.pattern",
    "translation.corpora.*.pattern",
    "judge.template",
    "scores.fasttext",
    "parameter_variation.launcher",
    "experiments.robustness.variants.*.corpus.files.pattern",
)


def expand_paths(config: dict) -> None:
    """Replace `~` and variables such as `$HOME` in the paths of a checked configuration, in place.

    Raises:
        LapeError: the environment has no such variable, or a path has braces that are not `{language}`.
    """
    for key in _PATHS:
        *places, last = key.split(".")
        sections = [(config, "")]
        for place in places:
            sections = [
                (value, f"{prefix}{name}.")
                for section, prefix in sections
                for name, value in section.items()
                if place in ("*", name) and isinstance(value, dict)
            ]
        for section, prefix in sections:
            if last in section:
                section[last] = _expanded(section[last], f"{prefix}{last}")


def _expanded(path: str | dict[str, str] | None, key: str) -> str | dict[str, str] | None:
    if isinstance(path, dict):
        return {language: _expanded(each, f"{key}.{language}") for language, each in path.items()}
    if path is None:
        return None
    whole = os.path.expanduser(os.path.expandvars(path))
    if variable := re.search(r"\$\w+|\$\{\w+\}", whole):
        raise LapeError(f"config {key}: the environment has no variable {variable[0]}; set it, or write the path out")
    if braces := re.search(r"\{(?!language\})[^}]*\}?", whole):
        raise LapeError(
            f"config {key}: Snakemake takes {braces[0]} for a wildcard; rename the folder or file, or link to it"
        )
    return whole


def check_run_name(config: dict) -> None:
    """A run does not take the name of a folder that all runs share."""
    if config["run"] in ("downloads", "judge"):
        raise LapeError(f"config run: results/{config['run']} is shared by all runs; choose another name")


def check_language_names(config: dict) -> None:
    """No language has the name of a row of a table."""
    for key, languages in (("languages", config["languages"]), ("expert_units.languages", _pool(config))):
        for language in RESERVED:
            if language in languages:
                raise LapeError(f"config {key}: {language!r} names a row of a table; call the language otherwise")


def check_downloads(config: dict) -> None:
    """A download writes no file that is ours, and its address holds no password."""
    for name, download in config["downloads"].items():
        files = set(download.get("files", ()))
        for file in files:
            if files & {f"{file}.json", f"{file}.log"}:
                raise LapeError(f"config downloads.{name}.files: {file}.json and {file}.log are ours; rename that file")
        if re.match("https?://[^/]*@", download.get("url", "")):
            raise LapeError(f"config downloads.{name}.url: holds a name or password, and is recorded; use ~/.netrc")


def check_models(config: dict) -> None:
    """Every model that is named is in the catalogue, with a known download and two of the run's languages."""
    for model, key in named_models(config).items():
        if model not in config["catalogue"]:
            raise LapeError(f"config {key}: {model!r} is not in the catalogue{nearest(model, config['catalogue'])}")
        if "download" in config["catalogue"][model]:
            _known_download(config, f"catalogue.{model}", config["catalogue"][model]["download"])
        if len(model_languages(config, model)) < 2:
            raise LapeError(
                f"config catalogue.{model}.languages: fewer than two are among the run's; name two or more of "
                f"{', '.join(config['languages'])}"
            )


def check_experiments(config: dict) -> None:
    """An experiment in one language takes one of the run's, and `example_cross_lingual` takes two different ones."""
    experiments = config["experiments"]
    for item, keys in _LANGUAGES.items():
        for key in keys:
            language = experiments[item][key]
            if language is not None and language not in config["languages"]:
                raise LapeError(f"config experiments.{item}.{key}: {language!r} is not in languages; name one of them")
    source, target = (experiments["example_cross_lingual"][key] for key in ("source", "target"))
    if target is not None and target == source:
        raise LapeError("config experiments.example_cross_lingual.target: is the source's language; name another")


def check_questions(config: dict) -> None:
    """Questions and aligned sentences have files in each of the run's languages."""
    if config["questions"]["hub"] is None:
        _all_globs("questions.pattern", config["questions"]["pattern"], config["languages"])
    _all_globs("structure.aligned", config["structure"]["aligned"], config["languages"])


def check_doses(config: dict) -> None:
    """Every dose of steering can be read, and the one with a control takes all neurons."""
    for dose in (config["steering"]["dose"], *config["experiments"]["dose_response"]["doses"]):
        Dose.parse(dose)
    if not config["steering"]["dose"].endswith("-1"):
        raise LapeError(
            "config steering.dose: a share below 1 has no control, as random neurons have no order; use share 1 here, "
            "other shares in experiments.dose_response.doses"
        )


def check_identifiers(config: dict) -> None:
    """A model of fastText is read by an identifier."""
    if config["scores"]["fasttext"] is not None and "fasttext" not in config["scores"]["identifiers"]:
        raise LapeError("config scores.fasttext: no identifier reads it; add fasttext to scores.identifiers")


def check_judge(config: dict) -> None:
    """The judge, where there is one, takes its settings."""
    if config["judge"]["base_url"] is not None:
        from lape.evaluation.judging.judge import Judge  # costs time that most runs need not spend

        Judge.from_settings(config["judge"])


def check_jobs(config: dict) -> None:
    """No job that counts is without a shard."""
    jobs, shards = (config["statistics"][key] for key in ("jobs", "shards"))
    if jobs > shards:
        raise LapeError(f"config statistics.jobs: {jobs} for {shards} shards; lower it, or raise statistics.shards")


def check_batches(config: dict) -> None:
    """A batch of the training is a whole number of batches on a device."""
    batch, device_batch = (config["parameter_variation"][key] for key in ("batch_size", "device_batch_size"))
    if batch % device_batch:
        raise LapeError(
            f"config parameter_variation.batch_size: {batch} is no multiple of device_batch_size {device_batch}; "
            "change one of them"
        )


def check_corpus(config: dict) -> None:
    """The corpus has each of the run's languages, and an order in time where the newest documents are wanted."""
    corpus = config["corpus"]
    if corpus["source"] == "embedded":
        _known_download(config, "corpus.embedded", corpus["embedded"]["download"])
    if corpus["source"] == "archive":
        _known_download(config, "corpus.archive", corpus["archive"]["download"])
    _all_known("languages", config["languages"], corpus)
    if corpus["source"] == "files":
        _all_globs("corpus.files.pattern", corpus["files"]["pattern"], config["languages"])
    if corpus["source"] == "hub" and corpus["hub"]["newest"] and corpus["hub"]["id_column"] is None:
        raise LapeError("config corpus.hub.newest: a row's number does not grow with time; name the id_column")


def check_sentences(config: dict) -> None:
    """The sentences of the expert units have a source in each of their languages."""
    corpus, sentences, pool = config["corpus"], config["sentences"], _pool(config)
    if sentences["source"] == "corpus":
        _all_known("expert_units.languages", pool, corpus)
    if sentences["source"] == "corpus" and corpus["source"] == "files":
        _all_globs("corpus.files.pattern", corpus["files"]["pattern"], pool)
    elif sentences["source"] == "files":
        _all_globs("sentences.files.pattern", sentences["files"]["pattern"], pool)
    elif sentences["source"] == "hub" and not sentences["hub"]["datasets"]:
        raise LapeError("config sentences.hub.datasets: names none; add one, or take the corpus (sentences.source)")


def check_translation(config: dict) -> None:
    """What is translated has a source in each of its languages, which are among those of the expert units."""
    translation, pool = config["translation"], _pool(config)
    for name, pairs in translation["corpora"].items():
        for language in pairs.get("languages", ()):
            if language not in pool:
                raise LapeError(
                    f"config translation.corpora.{name}.languages: {language!r} is no language of the expert units; "
                    f"they have {', '.join(pool)}"
                )
        languages = [translation["source"], *pairs.get("languages", pool)]
        if pairs["source"] == "files":
            if "pattern" not in pairs:
                raise LapeError(f"config translation.corpora.{name}: key 'pattern' is missing; name the files")
            _all_globs(f"translation.corpora.{name}.pattern", pairs["pattern"], languages)
        elif pairs["source"] == "questions" and len(languages) > 1 and config["questions"]["hub"] is None:
            _all_globs("questions.pattern", config["questions"]["pattern"], languages)


def check_instructions(config: dict) -> None:
    """Instructions that are named by language are there for each of the run's languages."""
    instructions = config["instructions"]
    for section, given in (("files.pattern", instructions["files"]["pattern"]), ("hub", instructions["hub"])):
        if instructions["source"] == section.partition(".")[0] and isinstance(given, dict):
            for language in config["languages"]:
                if language not in given:
                    raise LapeError(f"config instructions.{section}: nothing for language {language!r}; add it")


def check_tasks(config: dict) -> None:
    """A task has a template and a source in each of its languages, and its download is known."""
    for name, task in config["tasks"].items():
        template = task["template"]
        if "{question}" not in template or not template.endswith("{choice}"):
            raise LapeError(
                f"config tasks.{name}.template: {template!r} has no {{question}}, or no {{choice}} at its end; write "
                "both"
            )
        if task["source"] == "embedded":
            if missing := next((key for key in ("download", "document") if key not in task), None):
                raise LapeError(f"config tasks.{name}: key {missing!r} is missing; name the download's document")
            _known_download(config, f"tasks.{name}", task["download"])
        elif task["source"] == "next_passage":
            if task.get("number") is None:
                raise LapeError(f"config tasks.{name}: key 'number' is missing; all languages take as many questions")
        elif task["source"] == "harness":
            if "name" not in task:
                raise LapeError(f"config tasks.{name}: key 'name' is missing; name a task of the harness")
        elif "pattern" not in task:
            raise LapeError(f"config tasks.{name}: key 'pattern' is missing; name the files")
        else:
            known = config["languages"] if task["languages"] is None else task["languages"]
            wanted = [language for language in config["languages"] if language in known]
            _all_globs(f"tasks.{name}.pattern", task["pattern"], wanted)


# What no schema can say, in the order in which faults are told.
CHECKS = (
    check_run_name,
    check_language_names,
    check_downloads,
    check_models,
    check_experiments,
    check_questions,
    check_doses,
    check_identifiers,
    check_judge,
    check_jobs,
    check_batches,
    check_corpus,
    check_sentences,
    check_translation,
    check_instructions,
    check_tasks,
)


def named_models(config: dict) -> dict[str, str]:
    """Every model that a run names, whether the catalogue has it or not, and the key that names it first."""
    experiments = config["experiments"]
    named = {"models": config["models"]}
    named |= {f"experiments.models.{item}": models for item, models in experiments["models"].items()}
    named |= {
        f"experiments.{item}.more_models": section["more_models"]
        for item, section in experiments.items()
        if "more_models" in section
    }
    return {model: key for key, models in reversed(named.items()) for model in models}


def item_models(config: dict, item: str) -> list[str]:
    """The models of a table or figure: its own or else the run's, and those that are shown beside them."""
    experiments = config.get("experiments", {})  # the configuration of an earlier version may name no models
    more = experiments.get(item, {}).get("more_models", [])
    return list(dict.fromkeys([*experiments.get("models", {}).get(item, config["models"]), *more]))


def model_of(name: str) -> str:
    """The model in the catalogue that a name, perhaps of a variant (`lape.items.variants`), belongs to."""
    return name.partition("@")[0]


def model_languages(config: dict, model: str) -> list[str]:
    """The run's languages in which a model, or its variant, is studied; all where the catalogue names none for it."""
    known = config["catalogue"][model_of(model)].get("languages", config["languages"])
    return [language for language in config["languages"] if language in known]


def expert_languages(config: dict) -> list[str]:
    """The languages that expert units are found for: those of `expert_units`, or the run's."""
    return config["expert_units"]["languages"] or config["languages"]


def task_languages(config: dict, task: str, model: str) -> list[str]:
    """The run's languages in which a model is measured on a task; none where they are fewer than two."""
    known = config["tasks"][task]["languages"]
    found = [code for code in model_languages(config, model) if known is None or code in known]
    return found if len(found) > 1 else []


def translated_languages(config: dict, corpus: str) -> list[str]:
    """The languages that a corpus's sentences are translated into."""
    source, pool = config["translation"]["source"], expert_languages(config)
    wanted = config["translation"]["corpora"][corpus].get("languages", pool)
    return [language for language in wanted if language in pool and language != source]


def _unfit(value: object, place: tuple) -> Iterator[tuple[tuple, str]]:
    """What the schema lets pass though no command line or JSON can carry it: its place, and what is wrong with it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                yield place, f"YAML reads the key {key} as {type(key).__name__}; put it in quotes"
            yield from _unfit(key, place)
            yield from _unfit(inner, (*place, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _unfit(inner, (*place, number))
    elif isinstance(value, str) and re.search("[\0\ud800-\udfff]", value):
        yield place, f"{value!r} holds a NUL character or half a surrogate pair; take it out"
    elif isinstance(value, int | float) and not abs(value) < 2**63:
        yield place, "is no number that a computer counts with; write a smaller one"
    elif not isinstance(value, (str, int, float, type(None))):
        yield place, f"YAML reads {value} as a {type(value).__name__}; put it in quotes"


def _pool(config: dict) -> list[str]:
    """The languages of the expert units; the run's languages where the expert units have none of their own."""
    return config["expert_units"]["languages"] or config["languages"]


def _all_known(key: str, languages: list[str], corpus: dict) -> None:
    """Every language is in the downloaded text, where the corpus is one."""
    known = {"embedded": corpus["embedded"]["order"], "archive": corpus["archive"]["codes"]}.get(corpus["source"])
    for language in languages if known else ():
        if language not in known:
            raise LapeError(f"config {key}: the {corpus['source']} text has no {language!r}; it has {', '.join(known)}")


def _all_globs(key: str, given: str | dict[str, str] | None, languages: list[str]) -> None:
    for language in languages if isinstance(given, dict) else ():
        if language not in given:
            raise LapeError(f"config {key}: no glob for language {language!r}; add one")


def _known_download(config: dict, section: str, name: str) -> None:
    known = config["downloads"]
    if name not in known:
        raise LapeError(f"config {section}.download: {name!r} is not in downloads{nearest(name, known)}")


def _explain(error: jsonschema.ValidationError) -> str:
    """What violates the schema, in one line."""
    place = ".".join(map(str, error.absolute_path)) or "the top level"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = next(key for key in error.instance if key not in known)
        return f"config {place}: unknown key {unknown!r}{nearest(unknown, known)}; config/README.md lists every key"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return f"config {place}: key {missing!r} is missing; config/README.md describes it"
    if error.validator == "minItems":
        number = {1: "one", 2: "two"}.get(error.validator_value, error.validator_value)
        why = f", as {error.schema['$comment']}" if "$comment" in error.schema else ""
        return f"config {place}: name {number} or more in place of {error.instance}{why}"
    if isinstance(error.instance, bool):
        # YAML reads no, off, yes and on as booleans; "no" is also Norwegian.
        return f"config {place}: YAML reads the word there as {error.instance}; put it in quotes"
    if error.validator == "type" and isinstance(error.instance, str) and _is_number(error.instance):
        # YAML 1.1 reads 1e-5 as text, 1.0e-5 as a number.
        remedy = f"write {float(error.instance):.1e}" if "e" in error.instance.lower() else "take its quotes away"
        return f"config {place}: YAML reads {error.instance} as text; {remedy}"
    if error.validator == "pattern" and "$comment" in error.schema:
        return f"config {place}: {error.instance!r} does not match; write {error.schema['$comment']}"
    return f"config {place}: {error.message}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
