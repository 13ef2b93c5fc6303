"""Conditions under which a model writes: a setting by its name, with the artifacts that it perturbs the model by."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from lape.artifacts.files import checked, read_json
from lape.errors import LapeError
from lape.generation.settings import Setting
from lape.interventions.directions import Directions, pushed
from lape.interventions.perturbation import Firing, Perturbation, perturbed
from lape.interventions.steering import SteeringValues
from lape.interventions.switching import without_shared
from lape.model.loading import check_found_on
from lape.neurons.table import Neurons

Begin = Callable[..., AbstractContextManager[Firing]]


@dataclass(frozen=True)
class Condition(ABC):
    """A setting with what it perturbs the model by.

    Attributes:
        name: of the setting.
        setting: what the name says; its `kind`, its `method` (None where it perturbs nothing) and its `needs`.
        neurons, values, directions: None where the setting needs none.
        files: the artifacts that were read.
    """

    name: str
    setting: object
    neurons: Neurons | None = None
    values: SteeringValues | None = None
    directions: Directions | None = None
    files: tuple[Path, ...] = ()

    # Whether several parts can be written in one pass, each under its own perturbation.
    joins: ClassVar[bool] = False
    # What reads each artifact that a setting may need.
    _kinds: ClassVar[dict[str, type]] = {
        "neurons": Neurons,
        "values": SteeringValues,
        "directions": Directions,
    }

    @classmethod
    def load(cls, name: str, setting: object, description: dict, **given: Path | None) -> "Condition":
        """Read the artifacts that a setting needs.

        Args:
            name: of the setting.
            setting: what the name says.
            description: header of the model artifact.
            **given: headers of the artifacts, by the attribute that takes each; None where none was given.

        Raises:
            LapeError: an artifact is missing or not needed, of another method, or found on another model.
        """
        for option, path in given.items():
            if (option in setting.needs) != (path is not None):
                fault = "is missing; pass it" if path is None else "is not used; leave it out"
                raise LapeError(f"setting {name}: --{option} {fault}")
        headers = {path: read_json(path) for path in given.values() if path}
        # A setting of expert units takes neurons only to know how many LAPE finds.
        method = "lape" if setting.method == "expert_units" else setting.method
        for path, header in headers.items():
            if path != given.get("units") and header.get("method") != method:
                raise LapeError(f"{path}: of method {header.get('method')}; setting {name} wants {method}")
            check_found_on(description, path, header)
        loaded = {option: cls._kinds[option].load(path) for option, path in given.items() if path}
        tables = (
            checked(path, header, ".npz" if path == given.get("directions") else ".tsv")
            for path, header in headers.items()
        )
        return cls(name, setting, **loaded, files=(*headers, *tables))

    @abstractmethod
    def begin(self, parts: Sequence[tuple[str, str]], prompt_length: int, backend: str) -> Begin:
        """What puts a model under the condition.

        Args:
            parts: the language of the question or the sentence ("" where there is none) and the language that is
                wanted, for each part that is written in one pass. There is one part unless the condition `joins`.
            prompt_length: positions of every prompt, padding included.
            backend: "extension" or "reference".

        Returns:
            makes, of a model and `choice` (int64 [B], the part of each row; None for the first part), the context in
            which the model writes; the context yields the record of what fired.

        Raises:
            LapeError: the neurons, units or values know no such language.
        """

    @abstractmethod
    def fields(self, languages: list[str], hooks: list[dict]) -> dict:
        """What the header of a generations artifact says of the condition.

        Args:
            languages: that are wanted.
            hooks: per part, what fired.
        """

    @property
    @abstractmethod
    def must_change(self) -> str | None:
        """Where a perturbation of some neurons must change an activation: in "each part", in "some part"; or None."""


class QuestionCondition(Condition):
    """The condition under which questions are answered, by a `Setting`."""

    joins: ClassVar[bool] = True

    def begin(self, parts: Sequence[tuple[str, str]], prompt_length: int, backend: str) -> Begin:
        if self.setting.kind == "diffmean":
            pushes = [self.directions.pushes(target, self.setting.dose) for _, target in parts]
            return partial(pushed, pushes=pushes, backend=backend)
        done = [setting_perturbation(self.setting, *part, self.neurons, self.values) for part in parts]
        return partial(perturbed, perturbations=done, prompt_length=prompt_length, backend=backend)

    def fields(self, languages: list[str], hooks: list[dict]) -> dict:
        dose = self.setting.dose
        values = "difference of mean hidden states" if self.setting.kind == "diffmean" else "mean activation"
        return {
            "kind": self.setting.kind,
            "deactivated": self.setting.deactivated,
            "activated": None if dose is None else "target",
            "method": self.setting.method,
            "steering": None if dose is None else {**dataclasses.asdict(dose), "values": values},
        }

    @property
    def must_change(self) -> str | None:
        return "some part" if self.setting.method in ("lape", "diffmean") else None


def setting_perturbation(
    setting: Setting, language: str, target: str, neurons: Neurons | None, values: SteeringValues | None
) -> Perturbation:
    """The perturbation of a setting for a question in `language` that is to be answered in `target`.

    Args:
        setting: a setting of the generation experiments.
        language, target: a pair of `setting.pairs`.
        neurons: neurons of the setting's method; None for the setting "normal".
        values: steering values of the setting's method, where the setting has a dose.

    Raises:
        LapeError: the neurons or the values do not know a language.
    """
    steered = values.perturbation(target, setting.dose) if setting.dose else Perturbation({})
    if setting.kind in ("normal", "prompted"):
        return Perturbation({})
    if setting.kind in ("random", "deactivated"):
        return Perturbation(neurons.indices(setting.language or language))
    if not setting.kind.startswith("cross"):
        return steered
    return without_shared(neurons.indices(language), neurons.indices(target)) + steered
