"""A language switched on, or one switched off and another on, with the values that steer the model."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch import nn

from lape.errors import LapeError
from lape.interventions.dose import Dose
from lape.interventions.perturbation import Firing, Perturbation, check_shape, perturbed
from lape.interventions.steering import SteeringValues

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def steer(
    model: nn.Module, values: SteeringValues, language: str, *, dose: Dose | str = "set-all-1-1"
) -> Iterator[Firing]:
    """Raise a language's neurons to their mean activation on that language during the block (section 3.3.4).

    A language without neurons changes nothing; a warning says so.

    Args:
        model: a Hugging Face causal LM.
        values: steering values of a model of the same shape.
        language: the language to steer towards.
        dose: mode (set, max, add, scale), positions (all, prompt, generated), strength and share of the neurons, joined
            by "-"; see `Dose`. By default all neurons are set to their mean at all positions, as in the paper.

    Yields:
        the record of what fired; see `perturbed`.

    Raises:
        LapeError: the language or the dose is unknown, the values are of a model of another shape, or a hook did not
            fire.

    Example:
        >>> with steer(model, values, "fr"):
        ...     model.generate(**prompt)
    """
    check_shape(model, values)
    _warn_of_none(values, language)
    with perturbed(model, values.perturbation(language, _dose(dose))) as firing:
        yield firing


@contextlib.contextmanager
def switch(
    model: nn.Module, values: SteeringValues, *, off: str | Sequence[str], on: str, dose: Dose | str = "set-all-1-1"
) -> Iterator[Firing]:
    """Switch some languages off and another on during the block (the cross-lingual settings of Table 5).

    The neurons of `off` are set to zero, and those of `on` are steered. A neuron that `on` shares is never set to
    zero: it is steered, if the dose's share of the neurons takes it.

    Args:
        model, values, dose: see `steer`.
        off: the language whose neurons are set to zero, or several.
        on: the language to steer towards.

    Yields:
        the record of what fired; see `perturbed`.

    Raises:
        LapeError: see `steer`; or the language that is on is off, too.
    """
    off = [off] if isinstance(off, str) else list(off)
    if on in off:
        raise LapeError(f"switch: {on!r} is both off and on; use `lape.steer` or `lape.deactivate`")
    check_shape(model, values)
    for language in (*off, on):
        _warn_of_none(values, language)
    zeroed = without_shared(values.indices(off), values.indices(on))
    with perturbed(model, zeroed + values.perturbation(on, _dose(dose))) as firing:
        yield firing


def without_shared(off: Mapping[int, np.ndarray], on: Mapping[int, np.ndarray]) -> Perturbation:
    """Set to zero the neurons of one language that another language does not use too.

    Args:
        off, on: layer -> places of the neurons of each language.
    """
    left = {layer: np.setdiff1d(index, on.get(layer, ())) for layer, index in off.items()}
    return Perturbation({layer: index for layer, index in left.items() if len(index)})


def _dose(dose: Dose | str) -> Dose:
    return dose if isinstance(dose, Dose) else Dose.parse(dose)


def _warn_of_none(values: SteeringValues, language: str) -> None:
    if not values.indices(language):
        logger.warning("%s: %s has no neurons: nothing is done to them", values.origin, language)
