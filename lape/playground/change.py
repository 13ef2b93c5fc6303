"""What is switched in a model: some languages off, one on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lape.errors import LapeError
from lape.expert_units.selection import ExpertUnits
from lape.interventions.dose import Dose
from lape.interventions.overwriting import UnitPerturbation
from lape.interventions.perturbation import Perturbation
from lape.interventions.steering import SteeringValues, steering_values
from lape.interventions.switching import without_shared
from lape.neurons.table import Neurons
from lape.playground.finished_run import Method
from lape.statistics.sums import ActivationStatistics


@dataclass(frozen=True)
class Change:
    """Languages that are switched off, and one that is switched on.

    Attributes:
        off: their neurons are set to zero, but for those that the language `on` shares.
        on: its neurons are steered; None for no language.
        dose: of the steering.
    """

    off: Sequence[str] = ()
    on: str | None = None
    dose: Dose = field(default_factory=Dose)

    def __post_init__(self):
        if self.on in self.off:
            raise LapeError(f"{self.on} is both off and on; choose one of the two")

    def __str__(self) -> str:
        done = [*(f"{language} off" for language in self.off), *([f"{self.on} on"] if self.on else [])]
        return ", ".join(done) or "nothing switched"

    def by(self, method: Method, read: Callable[[type, Path], object], units: int) -> Perturbation | UnitPerturbation:
        """What the change does to what a run's method found.

        Args:
            method: of the run.
            read: reads an artifact of a kind by its header.
            units: number of expert units.

        Raises:
            LapeError: see `of_neurons` and `of_units`; or an artifact cannot be read.
        """
        if method.units is not None:
            return self.of_units(read(ExpertUnits, method.units), units)
        neurons, values = read(Neurons, method.neurons), None
        if self.on and method.values:
            values = read(SteeringValues, method.values)
        elif self.on and method.statistics:
            counted = {code: read(ActivationStatistics, path) for code, path in method.statistics.items()}
            values = steering_values(neurons, counted)
        return self.of_neurons(neurons, values)

    def of_neurons(self, neurons: Neurons, values: SteeringValues | None) -> Perturbation:
        """What the change does to neurons: what the workflow's settings of the same meaning do.

        Raises:
            LapeError: a language has no neurons, or there are no values to steer it with.
        """
        off = neurons.indices(self.off)
        if self.on is None:
            return Perturbation(off)
        if values is None:
            raise LapeError(f"{neurons.origin}: the run has no statistics to steer by; switch languages off only")
        return without_shared(off, values.indices(self.on)) + values.perturbation(self.on, self.dose)

    def of_units(self, units: ExpertUnits, size: int) -> UnitPerturbation:
        """What the change does to expert units: those of the language `on` are set to their medians.

        Args:
            units: of a language both the top and the bottom are overwritten.
            size: number of units.

        Raises:
            LapeError: a language is off, or the language has no units.
        """
        if self.off:
            raise LapeError(f"{units.origin}: expert units are switched on only; leave {self.off[0]} out")
        return units.perturbation(self.on, "both", size) if self.on else UnitPerturbation({})
