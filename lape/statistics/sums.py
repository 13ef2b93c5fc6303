"""Activation statistics: how often, and how strongly, every neuron fires (Tang et al. 2024, Eq. 4).

The statistics hold, per neuron, the number of tokens at which the activation exceeds zero (and further
thresholds), the sum of the activation, and the sum of its square. Every position counts. The denominator of an
activation probability is therefore the number of tokens; in a mixture of experts it is the number of tokens that were
routed to the neuron's expert.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lape.artifacts.files import checked, read_json, writing
from lape.artifacts.pairs import named_pair
from lape.display.tables import Shown, Table
from lape.errors import LapeError
from lape.model.sites import KINDS, Site, Sites

# A sum of activations is kept as two int64, whole + fraction * 2**-40, with the fraction in [0, 2**40). Such sums add
# up to the same bits in any order and grouping. Floating-point sums do not.
FRACTION_BITS = 40


@dataclass(frozen=True, kw_only=True, repr=False)
class ActivationStatistics(Shown):
    """Sums over tokens for N neurons. `+` adds the statistics of two lots of tokens exactly.

    [N] stands for the shape of an array of neurons. It is (L, I) in a model of L layers of I neurons, and (N,) in one
    whose layers differ; see `lape.model.sites.Sites.shape`. `sites` numbers the neurons of both.

    Attributes:
        sites: where the neurons are.
        count: int64 [N], tokens at which the activation is above zero.
        tokens: tokens that were counted.
        rows: int64 [L, E] or, where layers differ, [B]: tokens that reached each of E experts, or each block; see
            `lape.model.sites.Sites`. In a dense FFN every entry is `tokens`.
        totals: int64 [2, N], whole and fraction of the sum of the activation; see `total`.
        squares: int64 [2, N], whole and fraction of the sum of the squared activation; see `square`.
        above: int64 [K, N], tokens at which the activation is above each threshold.
        thresholds: the K thresholds.
    """

    sites: Sites
    count: np.ndarray
    tokens: int
    rows: np.ndarray
    totals: np.ndarray
    squares: np.ndarray
    above: np.ndarray
    thresholds: tuple[float, ...] = field(default=())

    @property
    def total(self) -> np.ndarray:
        """Sum of the activation, float64 [N]."""
        return self.totals[0] + self.totals[1] * 2.0**-FRACTION_BITS

    @property
    def square(self) -> np.ndarray:
        """Sum of the squared activation, float64 [N]."""
        return self.squares[0] + self.squares[1] * 2.0**-FRACTION_BITS

    @property
    def denominator(self) -> np.ndarray:
        """Number of tokens that reached each neuron, int64 [N]."""
        return self.rows.ravel().repeat(self.sites.block_widths).reshape(self.count.shape)

    @property
    def per_token(self) -> np.ndarray:
        """Activation probability and mean activation of every neuron, float64 [number of neurons, 2].

        In a mixture of experts both are over the tokens that reached the neuron's expert; 0 where none did.
        """
        tokens = np.maximum(self.denominator, 1)
        return np.stack([self.count / tokens, self.total / tokens], axis=-1).reshape(-1, 2)

    def __add__(self, other: "ActivationStatistics") -> "ActivationStatistics":
        if (self.sites, self.thresholds) != (other.sites, other.thresholds):
            raise LapeError("statistics: shapes or thresholds differ; count both on one model with one setting")
        return ActivationStatistics(
            sites=self.sites,
            count=self.count + other.count,
            tokens=self.tokens + other.tokens,
            rows=self.rows + other.rows,
            totals=carried(self.totals + other.totals),
            squares=carried(self.squares + other.squares),
            above=self.above + other.above,
            thresholds=self.thresholds,
        )

    @classmethod
    def of_counts(
        cls, count: np.ndarray, tokens: int, experts: int = 1, thresholds: tuple[float, ...] = ()
    ) -> "ActivationStatistics":
        """Make statistics of counts [L, I] alone. Every token reached every expert, and all other sums are zero."""
        zeros = np.zeros((2, *count.shape), np.int64)
        return cls(
            sites=Sites.rectangle(*count.shape, experts),
            count=count,
            tokens=tokens,
            rows=np.full((len(count), experts), tokens, np.int64),
            totals=zeros,
            squares=zeros,
            above=np.zeros((len(thresholds), *count.shape), np.int64),
            thresholds=thresholds,
        )

    def shown(self) -> Table:
        """The number of tokens, and the share of them at which the neurons of each layer fire on average."""
        sizes = np.diff(self.sites.starts)
        layer = np.repeat(np.arange(self.sites.layers), sizes)
        fired = np.bincount(layer, self.count.ravel() / np.maximum(self.denominator.ravel(), 1), self.sites.layers)
        return Table(
            f"activation statistics of {self.tokens:,} tokens on {self.sites}",
            ("", "share of tokens at which a neuron fires", "per layer, from 1"),
            [("all layers", f"{fired.sum() / self.sites.neurons:.1%}", fired / np.maximum(sizes, 1))],
        )

    def save(self, path: str | Path) -> None:
        """Write an uncompressed npz file, atomically. It needs no header. The same statistics give the same bytes.

        Where layers differ, the array `sites`, int64 [S + 1, 4], lists the sites, each kind by its number in `KINDS`,
        after a row that begins with the number of layers.
        """
        listed = [(layer, KINDS.index(kind), experts, width) for layer, kind, experts, width in self.sites.sites]
        ragged = {} if self.sites.is_rectangle else {"sites": np.array([(self.sites.layers, 0, 0, 0), *listed])}
        with writing(path) as temporary:
            np.savez(
                temporary,
                **ragged,
                count=self.count,
                tokens=np.int64(self.tokens),
                rows=self.rows,
                totals=self.totals,
                squares=self.squares,
                above=self.above,
                thresholds=np.array(self.thresholds, np.float64),
            )

    @classmethod
    def load(cls, path: str | Path) -> "ActivationStatistics":
        """Read what `save` or the workflow wrote.

        Args:
            path: `<name>.npz`; or the header that the workflow writes beside it, `<name>.json`.

        Raises:
            LapeError: the file is missing or of another kind, or is not the one that its header was written for.
        """
        header, data = named_pair(path, ".npz", "activation statistics")
        if header == Path(path):
            data = checked(header, read_json(header, "statistics"), ".npz")
        path = data
        try:
            with np.load(path, allow_pickle=False) as arrays:
                if "sites" in arrays:
                    (layers, *_), *listed = arrays["sites"].tolist()
                    sites = Sites(layers, tuple(Site(layer, KINDS[kind], *size) for layer, kind, *size in listed))
                else:
                    sites = Sites.rectangle(*arrays["count"].shape, arrays["rows"].shape[1])
                return cls(
                    sites=sites,
                    **{name: arrays[name] for name in ("count", "rows", "totals", "squares", "above")},
                    tokens=int(arrays["tokens"]),
                    thresholds=tuple(arrays["thresholds"].tolist()),
                )
        except OSError as error:
            raise LapeError(f"{path}: cannot be read ({error.strerror}); run the statistics step") from error
        except Exception as error:  # a truncated or foreign file fails in many ways
            raise LapeError(
                f"{path}: holds no activation statistics; pass the .npz file that `save` or `lape statistics` wrote"
            ) from error


def read_statistics(headers: Iterable[Path], revision: str | None) -> dict[str, ActivationStatistics]:
    """Language -> the statistics whose headers are given.

    Args:
        headers: headers of statistics, each with its npz file beside it.
        revision: of the model that they must be of; None where it is not known.

    Raises:
        LapeError: statistics are of another model, or a file is missing or damaged.
    """
    found = {}
    for path in headers:
        header = read_json(path, "statistics")
        if revision not in (None, header["model_revision"]):
            raise LapeError(
                f"{path}: counted on {header['model']}, another model than the neurons'; pass its statistics"
            )
        found[header["language"]] = ActivationStatistics.load(checked(path, header, ".npz"))
    return found


def carried(pairs: np.ndarray) -> np.ndarray:
    """Carry from fractions to wholes, [2, ...], until every fraction is in [0, 2**40)."""
    whole, fraction = pairs
    return np.stack([whole + (fraction >> FRACTION_BITS), fraction & (2**FRACTION_BITS - 1)])
