"""A finished run as the playground sees it: its models, what was found on each, and how it asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lape.artifacts.files import read_json
from lape.artifacts.shipped import default_config, repository
from lape.errors import LapeError, nearest
from lape.text.questions import load_questions, read_questions
from lape.text.reading import Reading

# What the page calls expert units, which are a method beside those of the neurons.
EXPERT_UNITS = "expert_units"


@dataclass(frozen=True)
class Method:
    """What one method found on a model, by the headers of its artifacts; None where the run did not make one.

    Attributes:
        name: of the method, such as "lape"; see `EXPERT_UNITS`.
        neurons: of the languages. For expert units LAPE's, whose firing is shown.
        values: steering values of the neurons.
        statistics: of each language, from which the values follow where the run wrote none; empty where they lie
            elsewhere.
        units: expert units.
        languages: that can be switched.
    """

    name: str
    languages: tuple[str, ...]
    neurons: Path | None = None
    values: Path | None = None
    statistics: Mapping[str, Path] = field(default_factory=dict)
    units: Path | None = None

    @property
    def steers(self) -> bool:
        """Whether a language can be switched on."""
        return any((self.values, self.statistics, self.units))

    def files(self, steers: bool) -> list[Path]:
        """The headers and tables that a change is made from, those of a steering among them where it is one."""
        headers = [self.units or self.neurons]
        if steers and self.values and not self.units:
            headers.append(self.values)
        elif steers and not self.units:
            headers += self.statistics.values()
        return [path for header in headers for path in (header, *_data(header))]


def _data(header: Path) -> list[Path]:
    """The table or the sums beside a header."""
    return [path for suffix in (".tsv", ".npz") if (path := header.with_suffix(suffix)).is_file()]


@dataclass(frozen=True)
class FinishedRun:
    """The folder of a finished run.

    Attributes:
        folder: results/<run>.
        config: the configuration of the run, complete.
    """

    folder: Path
    config: dict

    @classmethod
    def open(cls, folder: str | Path) -> "FinishedRun":
        """Read a run's folder.

        Raises:
            LapeError: there is no such folder, or it holds no finished run.
        """
        folder = Path(folder).resolve()
        if not folder.is_dir():
            raise LapeError(f"{folder}: no such folder; name the folder of a finished run, such as results/default")
        if not (folder / "config.json").is_file():
            raise LapeError(f"{folder}: holds no run (it lacks config.json); name a folder such as results/default")
        run = cls(folder, read_json(folder / "config.json"))
        if not run.models:
            raise LapeError(f"{folder}: no neurons were selected yet; finish the run first")
        return run

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The models on which something was found, those of the configuration first."""
        found = [path.parent.name for path in sorted(self.folder.glob("models/*/model.json"))]
        order = [name for name in self.config["models"] if name in found]
        return tuple(name for name in dict.fromkeys([*order, *found]) if self.methods(name))

    def methods(self, model: str) -> dict[str, Method]:
        """What was found on a model, by the name of the method, LAPE first."""
        neurons = {path.stem: path for path in sorted(self.folder.glob(f"neurons/{model}/*.json"))}
        units = self.folder / "expert_units" / model / "units.json"
        found = {}
        for name in sorted(neurons, key=lambda name: (name != "lape", name)):
            values = self.folder / "steering" / model / f"{name}.json"
            languages = tuple(read_json(neurons[name], "neurons")["sets"])
            counted = {code: self.folder / "statistics" / model / f"{code}.json" for code in languages}
            counted = counted if all(map(Path.is_file, counted.values())) else {}
            found[name] = Method(name, languages, neurons[name], values if values.is_file() else None, counted)
        if units.is_file():
            languages = tuple(read_json(units, "expert_units")["languages"])
            found[EXPERT_UNITS] = Method(EXPERT_UNITS, languages, neurons.get("lape"), units=units)
        return found

    def method(self, model: str, name: str) -> Method:
        """What one method found on a model.

        Raises:
            LapeError: the run has no such model, or nothing that the method found on it.
        """
        if model not in self.models:
            raise LapeError(f"{self.folder}: has no model {model!r}{nearest(model, self.models)}")
        methods = self.methods(model)
        if name not in methods:
            raise LapeError(f"{self.folder}: has no method {name!r} of {model}{nearest(name, methods)}")
        return methods[name]

    def model_json(self, model: str) -> Path:
        """The header of a model."""
        return self.folder / "models" / model / "model.json"

    @property
    def units(self) -> int:
        """How many expert units of a language are overwritten: as many of the top as of the bottom."""
        return 2 * self.config["expert_units"]["size"]

    def first_questions(self) -> dict[str, str]:
        """The first question of each language: of the run's, or of those that come with lape."""
        found = {}
        for language in self.config["languages"]:
            header = self.folder / "questions" / f"{language}.json"
            shipped = repository() / default_config()["questions"]["pattern"].format(language=language)
            if header.is_file():
                questions = load_questions(header)
            elif shipped.is_file():
                questions = read_questions(language, Reading(), pattern=str(shipped))
            else:
                continue
            found[language] = next(iter(questions.values()))
        return found
