"""The dose of a steering. The workflow imports this module: nothing but the standard library here."""

import math
from dataclasses import dataclass

from lape.errors import LapeError


@dataclass(frozen=True)
class Dose:
    """How to steer: how strongly, in which mode, at which positions, and with how many of a language's neurons.

    The paper says "increasing their activation value to the average": "set" and "max" are its two readings.

    Attributes:
        mode: with the mean activation m and the strength s, an activation x becomes s m ("set"), the larger of x and
            s m ("max"), x + s m ("add") or (1 + s) x ("scale").
        strength: s; 0 leaves every activation as it is, in every mode.
        positions: "all", "prompt" or "generated".
        share: of the language's neurons that are steered; those of the lowest entropy come first.
    """

    mode: str = "set"
    strength: float = 1.0
    positions: str = "all"
    share: float = 1.0

    def __post_init__(self):
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise LapeError(f"steering strength: {self.strength} is no size; use 0 or more")
        if not 0 < self.share <= 1:
            raise LapeError(f"steering share: {self.share} of the neurons cannot be taken; use more than 0, at most 1")

    def __str__(self) -> str:
        numbers = (f"{number:f}".rstrip("0").rstrip(".") for number in (self.strength, self.share))
        return "-".join((self.mode, self.positions, *numbers))

    @classmethod
    def parse(cls, text: str) -> "Dose":
        """The dose that `str` writes as `text`.

        Raises:
            LapeError: the text has another form, or a number that is no strength or share.
        """
        try:
            mode, positions, strength, share = text.split("-", 3)
            return cls(mode, float(strength), positions, float(share))
        except ValueError as error:
            form = "is not of the form set-all-1-1"
            raise LapeError(f"dose {text!r}: {form}; name mode, positions, strength and share") from error
