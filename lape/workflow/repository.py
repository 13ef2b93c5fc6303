"""What rules depend on beside the artifacts: files of the repository, and the entry of a model in its FFN table."""

import json
from collections.abc import Iterable
from pathlib import Path

from lape.artifacts.code import ROOT, code_of
from lape.model.architectures import ffn_entry


def code(*modules: str) -> list[str]:
    """The files whose edit changes what some modules compute, as Snakemake does not watch imports; see `code_of`."""
    return _from_here(code_of(*modules))


def repository_files(*patterns: str) -> list[str]:
    """The files of some patterns."""
    return _from_here(file for pattern in patterns for file in sorted(ROOT.glob(pattern)))


def architecture(config: dict, wildcards) -> str:
    """The entry of the FFN table that the wildcard's model uses, once its header tells; "" before.

    A rule that loads a model has the entry among its parameters, in the place of the table among its files. So a new
    architecture makes nothing anew that other models made. Snakemake asks when a job begins, and finds the header.
    """
    return ffn_entry(header["model_type"]) if (header := _model(config, wildcards)) else ""


def another_architecture(config: dict, wildcards) -> str:
    """The entry that `architecture` tells, where the header was made by another one; "" elsewhere.

    It is for the rules that make the header, which asks before there is one.
    """
    header = _model(config, wildcards)
    return architecture(config, wildcards) if header and header.get("ffn") != ffn_entry(header["model_type"]) else ""


def _model(config: dict, wildcards) -> dict:
    """The header of the wildcard's model; empty where there is none, or one of which the job will say what is wrong."""
    path = Path("results", config["run"], "models", wildcards.model, "model.json")
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
        return header if isinstance(header["model_type"], str) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _from_here(files: Iterable[Path]) -> list[str]:
    """Paths, relative where they lie below the working directory."""
    here = Path.cwd().resolve()
    return [str(file.relative_to(here) if file.is_relative_to(here) else file) for file in files]
