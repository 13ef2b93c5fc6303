"""Artifacts of expert units and of the texts under them, made by hand."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import write_header

# "no" and "nan" are languages that a careless reader takes for missing values.
LANGUAGES = ("en", "no", "nan")
LAYERS = 2
UNITS = 64
_PARTS = (
    ("self_attn.query_key_value", "attention", 12, [["q", 2], ["k", 2], ["v", 2]]),
    ("self_attn.dense", "attention", 4, [["o", 4]]),
    ("mlp.gate_up_proj", "ffn", 12, [["gate", 6], ["up", 6]]),
    ("mlp.down_proj", "ffn", 4, [["down", 4]]),
)


def linear_layers() -> list[dict]:
    """Of two layers with heads of two: q q k k v v q q k k v v, o, gate x 6, up x 6, down."""
    found, first = [], 0
    for layer in range(LAYERS):
        for name, kind, width, parts in _PARTS:
            found.append({"layer": layer, "name": name, "kind": kind, "first": first, "width": width, "parts": parts})
            first += width
    return found


def write_units(
    folder: Path,
    precision: np.ndarray,
    *,
    model: str = "tiny",
    languages: Sequence[str] = LANGUAGES,
    number: int = 6,
    positives: int = 5,
) -> dict[str, Path]:
    """Headers of the expert units and of the average precision of one model, each by its artifact.

    Args:
        folder: where results/<run> lies.
        precision: float64 [2, K, U], of the response and of the negated one.
        model, languages, number: what the headers say.
        positives: sentences of each language.
    """
    folder = folder / "expert_units" / model
    folder.mkdir(parents=True, exist_ok=True)
    units = precision.shape[2]
    same = {"model": model, "model_revision": "0" * 40, "languages": list(languages), "units": units}
    same |= {"linear_layers": linear_layers(), "neuron_part": "gate"}
    np.save(folder / "average_precision.npy", precision)
    header = folder / "average_precision.json"
    counts = {"positives": dict.fromkeys(languages, positives), "sentences": positives * len(languages)}
    outputs = [folder / "average_precision.npy"]
    write_header(header, "average_precision", **same, **counts, parameters={}, inputs=[], outputs=outputs)

    rows = []
    for language, response, negated in zip(languages, *precision, strict=True):
        orders = {
            "top": sorted(range(units), key=lambda unit, keys=response: -keys[unit]),
            "bottom": sorted(range(units), key=lambda unit, keys=negated: -keys[unit]),
            "random": np.random.default_rng(len(language)).permutation(units).tolist(),
        }
        for ranking, order in orders.items():
            for rank, unit in enumerate(order[:number], start=1):
                row = {"language": language, "ranking": ranking, "rank": rank, **place(unit)}
                row |= {"average_precision": response[unit], "negated_average_precision": negated[unit]}
                row |= {"median": 0.5, "other_median": 0.25}
                rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "units.tsv", sep="\t", index=False, lineterminator="\n")
    path = folder / "units.json"
    outputs = [folder / "units.tsv"]
    write_header(
        path,
        "expert_units",
        method="expert_units",
        **same,
        number=number,
        parameters={},
        inputs=[header],
        outputs=outputs,
    )
    return {"expert_units": path, "average_precision": header}


def place(unit: int) -> dict:
    """Where a unit is, counted out."""
    layer, within = divmod(unit, 32)
    parts = [*("qqkkvv" * 2), *("o" * 4), *["gate"] * 6, *["up"] * 6, *["down"] * 4]
    first = 0 if within < 12 else 12 if within < 16 else 16 if within < 28 else 28
    name = {0: "self_attn.query_key_value", 12: "self_attn.dense", 16: "mlp.gate_up_proj", 28: "mlp.down_proj"}[first]
    where = {"unit": unit, "layer": layer, "name": name, "part": parts[within], "index": within - first}
    return where | {"kind": "attention" if within < 16 else "ffn"}


def write_texts(
    folder: Path,
    setting: str,
    text: Callable[[str, int], dict] = lambda target, number: {},
    *,
    model: str = "tiny",
    prompt: str = "unconditional",
    source: str = "",
    languages: Sequence[str] = LANGUAGES,
    numbers: Sequence[int] = range(1, 13),
    size: int | dict[str, int] = 0,
    pairs: Sequence[Path] = (),
    fasttext: bool = False,
    unknown: Sequence[str] = (),
    named: Sequence[str] | None = None,
) -> Path:
    """Write one setting's texts and their scores; returns the scores header.

    Args:
        folder: where results/<run> lies.
        setting: such as "none", "both-4" or "lape".
        text: from (target, number) to what differs from a good text: columns of the scores, and `output`.
        model, prompt, languages, numbers: what the header says; the seeds, or the numbers of the sentences.
        source: the language that is translated from.
        size: units that are overwritten, by language or in each.
        pairs: headers that the texts were scored against.
        fasttext: whether its model was given.
        unknown: languages that langdetect does not know.
        named: languages that the header names, where these are others.
    """
    kind = setting.partition("-")[0]
    neurons = kind in ("lape", "active_lape", "ap")
    method = None if setting == "none" else setting if neurons else "expert_units"
    same = {"model": model, "model_revision": "0" * 40, "prompt": prompt, "setting": setting}
    same |= {"kind": "neurons" if neurons else kind, "method": method, "deactivated": None, "steering": None}
    same |= {"activated": None if setting == "none" else "target", "languages": list(named or languages)}
    rows = []
    for target in languages:
        for number in numbers:
            row = {"language": source, "target": target, "number": number, "langdetect": target, "lingua": target}
            row |= {"fasttext": target} if fasttext else {}
            row |= {"letters": 80, "tokens": 40, "nll": 2.0, "distinct_1": 0.7, "distinct_2": 0.9}
            row |= {"chrf": 30.0, "bleu": 5.0, "output": f"text {number} in {target}"}
            rows.append(row | text(target, number))

    texts = folder / "generations" / model / prompt / f"{setting}.json"
    texts.parent.mkdir(parents=True, exist_ok=True)
    with open(texts.with_suffix(".jsonl"), "w", encoding="utf-8") as file:
        for row in rows:
            line = {name: row[name] for name in ("language", "target", "number", "output")}
            line |= {"question": "", "prompt": "", "tokens": [5, 6], "finish_reason": "length"}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    sizes = size if isinstance(size, dict) else dict.fromkeys(languages, size)
    outputs = [texts.with_suffix(".jsonl")]
    write_header(texts, "generations", **same, size=sizes, rows=[], parameters={}, inputs=[], outputs=outputs)

    scores = folder / "scores" / model / prompt / f"{setting}.json"
    scores.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows).drop(columns="output")
    table.to_csv(scores.with_suffix(".tsv"), sep="\t", index=False, lineterminator="\n")
    known = {"lingua_accuracy": 0.0} | ({"fasttext_accuracy": 0.0} if fasttext else {})
    summary = [
        {"language": source, "target": target, "language_accuracy": None if target in unknown else 0.0, **known}
        for target in languages
    ]
    headers = [texts, *pairs]
    inputs = [path for header in headers for path in (header, header.with_suffix(".jsonl"))]
    outputs = [scores.with_suffix(".tsv")]
    write_header(scores, "scores", **same, rows=summary, parameters={}, inputs=inputs, outputs=outputs)
    return scores


def write_pairs(folder: Path, corpus: str, references: dict[str, Sequence[str]], source: str = "da") -> list[Path]:
    """Headers of the pairs of each language, from its references; numbers are from 1."""
    headers = []
    for language, texts in references.items():
        header = folder / "pairs" / corpus / f"{language}.json"
        header.parent.mkdir(parents=True, exist_ok=True)
        with open(header.with_suffix(".jsonl"), "w", encoding="utf-8") as file:
            for number, text in enumerate(texts, start=1):
                row = {"number": number, "source": f"sentence {number}", "reference": text}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        names = {"corpus": corpus, "language": language, "source_language": source, "pairs": len(texts)}
        outputs = [header.with_suffix(".jsonl")]
        write_header(header, "pairs", **names, parameters={}, inputs=[], outputs=outputs)
        headers.append(header)
    return headers
