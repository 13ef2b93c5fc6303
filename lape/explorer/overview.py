"""What stands at the top of the page: the facts of a run, its audit, and its findings in sentences."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from lape.audit.run import audit
from lape.errors import counted
from lape.explorer.run import Run
from lape.items.layout import rounded
from lape.items.perplexity.inputs import CONTROL
from lape.items.perplexity.rows import diagonality, significant, significant_cells
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


def headline(run: Run) -> Iterator[str]:
    """The findings of every model in sentences, with their intervals; nothing where no matrix was measured."""
    header = run.table("deactivation_matrix")
    if header is None:
        return
    content = run.headers("table")[header]
    frame = read(header.with_suffix(".csv"), ("model", "method", "deactivated", "evaluated", "nll_change"))
    paths = [name for name in content["inputs"] if name.endswith(".json")]
    scores = diagonality(paths, **content["parameters"])
    for model, block in frame[frame["method"] == "lape"].groupby("model", sort=False):
        own = block[block["deactivated"] == block["evaluated"]].dropna(subset=["nll_change"])
        if own.empty:
            continue
        yield from _scores(str(model), scores[scores["model"] == model].set_index("method"))
        yield from _tested(block)
        most = own.loc[own["nll_change"].idxmax()]
        yield (
            f"The largest loss: {most.evaluated} text under {model} without the neurons of {most.deactivated}. "
            f"Its perplexity goes from {rounded(most.baseline_ppl)} to {rounded(most.ppl)}, a rise of "
            f"{rounded(most.nll_change)} nats per token{_interval(most.nll_change_low, most.nll_change_high)}."
        )


def _scores(model: str, scores: pd.DataFrame) -> Iterator[str]:
    """What a language loses by its own neurons and by those of others, and the same under the control."""
    if "lape" not in scores.index:
        return
    found = scores.loc["lape"]
    line = (
        f"Under {model} the text of a language loses {rounded(found.diagonal)} nats per token without the neurons that "
        f"LAPE finds for it, and {rounded(found.off_diagonal)} without those of another language"
    )
    if pd.notna(found.low) and 0 < found.score < float("inf"):
        line += f": a ratio of {rounded(found.score)}{_interval(found.low, found.high)}"
    line += "."
    if (control := f"{CONTROL}lape") in scores.index:
        other = scores.loc[control]
        line += (
            f" With as many random neurons of the same layers it loses {rounded(other.diagonal)} and "
            f"{rounded(other.off_diagonal)}."
        )
    yield line


def _tested(block: pd.DataFrame) -> Iterator[str]:
    """How many languages suffer more than under the control, where there are enough chunks to tell."""
    on, off = significant_cells(block)
    if on is None:
        return
    languages = block["deactivated"].nunique()
    named = block.loc[significant(block) & (block["deactivated"] == block["evaluated"]), "evaluated"]
    yield (
        f"{on} of {counted(languages, 'language')} ({', '.join(named) or 'none'}) suffer more without their own "
        f"neurons than under the control, and {off} of {languages * (languages - 1)} pairs of two languages do "
        "(paired test over chunks of text, Holm's correction, p < 0.05; the control is one draw)."
    )


def _interval(low: float, high: float) -> str:
    return "" if pd.isna(low) else f" (95% interval {rounded(low)} to {rounded(high)})"


def matrices(run: Run) -> pd.DataFrame | None:
    """Every cell of every matrix of perplexity that the run's tables hold; None without one."""
    headers = [header for header in map(run.table, MATRICES) if header is not None]
    frames = [read(header.with_suffix(".csv"), ("model", "method")) for header in headers]
    if not frames:
        return None
    keys = ["model", "method", "deactivated", "evaluated"]
    return pd.concat(frames, ignore_index=True).drop_duplicates(keys, ignore_index=True)
