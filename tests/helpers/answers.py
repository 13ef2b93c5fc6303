"""Artifacts of generated answers, made by hand, and plain computations to hold the tables against."""

import itertools
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
from scipy import special

from lape.artifacts.files import write_header
from lape.evaluation.uncertainty import resamples

# "no" and "nan" are languages that a careless reader takes for missing values.
LANGUAGES = ("en", "no", "nan")
QUESTIONS = 12
STEERING = {"mode": "set", "positions": "all", "strength": 1.0, "share": 1.0}
METRICS = ("nll", "distinct_1", "distinct_2", "chrf", "bleu")
_ORDER = ("language", "target", "number", "langdetect", "lingua", "fasttext", "line_languages", "latin_words")
_ORDER += ("letters", "tokens", *METRICS)


def write_setting(
    folder: Path,
    setting: str,
    answer: Callable[[str, str, int], dict] = lambda language, target, number: {},
    *,
    model: str = "tiny",
    prompt: str = "plain",
    languages: Sequence[str] = LANGUAGES,
    questions: Sequence[int] = range(1, QUESTIONS + 1),
    judged: bool = False,
    unknown: Sequence[str] = (),
) -> list[Path]:
    """Write one setting's answers; returns the scores header and, where they are judged, the judgements header.

    Args:
        folder: what lies below it is laid out as below results/<run>.
        setting: such as "normal", "deactivated-fr" or "cross-fr@add-all-0.5-1".
        answer: from (language, target, number) to what differs from a good answer: columns of the scores, `output`, and
            `rating`.
        model, prompt, languages, questions: what the header says; the numbers of the questions.
        judged: whether there are judgements.
        unknown: languages that langdetect does not know.
    """
    kind, _, own = setting.partition("@")[0].partition("-")
    dose = setting.partition("@")[2]
    steers = kind.startswith(("steered", "cross", "diffmean"))
    steering = STEERING if steers else None
    if kind == "diffmean":
        depth, strength = dose.split("-")
        steering = {"depth": float(depth), "strength": float(strength)}
    elif dose:
        mode, positions, strength, share = dose.split("-")
        steering = {"mode": mode, "positions": positions, "strength": float(strength), "share": float(share)}
    pairs = [(language, language) for language in languages]
    if kind.startswith(("cross", "diffmean", "prompted")):
        pairs = [(own, target) for target in languages if target != own]
    rows = []
    for language, target in pairs:
        for number in questions:
            row = {"language": language, "target": target, "number": number}
            row |= {"langdetect": target, "lingua": target, "fasttext": target, "letters": 80, "tokens": 40}
            row |= {"line_languages": f"{target} {target}", "latin_words": 0}
            row |= {"nll": 2.0, "distinct_1": 0.7, "distinct_2": 0.9, "chrf": 30.0, "bleu": 5.0}
            row |= {"output": f"answer {number} in {target}", "rating": 5.0}
            rows.append(row | answer(language, target, number))

    same = {
        "model": model,
        "model_revision": "0" * 40,
        "prompt": prompt,
        "setting": setting,
        "kind": kind,
        "deactivated": own or ("question" if kind == "random" else None),
        "activated": "target" if steers else None,
        "method": None if kind in ("normal", "prompted") else "active_lape" if kind.endswith("random") else "lape",
        "steering": steering and {**steering, "values": "mean activation"},
        "languages": list(languages),
    }
    generations = folder / "generations" / model / prompt / f"{setting}.json"
    _write_answers(generations, rows, same)

    scores = folder / "scores" / model / prompt / f"{setting}.json"
    scores.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows)[list(_ORDER)].to_csv(scores.with_suffix(".tsv"), sep="\t", index=False, lineterminator="\n")
    summary = [_summary(pair, rows, unknown) for pair in pairs]
    inputs = [generations, generations.with_suffix(".jsonl")]
    outputs = [scores.with_suffix(".tsv")]
    write_header(scores, "scores", **same, rows=summary, parameters={}, inputs=inputs, outputs=outputs)
    return [scores, *([write_judgements(folder, scores, rows)] if judged else [])]


def write_judgements(folder: Path, scores: Path, rows: list[dict]) -> Path:
    """Write judgements of the answers that lie in a scores header's inputs; returns their header."""
    header = json.loads(scores.read_text(encoding="utf-8"))
    same = {
        name: value for name, value in header.items() if name in ("model", "prompt", "setting", "kind", "languages")
    }
    path = folder / "judgements" / scores.relative_to(folder / "scores")
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = ("language", "target", "number", "rating")
    table = pd.DataFrame([{key: row[key] for key in keys} for row in rows])
    table = table.assign(status=["unparsed" if rating is None else "rated" for rating in table["rating"]])
    table = table.assign(verdict=[f'A \\"fair\\" answer.\\n[[{rating}]]' for rating in table["rating"]])
    table.to_csv(path.with_suffix(".tsv"), sep="\t", index=False, lineterminator="\n")
    outputs = [path.with_suffix(".tsv")]
    write_header(path, "judgements", **same, rows=[], parameters={}, inputs=header["inputs"], outputs=outputs)
    return path


