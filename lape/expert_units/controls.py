"""The control of expert units: as many units of the same linear layers that respond about as much to the language."""

import logging
from collections.abc import Callable

import numpy as np

from lape.errors import LapeError
from lape.expert_units.blocks import Responses
from lape.expert_units.selection import ExpertUnits, ranked, with_medians
from lape.neurons.controls import NEAREST, check_nearest, nearest_matches

logger = logging.getLogger(__name__)


def activity_matched_units(
    units: ExpertUnits,
    precision: np.ndarray,
    responses: Responses,
    seed: int = 0,
    nearest: int = NEAREST,
    on_chunk: Callable[[int], None] = lambda units: None,
) -> ExpertUnits:
    """Draw per language, for each unit of its top, a unit of the same linear layer that responds about as much.

    Two units respond alike where the mean and the standard deviation of their responses over the language's sentences
    are near, both divided by their standard deviations over the linear layer's units. No unit of the control is in the
    top of any language. Matches are drawn as those of `lape.neurons.controls.activity_matched_control`.

    Args:
        units: selected units.
        precision: float64 [2, K, U], see `lape.expert_units.selection.select_units`.
        responses: the responses that `precision` was computed from.
        seed: seed of numpy's PCG64 generator; another seed is another draw.
        nearest: number of units among which a match is drawn, from 1.
        on_chunk: called with the number of units of each chunk that is read; the responses are read twice.

    Returns:
        units with the ranking "top" alone. A unit has the rank of the unit that it matches, as far as all have matches.

    Raises:
        LapeError: the units or `precision` are of other responses, a language has no match at all, or `nearest` is
            below 1.
    """
    check_nearest(nearest)
    shape = 2, len(units.languages), units.units
    if (responses.languages, responses.units) != (units.languages, units.units) or precision.shape != shape:
        raise LapeError(f"{units.origin}: were selected from other responses; select them again")
    top = units.table[units.table["ranking"] == "top"]
    activity = _activity(responses, on_chunk)
    tables = []
    for language, values, response, negated in zip(units.languages, activity, *precision, strict=True):
        own = top.loc[top["language"] == language, "unit"].to_numpy()
        matches = {}
        for linear in units.linear_layers:
            places = np.arange(linear.first, linear.first + linear.width)
            keys = np.random.default_rng([seed, linear.first, *language.encode()]).random(linear.width)
            inside, free = np.flatnonzero(np.isin(places, own)), np.flatnonzero(~np.isin(places, top["unit"]))
            matched, drawn = nearest_matches(values[places], inside, free, keys, nearest)
            matches.update(zip(places[matched].tolist(), places[drawn].tolist(), strict=True))
        if len(matches) < len(own):
            logger.warning(
                "control of %s: lacks %d units, as linear layers have too few outside the tops of all languages",
                language,
                len(own) - len(matches),
            )
        if not matches:
            raise LapeError(f"{units.origin}: no unit of {language} has a match; select fewer units")
        drawn = np.array([matches[unit] for unit in own.tolist() if unit in matches])
        tables.append(ranked(language, "top", drawn, units.linear_layers, response, negated))
    return with_medians(tables, responses, units.neuron_part, on_chunk)


def _activity(responses: Responses, on_chunk: Callable[[int], None]) -> np.ndarray:
    """Mean and standard deviation of every unit's response over the sentences of each language, float32 [K, U, 2]."""
    found = np.empty((len(responses.languages), responses.units, 2), np.float32)
    columns = [np.flatnonzero(responses.labels == number) for number in range(len(found))]
    for first, chunk in responses.chunks(2**26):
        for values, own in zip(found[:, first : first + len(chunk)], columns, strict=True):
            said = chunk[:, own].astype(np.float64)
            values[:, 0], values[:, 1] = said.mean(axis=1), said.std(axis=1)
        on_chunk(len(chunk))
    return found
