"""The sites of a model: where its FFN activations are, and how its neurons are numbered.

A layer may have one FFN, none, or several, such as the experts of a mixture and a shared expert beside them. All
neurons of a model have one numbering: layer by layer, in a layer site by site, in a site expert by expert.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lape.errors import LapeError

if TYPE_CHECKING:
    import pandas as pd

# An FFN that all tokens reach, the experts of a mixture, and an FFN beside the experts that all tokens reach.
KINDS = ("dense", "experts", "shared")
# The columns of a table that say where a neuron is.
PLACE = ("layer", "kind", "expert", "index")


def layer_label(index: int) -> str:
    """A layer as messages and pages name it: its number from 1, as in the papers, and its index from 0, as in files."""
    return f"layer {index + 1} (index {index})"


class Site(NamedTuple):
    """One place of a model where FFN activations are computed.

    Attributes:
        layer: number of the decoder layer, from 0.
        kind: one of `KINDS`.
        experts: number of experts that share the site; 1 unless `kind` is "experts".
        width: number of neurons of one expert, or of the FFN.
    """

    layer: int
    kind: str
    experts: int
    width: int

    @property
    def neurons(self) -> int:
        """Number of neurons, over all experts."""
        return self.experts * self.width


@dataclass(frozen=True)
class Sites:
    """The sites of a model of L layers with N neurons.

    The number of a neuron is between 0 and N - 1; its place is its number within its layer. A block is an expert, or an
    FFN that is no expert.

    Attributes:
        layers: L, layers without an FFN included.
        sites: the sites, by layer.
    """

    layers: int
    sites: tuple[Site, ...]

    @classmethod
    def rectangle(cls, layers: int, neurons_per_layer: int, experts: int = 1) -> "Sites":
        """The sites of a model whose layers all have one FFN, or one mixture of experts, of the same size."""
        kind = "dense" if experts == 1 else "experts"
        return cls(layers, tuple(Site(n, kind, experts, neurons_per_layer // experts) for n in range(layers)))

    @classmethod
    def of(cls, header: Mapping) -> "Sites":
        """The sites that a header describes; see `description`."""
        if "sites" not in header:
            return cls.rectangle(header["layers"], header["neurons_per_layer"], header.get("experts", 1))
        return cls(header["layers"], tuple(Site(*site) for site in header["sites"]))

    def description(self) -> dict:
        """The fields of a header that describe the sites.

        They are layers, neurons_per_layer (over all experts) and experts where all layers are alike, else layers and
        sites.
        """
        if self.is_rectangle:
            site = self.sites[0]
            return {"layers": self.layers, "neurons_per_layer": site.neurons, "experts": site.experts}
        return {"layers": self.layers, "sites": [list(site) for site in self.sites]}

    @property
    def is_rectangle(self) -> bool:
        """Whether every layer has one site, of the same kind and size."""
        alike = {site[1:] for site in self.sites}
        return len(alike) == 1 and [site.layer for site in self.sites] == list(range(self.layers))

    @property
    def neurons(self) -> int:
        """N, the number of neurons."""
        return int(self.starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an array of neurons: (L, I) where all layers are alike, else (N,)."""
        return (self.layers, self.neurons // self.layers) if self.is_rectangle else (self.neurons,)

    @property
    def block_shape(self) -> tuple[int, ...]:
        """The shape of an array of blocks: (L, E) where all layers are alike, else (B,)."""
        blocks = len(self.block_widths)
        return (self.layers, blocks // self.layers) if self.is_rectangle else (blocks,)

    def __str__(self) -> str:
        if self.is_rectangle:
            return "{} layers x {} neurons".format(*self.shape)
        with_ffn = len({site.layer for site in self.sites})
        return f"{self.layers} layers, {with_ffn} of them with an FFN, of {self.neurons} neurons in all"

    @cached_property
    def site_starts(self) -> np.ndarray:
        """Number of the first neuron of each site, and at last N: int64 [S + 1]."""
        return np.cumsum([0, *(site.neurons for site in self.sites)])

    @cached_property
    def starts(self) -> np.ndarray:
        """Number of the first neuron of each layer, and at last N: int64 [L + 1]."""
        return self.site_starts[np.searchsorted(self._site_layers, np.arange(self.layers + 1))]

    @cached_property
    def block_widths(self) -> np.ndarray:
        """Number of neurons of each block: int64 [B]."""
        return np.repeat([site.width for site in self.sites], [site.experts for site in self.sites]).astype(np.int64)

    @cached_property
    def _site_layers(self) -> np.ndarray:
        return np.array([site.layer for site in self.sites], np.int64)

    @cached_property
    def _block_starts(self) -> np.ndarray:
        return np.cumsum(self.block_widths) - self.block_widths

    @cached_property
    def _block_sites(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.sites)), [site.experts for site in self.sites])

    @cached_property
    def _first_blocks(self) -> np.ndarray:
        """Number of the first block of each layer: int64 [L]."""
        return np.searchsorted(self._site_layers[self._block_sites], np.arange(self.layers))

    def located(self, neurons: np.ndarray) -> dict[str, np.ndarray]:
        """The columns of `PLACE` of some neurons, given by their numbers, int64 [n]; the inverse of `numbers`.

        There is a kind only where sites are of several kinds, and an expert only in a mixture: the number of the block
        within its layer.
        """
        neurons = np.asarray(neurons, np.int64)
        block = np.searchsorted(self._block_starts, neurons, side="right") - 1
        site = self._block_sites[block]
        layer = self._site_layers[site]
        columns = {"layer": layer}
        if len({each.kind for each in self.sites}) > 1:
            columns["kind"] = np.array([each.kind for each in self.sites], object)[site]
        if self.has_blocks:
            columns["expert"] = block - self._first_blocks[layer]
        return columns | {"index": neurons - self._block_starts[block]}

    @property
    def has_blocks(self) -> bool:
        """Whether some layer has several blocks, so that a neuron's index alone does not name it."""
        return len(self.block_widths) > len({site.layer for site in self.sites})

    def numbers(self, table: "pd.DataFrame") -> np.ndarray:
        """The number of each row's neuron, int64 [rows].

        Raises:
            LapeError: the model has no such layer, expert or index.
        """
        layer, index = (table[name].to_numpy(np.int64) for name in ("layer", "index"))
        expert = table["expert"].to_numpy(np.int64) if self.has_blocks else np.zeros(len(layer), np.int64)
        if not ((layer >= 0) & (layer < self.layers)).all():
            raise LapeError("names a layer that the model does not have")
        block = self._first_blocks[layer] + expert
        ends = np.append(self._first_blocks, len(self.block_widths))[layer + 1]
        if not ((expert >= 0) & (block < ends)).all():
            raise LapeError("names an expert that the model does not have")
        if not ((index >= 0) & (index < self.block_widths[block])).all():
            raise LapeError("names a neuron that the model does not have")
        return self._block_starts[block] + index

    def number(self, layer: int, index: int, expert: int = 0) -> int:
        """The number of one neuron, given by its layer, its expert (or FFN) within the layer, and its index.

        Raises:
            LapeError: the model has no such layer, expert or index.
        """
        import pandas as pd

        return int(self.numbers(pd.DataFrame({"layer": [layer], "expert": [expert], "index": [index]}))[0])

    def within_sites(self, neurons: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Some neurons, given by their numbers: site, expert within the site, and index, each int64 [n]."""
        neurons = np.asarray(neurons, np.int64)
        site = np.searchsorted(self.site_starts, neurons, side="right") - 1
        expert, index = np.divmod(neurons - self.site_starts[site], np.array([each.width for each in self.sites])[site])
        return site, expert, index

    def by_layer(self, neurons: Sequence[int] | np.ndarray) -> dict[int, np.ndarray]:
        """Layer -> sorted int64 places of some neurons, given by their numbers. Layers without one are left out."""
        neurons = np.sort(np.asarray(neurons, np.int64))
        layer = np.searchsorted(self.starts, neurons, side="right") - 1
        return {int(each): neurons[layer == each] - self.starts[each] for each in np.unique(layer)}
