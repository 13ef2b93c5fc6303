"""Conditions under which a model writes texts and translations: expert units or neurons are overwritten."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from lape.expert_units.selection import ExpertUnits
from lape.generation.conditions import Begin, Condition
from lape.generation.settings import OTHERS, TextSetting
from lape.interventions.dose import Dose
from lape.interventions.overwriting import UnitPerturbation, overwritten
from lape.interventions.perturbation import Perturbation, perturbed
from lape.interventions.steering import SteeringValues
from lape.neurons.set_names import known_sets
from lape.neurons.table import Neurons


@dataclass(frozen=True)
class TextCondition(Condition):
    """The condition under which texts and translations are written, by a `TextSetting`.

    Attributes:
        units: None where the setting needs none.
    """

    units: ExpertUnits | None = None

    _kinds: ClassVar[dict[str, type]] = {"units": ExpertUnits, **Condition._kinds}

    def begin(self, parts: Sequence[tuple[str, str]], prompt_length: int, backend: str) -> Begin:
        ((_, target),) = parts
        done = text_perturbation(self.setting, target, self.units, self.neurons, self.values)
        if isinstance(done, UnitPerturbation):
            return lambda model, choice=None: overwritten(model, done, backend)
        return partial(perturbed, perturbations=done or Perturbation({}), backend=backend)

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
        return None if self.setting.method == "active_lape" else "each part"


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
    return units.perturbation(target, OTHERS.get(setting.kind, setting.kind), size, other=setting.kind in OTHERS)
