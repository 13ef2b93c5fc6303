"""Variants of a run: a model with some settings changed, whose artifacts lie beside those of the run.

A variant of the model `m` is called `m@NAME`, and NAME is a key of `experiments.robustness.variants`. Folders bear this
name in the model's place, such as `neurons/m@NAME`. What a variant leaves as it is in the run is not made again: the
variant reads the run's own artifact.
"""

from collections.abc import Callable

from lape.config import item_models, merged
from lape.errors import LapeError

# Sections that shape an artifact of a variant, and those that shape what it is made from.
_SHAPED_BY = {
    "corpus": {"corpus"},
    "tokens": {"corpus", "tokens"},
    "statistics": {"corpus", "tokens", "statistics"},
    "neurons": {"corpus", "tokens", "statistics", "neurons"},
}
SELECTION, EVALUATION = "selection", "evaluation"


def changes(config: dict) -> dict[str, dict]:
    """What each variant changes, in the order of the configuration.

    A variant that is null is left out, and so is one whose text is an archive without a language of the run.
    """
    known = config["experiments"]["robustness"]["variants"]
    return {name: changed for name, changed in known.items() if changed and _has_languages(config, changed)}


def _has_languages(config: dict, changed: dict) -> bool:
    corpus = merged(config["corpus"], changed.get("corpus", {}))
    return corpus["source"] != "archive" or set(config["languages"]) <= corpus["archive"]["codes"].keys()


def check_variants(config: dict, check: Callable[[dict], None]) -> None:
    """Check the configuration of every variant, as that of a run is checked.

    Raises:
        LapeError: the fault, and the variant that has it.
    """
    for name, changed in changes(config).items():
        try:
            check(merged(config, {key: value for key, value in changed.items() if key in config}))
        except LapeError as error:
            fault = str(error).removeprefix("config ")
            raise LapeError(f"config experiments.robustness.variants.{name}: {fault}") from error


def variants(config: dict, model: str) -> list[str]:
    """The names of a model's variants, in the order of the configuration."""
    return [f"{model}@{name}" for name in changes(config)]


def all_variants(config: dict) -> list[str]:
    """The names of the variants of all models that have some."""
    return [name for model in item_models(config, "robustness") for name in variants(config, model)]


def corpora(config: dict) -> list[str]:
    """The suffixes of the folders of the variants' corpora, such as "@maths"."""
    return [f"@{name}" for name, changed in changes(config).items() if "corpus" in changed]


def settings(config: dict, name: str) -> dict:
    """The configuration of a variant; that of the run for the name of a model, or for the suffix ""."""
    variant = name.partition("@")[2]
    return merged(config, changes(config)[variant]) if variant else config


def at(config: dict, name: str, artifact: str, use: str) -> str:
    """The name in whose folder a variant finds an artifact: its own, or that of the model.

    Args:
        config: the checked configuration.
        name: of a variant, or of a model, or the suffix of a corpus.
        artifact: "corpus", "tokens", "statistics" or "neurons".
        use: what the artifact is for, `SELECTION` or `EVALUATION`. The key `only` limits a variant to one of the two.
    """
    model, _, variant = name.partition("@")
    changed = changes(config)[variant] if variant else {}
    own = changed.get("only", use) == use and _SHAPED_BY[artifact] & changed.keys()
    return name if own else model
