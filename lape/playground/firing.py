"""Which languages' neurons fire on each token of a text."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.interventions.perturbation import check_shape
from lape.model.ffn import find_ffn
from lape.model.model_sites import ModelSite, why_unseen
from lape.model.sites import layer_label
from lape.neurons.table import Neurons


class FiringCounter:
    """Counts how many neurons of each language fire on each token: how many activations are above zero as it is read.

    `see` is for one forward pass over one text.
    """

    def __init__(self, model: nn.Module, neurons: Neurons, tokens: int):
        """`tokens` of the text.

        Raises:
            LapeError: the neurons are of a model of another shape.
        """
        check_shape(model, neurons)
        self._parts = find_ffn(model).parts
        self._number = {part.place: number for number, part in enumerate(self._parts)}
        self._sites, self._experts, self._indices = neurons.sites.within_sites(neurons.numbers())
        self._member = neurons.membership().astype(np.int64)
        self._counts = np.zeros((tokens, len(neurons.sets)), np.int64)
        self._seen: Counter[int | tuple[int, str]] = Counter()

    def see(self, site: ModelSite, expert: int, activation: Tensor, rows: Tensor | None) -> None:
        """Count what fires in an activation; see `lape.model.activations.See`."""
        self._seen[site.place] += activation.numel() // activation.shape[-1]
        own = (self._sites == self._number[site.place]) & (self._experts == expert)
        if own.any():
            index = torch.from_numpy(self._indices[own]).to(activation.device)
            fires = (activation.reshape(-1, activation.shape[-1])[:, index] > 0).long().cpu().numpy()
            self._counts[slice(None) if rows is None else rows.cpu().numpy()] += fires @ self._member[own]

    def counts(self) -> np.ndarray:
        """int64 [T, K] for T tokens and K languages, in the order of the neurons' sets.

        Raises:
            LapeError: the activations of a site were not seen at all tokens.
        """
        tokens = len(self._counts)
        for site in (self._parts[number] for number in np.unique(self._sites)):
            if not site.saw(self._seen[site.place], tokens):
                raise LapeError(
                    f"{layer_label(site.site.layer)}: its activation was seen at {self._seen[site.place]} of {tokens} "
                    f"tokens; {why_unseen(site.place, self._seen[site.place], tokens)}"
                )
        return self._counts


def leading(counts: np.ndarray, sizes: Sequence[int]) -> list[int | None]:
    """The language of which the largest share of neurons fires, for each token; None where none fires.

    Args:
        counts: int64 [T, K]; see `FiringCounter`.
        sizes: number of neurons of each of the K languages.
    """
    shares = counts / np.maximum(sizes, 1)
    return [int(row.argmax()) if row.max() > 0 else None for row in shares]
