"""What stands at the top of the page: the facts of a run, its audit, and its findings in sentences."""

import logging
from pathlib import Path

import pandas as pd

from lape.audit.run import audit
from lape.errors import counted
from lape.explorer.run import Run
from lape.items.perplexity.findings import TABLES, findings
from lape.items.tables import read
from lape.model.sites import Sites

# The tables of perplexity under deactivation, the richest last.
MATRICES = ("deactivation_matrix", "deactivation_by_model", "deactivation_random", "expert_deactivation")
MATRICES += ("deactivation_by_method",)


def facts(run: Run) -> list[tuple[str, str]]:
    """What was run: label and text of each fact that the artifacts tell."""
    order = [*run.config.get("models", []), *(header["name"] for header in run.headers("model").values())]
    models = sorted(run.headers("model").values(), key=lambda header: order.index(header["name"]))
    models = list(map(_model, models))
    tokens = run.headers("tokens").values()
    corpora = run.headers("corpus").values()
    text = {f"{header['source']}, {sum(each['documents'] for each in corpora):,} documents" for header in corpora}
    found = [
        *(("Model", model) for model in models),
        ("Languages", ", ".join(run.config.get("languages", []))),
        ("Text", ", ".join(sorted(map(str, text)))),
        *((f"Tokens per language, {what}", _range(tokens, split)) for split, what in _SPLITS.items()),
        ("Newest result", f"{run.date} UTC" if run.date else ""),
        ("lape", _version(run.manifest.get("versions", {}))),
        ("Machine", _machine(run.manifest.get("machine", {}))),
    ]
    return [(label, text) for label, text in found if text]


_SPLITS = {"train": "for the neurons", "valid": "for the perplexity"}


def _model(header: dict) -> str:
    """A model: its name, where it is from, its shape, dtype and quantisation."""
    files = [Path(name).name for name in header["inputs"] if name.endswith(".gguf")]
    origin = f"dequantised from {files[0]}" if files else str(header["path"]) if header["source"] == "hub" else ""
    scheme = header.get("scheme")
    parts = (origin, str(Sites.of(header)), header["dtype"], f"quantised: {scheme}" if scheme else "")
    return f"{header['name']}: {', '.join(filter(None, parts))}"


def _range(tokens, split: str) -> str:
    """The number of tokens of the languages: one number, or the least and the most."""
    numbers = sorted({header["tokens"] for header in tokens if header["split"] == split})
    return f"{numbers[0]:,}" + (f" to {numbers[-1]:,}" if len(numbers) > 1 else "") if numbers else ""


def _version(versions: dict) -> str:
    commit = versions.get("git")
    return f"{versions.get('lape') or ''}{f' ({commit[:10]})' if commit else ''}".strip()


def _machine(machine: dict) -> str:
    return ", ".join([*dict.fromkeys(machine.get("gpus", [])), machine.get("processor") or ""]).strip(", ")


def verdict(run: Run) -> tuple[bool, str]:
    """Whether the run holds, in the words of the page: every hash, and that the numbers follow from one another."""
    logger = logging.getLogger("lape")
    level = logger.level
    logger.setLevel(logging.ERROR)  # the audit selects and tabulates anew, and what that says was said before
    try:
        faults = [f"{path}: {fault}" for path, fault in audit(run.manifest)]
    finally:
        logger.setLevel(level)
    artifacts = counted(len(run.manifest["artifacts"]), "artifact")
    if faults:
        return False, f"{counted(len(faults), 'fault')} in {artifacts}, the first: {faults[0]}"
    return True, f"{artifacts}: every hash holds, and the numbers of each stage follow from earlier stages"


def headline(run: Run) -> list[str]:
    """The findings of every model in sentences, with their intervals; none where no matrix was measured."""
    return list(findings(header for item in TABLES if (header := run.table(item)) is not None))


def matrices(run: Run) -> pd.DataFrame | None:
    """Every cell of every matrix of perplexity that the run's tables hold; None without one."""
    headers = [header for header in map(run.table, MATRICES) if header is not None]
    frames = [read(header.with_suffix(".csv"), ("model", "method")) for header in headers]
    if not frames:
        return None
    keys = ["model", "method", "deactivated", "evaluated"]
    return pd.concat(frames, ignore_index=True).drop_duplicates(keys, ignore_index=True)
