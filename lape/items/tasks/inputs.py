"""Accuracy artifacts, read for the table: whether each question was answered rightly, in every setting."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_json
from lape.errors import LapeError
from lape.evaluation.choices import SCORES, correct

BASELINE = "baseline"


@dataclass(frozen=True)
class Setting:
    """The answers of one model to one task, with one language switched off or on, or none.

    Attributes:
        path: the accuracy header.
        header: the content of the accuracy header.
    """

    path: Path
    header: dict

    @property
    def switched(self) -> str:
        """The language that is off or on, or `BASELINE`."""
        return self.header["steered"] or self.header["deactivated"]

    @property
    def score(self) -> str:
        """The score by which choices are picked."""
        return self.header["parameters"]["score"]

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Evaluated language -> its rows of the table, in the order of the ids and the choices."""
        path = checked(self.path, self.header, ".tsv")
        try:
            frame = pd.read_csv(path, sep="\t", na_filter=False, dtype={"evaluated": str})
            ordered = frame.sort_values(["id", "choice"], kind="stable")
            tables = {language: ordered[ordered["evaluated"] == language] for language in self.header["languages"]}
            for language, table in tables.items():
                if table.empty or any(len(correct(table, score)) < 1 for score in SCORES):
                    raise LapeError(f"{path}: has no question in {language}; run `lape accuracy` again")
            return tables
        except OSError as error:
            raise LapeError(f"{path}: cannot be read ({error.strerror}); run `lape accuracy` again") from error
        except (ValueError, KeyError, TypeError) as error:
            raise LapeError(f"{path}: is not a table of choices ({error}); run `lape accuracy` again") from error

    def right(self, score: str | None = None) -> np.ndarray:
        """Whether each question was answered rightly by a score, 0.0 or 1.0 [languages, questions].

        Questions are in the order of the ids. Without a score, the one of the setting counts.
        """
        return np.stack([correct(table, score or self.score).to_numpy() for table in self.tables.values()])

    def __str__(self) -> str:
        names = (self.header[name] for name in ("model", "task", "method"))
        return f"accuracy of {', '.join(names)}, {self.switched}"


def load(paths: Iterable[str | Path]) -> dict[tuple[str, str], dict[tuple[str, str], Setting]]:
    """Read accuracy headers.

    Returns:
        (model, task) -> (method, switched language) -> its answers, the baseline first.

    Raises:
        LapeError: a path is no accuracy header, a setting comes twice, a baseline or a language of a method is missing,
            or two settings of a model and task were asked other questions or have another score.
    """
    found: dict[tuple[str, str], dict[tuple[str, str], Setting]] = {}
    for path in map(Path, paths):
        one = Setting(path, read_json(path, "accuracy"))
        key = one.header["method"], one.switched
        if found.setdefault((one.header["model"], one.header["task"]), {}).setdefault(key, one) is not one:
            raise LapeError(f"{one}: comes twice; pass each accuracy header once")
    for (model, task), settings in found.items():
        if ("none", BASELINE) not in settings:
            raise LapeError(f"accuracy of {model}, {task}, {BASELINE}: missing; run `lape accuracy` without neurons")
        base = settings["none", BASELINE]
        for method in dict.fromkeys(method for method, _ in settings if method != "none"):
            for language in base.header["languages"]:
                if (method, language) not in settings:
                    raise LapeError(
                        f"accuracy of {model}, {task}, {method}, {language}: missing; run `lape accuracy` for that set"
                    )
        for one in settings.values():
            if not _same_questions(one, base):
                raise LapeError(f"{one}: other questions, languages or score than {base.path}; run both again alike")
        found[model, task] = {("none", BASELINE): base, **settings}
    return found


def _same_questions(one: Setting, other: Setting) -> bool:
    """Whether two settings were asked the same questions in the same languages, and are scored alike."""
    if (one.header["languages"], one.score) != (other.header["languages"], other.score):
        return False
    columns = ["id", "choice", "right"]
    return all(
        table[columns].to_numpy().tolist() == other.tables[language][columns].to_numpy().tolist()
        for language, table in one.tables.items()
    )


def data(header: str | Path) -> list[Path]:
    """The TSV beside an accuracy header."""
    return [Path(header).with_suffix(".tsv")]


def chances(setting: Setting, language: str) -> Sequence[float]:
    """The share of right answers, in one language, of a uniform draw and of the place that is right most often."""
    rows = setting.tables[language]
    uniform = float((1 / rows.groupby("id")["choice"].size()).mean())
    majority = float(rows[rows["right"] == 1]["choice"].value_counts(normalize=True).max())
    return uniform, majority
