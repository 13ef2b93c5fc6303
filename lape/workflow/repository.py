"""Dependencies of rules beside the artifacts: files of the repository, and a model's entry in its FFN table."""

import json
from pathlib import Path

from lape.artifacts.shipped import repository
from lape.config import model_of
from lape.model.architectures import ffn_entry


def repository_files(*patterns: str) -> list[str]:
    """The files of the repository that match some patterns, as relative paths below the working directory."""
    here = Path.cwd().resolve()
    files = (file for pattern in patterns for file in sorted(repository().glob(pattern)))
    return [str(file.relative_to(here) if file.is_relative_to(here) else file) for file in files]


def architecture(config: dict, wildcards) -> str:
    """The entry of the FFN table that the wildcard's model uses; "" before the model's header exists.

    A rule that loads a model has the entry among its parameters, instead of the whole table among its input files. So
    adding an architecture to the table does not rerun the jobs of other models. Snakemake calls this function again
    when a job begins, and by then the header exists.
    """
    header = _model(config, wildcards)
    return ffn_entry(header["model_type"]) if header else ""


def another_architecture(config: dict, wildcards) -> str:
    """The entry that `architecture` gives, where the model's header was made with a different entry; "" elsewhere.

    It is for the rules that make the header: the parameter changes, and the rule runs again, only where the table
    differs from the one in the header.
    """
    entry = architecture(config, wildcards)
    return entry if entry != _model(config, wildcards).get("ffn", "") else ""


def _model(config: dict, wildcards) -> dict:
    """The header of the wildcard's model; empty where it is missing or damaged. Damage is reported by the job."""
    path = Path("results", config["run"], "models", model_of(wildcards.model), "model.json")
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
        return header if isinstance(header["model_type"], str) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
