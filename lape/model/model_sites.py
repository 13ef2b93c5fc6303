"""The sites of a loaded model, each with its modules."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from torch import nn

from lape.model.architectures import Architecture
from lape.model.ffn_search import Product
from lape.model.sites import Site, Sites


@dataclass(frozen=True, eq=False)
class ModelSite:
    """One site of a model and its modules.

    Attributes:
        site: its layer, kind and size.
        layer: the decoder layer.
        paths: the paths of its modules inside the layer, from the table or from a trace.
        first: place of its first neuron within the layer.
        alone: whether the layer has no other site.
        product: where the activation is, if no module of its own computes it; None where it is what `paths.down` reads.
        reads: path of the projection that feeds the activation, if it is known and not among `paths`.
        normed: whether a norm stands before the down projection.
        ranks: number of ranks that share the columns of the activation. Each has an equal block, in the order of the
            ranks; see `lape.machine.ranks`.
        rank: number of this process among the ranks.
    """

    site: Site
    layer: nn.Module = field(repr=False)
    paths: Architecture
    first: int = 0
    alone: bool = True
    product: Product | None = None
    reads: str = ""
    normed: bool = False
    ranks: int = 1
    rank: int = 0

    @property
    def own_width(self) -> int:
        """Number of neurons of one FFN that this rank computes, which are the columns of its activation."""
        return self.site.width // self.ranks

    @property
    def own_first(self) -> int:
        """Number of the first neuron of one FFN that this rank computes."""
        return self.rank * self.own_width

    @property
    def place(self) -> "int | tuple[int, str]":
        """What records and messages call the site: its layer, with a path where the layer has several sites."""
        return self.site.layer if self.alone else (self.site.layer, self.paths.experts or self.paths.down)

    def module(self, part: str) -> nn.Module:
        """The module at one path, such as the path `activation`."""
        return self.layer.get_submodule(getattr(self.paths, part))

    def saw(self, rows: int, tokens: int) -> bool:
        """Whether a site whose activations were seen at `rows` rows has seen all of `tokens` tokens.

        A mixture may route a token to several experts or to none. Its own forward pass is replaced, so that no token
        passes it unseen once it is called.
        """
        return rows == tokens or (self.site.experts > 1 and 0 < rows <= tokens * self.site.experts)


@dataclass(frozen=True, eq=False)
class FFN:
    """The FFNs of a model's L layers.

    Attributes:
        layers: the decoder layers.
        parts: the sites and their modules, by layer.
    """

    layers: Sequence[nn.Module] = field(repr=False)
    parts: tuple[ModelSite, ...]

    @cached_property
    def sites(self) -> Sites:
        """Where the neurons are, and how they are numbered."""
        return Sites(len(self.layers), tuple(part.site for part in self.parts))

    @property
    def shape(self) -> tuple[int, ...]:
        """(L, I), layers and neurons per layer over all experts; (N,), all neurons, where layers differ."""
        return self.sites.shape

    @property
    def ranks(self) -> int:
        """Number of ranks that share the columns of every activation."""
        return self.parts[0].ranks

    def modules(self, path: str) -> list[nn.Module]:
        """The module of every site at one path of its architecture, such as the path `activation`, where it has one."""
        return [part.module(path) for part in self.parts if getattr(part.paths, path)]


def why_unseen(place: int | tuple[int, str], rows: int, tokens: int) -> str:
    """Why a place was seen at another number of rows than there are tokens, and what to do, for a message."""
    if rows > tokens:
        return (
            "the model adds tokens of its own, or runs a layer several times in a pass; probabilities are per token of "
            "the text"
        )
    module = place[1] if isinstance(place, tuple) else "its activation module"
    return f"the model bypasses {module}: load it without fused kernels"