def _write_answers(header: Path, rows: list[dict], same: dict) -> None:
    header.parent.mkdir(parents=True, exist_ok=True)
    with open(header.with_suffix(".jsonl"), "w", encoding="utf-8") as file:
        for row in rows:
            question = f"Question {row['number']} in {row['language']}?"
            line = {name: row[name] for name in ("language", "target", "number", "output")}
            line |= {"question": question, "prompt": f"Q: {question}\nA:", "tokens": [5, 6], "finish_reason": "stop"}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    outputs = [header.with_suffix(".jsonl")]
    write_header(header, "generations", **same, rows=[], parameters={}, inputs=[], outputs=outputs)


def _summary(pair: tuple[str, str], rows: list[dict], unknown: Sequence[str]) -> dict:
    """A block's row of the scores header, the values that the tables read."""
    block = [row for row in rows if (row["language"], row["target"]) == pair]
    known = pair[1] not in unknown
    return {
        "language": pair[0],
        "target": pair[1],
        "answers": len(block),
        "language_accuracy": fmean(row["langdetect"] == pair[1] for row in block) if known else None,
        "lingua_accuracy": fmean(row["lingua"] == pair[1] for row in block),
        "fasttext_accuracy": fmean(row["fasttext"] == pair[1] for row in block),
        "line_pass_rate": fmean({*row["line_languages"].split()} == {pair[1]} for row in block),
    }


def noise(*words) -> random.Random:
    return random.Random(" ".join(map(str, words)))


def answering(setting: str):
    """Answers of which about a share is in the target, with an NLL that differs between questions."""
    share = {"cross": 0.6, "cross_random": 0.1, "deactivated": 0.3}.get(setting.partition("-")[0], 0.7)

    def answer(language: str, target: str, number: int) -> dict:
        draw = noise(setting, language, target, number)
        found = target if draw.random() < share else draw.choice(["fr", "short", "unknown"])
        values = {"langdetect": found, "lingua": found if draw.random() < 0.8 else "da"}
        values |= {"nll": draw.uniform(1.5, 2.5), "rating": float(draw.randint(1, 10))}
        values |= {"fasttext": draw.choice([found, "da"])}
        return values | {"line_languages": f"{target} {found}", "latin_words": draw.randint(0, 1)}

    return answer


def every_setting(folder, languages=LANGUAGES, **options):
    """Every setting of the tables, the control included."""
    names = ["normal", "random", "steered", "steered_random"]
    names += [f"{kind}-{language}" for kind in ("deactivated", "cross", "cross_random") for language in languages]
    written = [write_setting(folder, name, answering(name), languages=languages, **options) for name in names]
    return [path for paths in written for path in paths]


def given(setting, column, language, target=None):
    """One column of what `answering` says, in the order of the questions."""
    answer = answering(setting)
    return [answer(language, target or language, number)[column] for number in range(1, QUESTIONS + 1)]


def hits(setting, language, target=None, column="langdetect"):
    return [float(found == (target or language)) for found in given(setting, column, language, target)]


def wilson(share, number, z=1.959963984540054):
    """Wilson's score interval, from its formula."""
    centre = (share + z**2 / (2 * number)) / (1 + z**2 / number)
    half = z / (1 + z**2 / number) * math.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
    return centre - half, centre + half


def percentiles(values, seed=0, number=2000):
    """Expanded percentiles of a bootstrap over questions of the mean over blocks, [K, N], drawn one by one."""
    values = np.array(values, float)
    size = values.shape[1]
    draws = resamples(size, number, seed)
    return expanded([values[:, draw].mean() for draw in draws], size)


def expanded(means, size):
    """Percentiles of resampled means of `size` values at the levels of Hesterberg 2015, section 3.3."""
    tail = special.ndtr(math.sqrt(size / (size - 1)) * special.stdtrit(size - 1, 0.025))
    return np.nanquantile(means, [tail, 1 - tail])


def flipped(differences):
    """Two-sided p-value over all patterns of signs."""
    total = abs(sum(differences))
    patterns = itertools.product((1, -1), repeat=len(differences))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in patterns]
    return sum(value >= total * (1 - 1e-12) for value in sums) / len(sums)


def one(frame, **keys):
    """The row of these values."""
    for name, value in keys.items():
        frame = frame[frame[name] == value]
    (row,) = frame.itertuples()
    return row
