"""Average precision of every unit's response as a score for every language (Kojima et al. 2024)."""

from collections.abc import Callable

import numpy as np
import torch

from lape.errors import LapeError
from lape.expert_units.blocks import Responses
from lape.kernels import ops
from lape.model.linear import find_units
from lape.model.sites import layer_label


def average_precision(
    responses: Responses,
    *,
    backend: str = "auto",
    device: torch.device | str = "cpu",
    memory: int = 2**26,
    on_chunk: Callable[[int], None] = lambda units: None,
) -> np.ndarray:
    """Average precision of every unit for every language, equal to scikit-learn's `average_precision_score`.

    The response of a unit is the score. The sentences of a language are the positives, all other sentences are the
    negatives. The negated response finds the units that respond least to a language. The average precision of the
    response itself does not tell these apart: many units reach its floor.

    Args:
        responses: responses of U units to the sentences of K languages.
        backend: see `lape.kernels.ops.resolved`. On a GPU the reference always runs.
        device: device on which units are ranked.
        memory: bytes of the responses that are read at a time.
        on_chunk: called with the number of units of each chunk, for progress.

    Returns:
        float64 [2, K, U]: first of the response, then of the negated response.

    Raises:
        LapeError: a language has no sentence, a response is NaN, or the extension cannot run.
    """
    languages, labels = responses.languages, torch.tensor(responses.labels, device=device)
    for language, positives in zip(languages, labels.bincount(minlength=len(languages)).tolist(), strict=True):
        if not positives:
            raise LapeError(f"responses: are to no sentence of {language}; add some, or leave the language out")
    backend = ops.resolved(backend, device, cuda=False)
    result = np.empty((2, len(languages), responses.units))
    for first, chunk in responses.chunks(memory):
        try:
            found = ops.average_precision(torch.from_numpy(chunk).to(device), labels, len(languages), backend)
        except RuntimeError as error:
            _refuse_nan(first, chunk, responses, error)
            raise
        result[:, :, first : first + len(chunk)] = found.transpose(1, 2).cpu().numpy()
        on_chunk(len(chunk))
    return result


def _refuse_nan(first: int, chunk: np.ndarray, responses: Responses, error: RuntimeError) -> None:
    """Raise an error that names the unit whose response is NaN, if a NaN made the operator fail."""
    rows = np.flatnonzero(np.isnan(chunk).any(axis=1))
    if len(rows):
        place = {key: column[0] for key, column in find_units(responses.linear_layers, first + rows[:1]).items()}
        raise LapeError(
            f"responses: unit {place['index']} of {place['name']} in {layer_label(place['layer'])} has a NaN; "
            "record again"
        ) from error
