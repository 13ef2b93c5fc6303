"""Activation statistics: how often, and how strongly, every neuron fires (Tang et al. 2024, Eq. 4).

The statistics hold, per layer and neuron, the number of tokens at which the activation exceeds zero (and further
thresholds), the sum of the activation, and the sum of its square. Every position counts. The denominator of an
activation probability is therefore the number of tokens; in a mixture of experts it is the number of tokens that were
routed to the neuron's expert.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lape.artifacts.files import writing
from lape.errors import LapeError

# A sum of activations is kept as two int64, whole + fraction * 2**-40, with the fraction in [0, 2**40). Such sums add
# up to the same bits in any order and grouping. Floating-point sums do not.
FRACTION_BITS = 40


@dataclass(frozen=True, kw_only=True)
class ActivationStatistics:
    """Sums over tokens for L layers of I neurons. `+` adds the statistics of two lots of tokens exactly.

    Attributes:
        count: int64 [L, I], tokens at which the activation is above zero.
        tokens: tokens that were counted.
        rows: int64 [L, E], tokens that reached each of E experts. In a dense FFN, E is 1 and every entry is `tokens`.
        totals: int64 [2, L, I], whole and fraction of the sum of the activation; see `total`.
        squares: int64 [2, L, I], whole and fraction of the sum of the squared activation; see `square`.
        above: int64 [K, L, I], tokens at which the activation is above each threshold.
        thresholds: the K thresholds.
    """

    count: np.ndarray
    tokens: int
    rows: np.ndarray
    totals: np.ndarray
    squares: np.ndarray
    above: np.ndarray
    thresholds: tuple[float, ...] = field(default=())

    @property
    def total(self) -> np.ndarray:
        """Sum of the activation, float64 [L, I]."""
        return self.totals[0] + self.totals[1] * 2.0**-FRACTION_BITS

    @property
    def square(self) -> np.ndarray:
        """Sum of the squared activation, float64 [L, I]."""
        return self.squares[0] + self.squares[1] * 2.0**-FRACTION_BITS

    @property
    def denominator(self) -> np.ndarray:
        """Number of tokens that reached each neuron, int64 [L, I]."""
        return self.rows.repeat(self.count.shape[1] // self.rows.shape[1], axis=1)

    def __add__(self, other: "ActivationStatistics") -> "ActivationStatistics":
        if (self.count.shape, self.rows.shape, self.thresholds) != (
            other.count.shape,
            other.rows.shape,
            other.thresholds,
        ):
            raise LapeError("statistics: shapes or thresholds differ; count both on one model with one setting")
        return ActivationStatistics(
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
        """Make statistics of counts alone. Every token reached every expert, and all other sums are zero."""
        layers = count.shape[0]
        zeros = np.zeros((2, *count.shape), np.int64)
        rows = np.full((layers, experts), tokens, np.int64)
        above = np.zeros((len(thresholds), *count.shape), np.int64)
        return cls(
            count=count, tokens=tokens, rows=rows, totals=zeros, squares=zeros, above=above, thresholds=thresholds
        )

    def save(self, path: str | Path) -> None:
        """Write an uncompressed npz file, atomically. The same statistics give the same bytes."""
        with writing(path) as temporary:
            np.savez(
                temporary,
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
        """Read what `save` wrote.

        Raises:
            LapeError: the file is missing, or holds no statistics.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(
                    **{name: arrays[name] for name in ("count", "rows", "totals", "squares", "above")},
                    tokens=int(arrays["tokens"]),
                    thresholds=tuple(arrays["thresholds"].tolist()),
                )
        except OSError as error:
            raise LapeError(f"{path}: cannot be read ({error.strerror}); run the statistics step") from error
        except Exception as error:  # a truncated or foreign file fails in many ways
            raise LapeError(f"{path}: holds no activation statistics; delete it and run again") from error


def carried(pairs: np.ndarray) -> np.ndarray:
    """Carry from fractions to wholes, [2, ...], until every fraction is in [0, 2**40)."""
    whole, fraction = pairs
    return np.stack([whole + (fraction >> FRACTION_BITS), fraction & (2**FRACTION_BITS - 1)])
