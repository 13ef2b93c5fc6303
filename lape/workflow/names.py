"""Names in a configuration that are values of wildcards: models by their source, languages, downloads, settings."""

import re
from collections.abc import Iterable

from lape.config import expert_languages
from lape.generation.settings import SELECTION, SETTING
from lape.items.variants import all_variants, corpora


def one_of(names: Iterable[str]) -> str:
    """A regular expression that matches some names and nothing else. Without names it matches nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"


def models(config: dict, *sources: str) -> list[str]:
    """Names of the catalogue's models whose checkpoints come from some sources."""
    return [name for name, model in config["catalogue"].items() if model["source"] in sources]


def pickled_models(config: dict) -> list[str]:
    """Names of the catalogue's models whose checkpoints are pickles on the hub."""
    return [name for name in models(config, "hub") if config["catalogue"][name].get("pickled")]


def downloads(config: dict, url: bool) -> list[str]:
    """Names of the downloads from a URL, or of those from a package index."""
    return [name for name, download in config["downloads"].items() if ("url" in download) == url]


def languages(config: dict) -> list[str]:
    """Every language in which text is read: those of the run, of the expert units and of the translations' source."""
    return list(dict.fromkeys([*config["languages"], *expert_languages(config), config["translation"]["source"]]))


def model_or_variant(config: dict) -> str:
    """A regular expression of the models and of their variants."""
    return one_of([*config["catalogue"], *all_variants(config)])


def constraints(config: dict) -> dict[str, str]:
    """Wildcard -> regular expression, for the wildcards that several rules share."""
    files = [
        file
        for download in config["downloads"].values()
        for file in (download["files"] if "url" in download else [download["save_as"]])
    ]
    return {
        "model": one_of(config["catalogue"]),
        "variant": f"({one_of(corpora(config))})?",
        "language": one_of(languages(config)),
        "split": "train|valid",
        "deactivated": one_of(config["languages"]),
        "steered": one_of(config["languages"]),
        "ratio": r"[\d.e-]+",
        "download": one_of(config["downloads"]),
        "file": one_of(files),
        "prompt": "plain|suffix",
        "job": "[0-9]+",
        "draws": "[0-9]+",
        "corpus": one_of(config["translation"]["corpora"]),
        "selection": SELECTION,
        "setting": SETTING,
        "task": one_of(config["tasks"]),
    }
