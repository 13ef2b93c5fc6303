"""Conditions under which a model writes: a setting by its name, with the artifacts that it perturbs the model by."""

import dataclasses
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from lape.artifacts.files import checked, read_json
from lape.errors import LapeError
from lape.expert_units.selection import ExpertUnits
from lape.generation.settings import Dose, Setting, TextSetting
from lape.interventions.overwriting import UnitPerturbation, overwritten
from lape.interventions.perturbation import Firing, Perturbation, perturbed
from lape.interventions.steering import SteeringValues, setting_perturbation
from lape.model.loading import check_found_on
from lape.neurons.set_names import known_sets
from lape.neurons.table import Neurons


@dataclass(frozen=True)
class Condition(ABC):
    """A setting with what it perturbs the model by.

    Attributes:
        name: of the setting.
        setting: what the name says.
        units, neurons, values: None where the setting needs none.
        files: that these were read from.
    """

    name: str
    setting: Setting | TextSetting
    units: ExpertUnits | None = None
    neurons: Neurons | None = None
    values: SteeringValues | None = None
    files: tuple[Path, ...] = ()

    @classmethod
    def load(cls, name: str, setting: Setting | TextSetting, description: dict, **given: Path | None) -> "Condition":
        """Read the artifacts that a setting needs.

        Args:
            name: of the setting.
            setting: what the name says.
            description: header of the model artifact.
            **given: headers of the units, neurons and values; None where none was given.

        Raises:
            LapeError: an artifact is missing or not needed, of another method, or found on another model.
        """
        for option, path in given.items():
            if (option in setting.needs) != (path is not None):
                fault = "is missing; pass it" if path is None else "is not used; leave it out"
                raise LapeError(f"setting {name}: --{option} {fault}")
        headers = {path: read_json(path) for path in given.values() if path}
        method = "lape" if setting.method == "expert_units" else setting.method  # of the neurons
        for path, header in headers.items():
            if path != given.get("units") and header.get("method") != method:
                raise LapeError(f"{path}: of method {header.get('method')}; setting {name} wants {method}")
            check_found_on(description, path, header)
        kinds = {"units": ExpertUnits, "neurons": Neurons, "values": SteeringValues}
        loaded = {option: kinds[option].load(path) for option, path in given.items() if path}
        tables = (checked(path, header, ".tsv") for path, header in headers.items())
        return cls(name, setting, **loaded, files=(*headers, *tables))

    @abstractmethod
    def perturbation(self, language: str, target: str) -> UnitPerturbation | Perturbation | None:
        """What is done to a model that is asked in `language` and is to write in `target`; None for nothing."""

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
    """The condition under which questions are answered."""

    def perturbation(self, language: str, target: str) -> Perturbation:
        return setting_perturbation(self.setting, language, target, self.neurons, self.values)

    def fields(self, languages: list[str], hooks: list[dict]) -> dict:
        dose = self.setting.dose
        return {
            "kind": self.setting.kind,
            "deactivated": self.setting.deactivated,
            "activated": None if dose is None else "target",
            "method": self.setting.method,
            "steering": None if dose is None else {**dataclasses.asdict(dose), "values": "mean activation"},
        }

    @property
    def must_change(self) -> str | None:
        return "some part" if self.setting.method == "lape" else None


class TextCondition(Condition):
    """The condition under which texts and translations are written."""

    def perturbation(self, language: str, target: str) -> UnitPerturbation | Perturbation | None:
        return text_perturbation(self.setting, target, self.units, self.neurons, self.values)

    def fields(self, languages: list[str], hooks: list[dict]) -> dict:
        method = self.setting.method
        return {
            "kind": self.setting.kind,
            "deactivated": None,
            "activated": "target" if method else None,
            "method": method,
            "steering": None,
            "size": {hook["target"]: hook["neurons"] for hook in hooks} if method else dict.fromkeys(languages, 0),
        }

    @property
    def must_change(self) -> str | None:
        # Neurons that were drawn by chance may never fire, and their mean is then what they do anyway.
        return None if self.setting.method == "matched_lape" else "each part"


def text_perturbation(
    setting: TextSetting,
    target: str,
    units: ExpertUnits | None = None,
    neurons: Neurons | None = None,
    values: SteeringValues | None = None,
) -> UnitPerturbation | Perturbation | None:
    """What a setting does to a model that is to write in `target` (Kojima et al. 2024, and its counterpart by LAPE).

    Args:
        setting: of the experiment.
        target: a language.
        units: overwritten with their medians, where the setting takes expert units.
        neurons: of LAPE, where the setting takes as many units as the target has neurons.
        values: mean activations, where the setting takes neurons.

    Returns:
        None where nothing is overwritten.

    Raises:
        LapeError: units, neurons or values know no such language, or there are fewer units than the setting takes.
    """
    if setting.kind == "none":
        return None
    if setting.kind == "neurons":
        return values.perturbation(target, Dose())
    size = setting.size
    if size == "lape":
        known_sets(target, neurons.sets, neurons.origin)
        size = neurons.counts()[target]
    return units.perturbation(target, setting.kind, size)


def applied(
    model: PreTrainedModel,
    perturbation: UnitPerturbation | Perturbation | None,
    prompt_length: int,
    backend: str = "extension",
) -> AbstractContextManager[Firing]:
    """The context in which a model writes under a perturbation; it yields the record of what fired.

    Args:
        model: that writes.
        perturbation: None for none.
        prompt_length: positions of every prompt, padding included.
        backend: "extension" or "reference".
    """
    if isinstance(perturbation, UnitPerturbation):
        return overwritten(model, perturbation, backend=backend)
    done = Perturbation({}) if perturbation is None else perturbation
    return perturbed(model, done, prompt_length=prompt_length, backend=backend)
