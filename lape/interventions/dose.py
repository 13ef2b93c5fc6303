"""The doses of a steering. The workflow imports this module: nothing but the standard library here."""

import math
from dataclasses import dataclass

from lape.errors import LapeError

STEERED = "steered_"  # the beginning of the name of a method whose neurons are steered


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


@dataclass(frozen=True)
class Push:
    """How to add a direction to the hidden states: behind which layers, and how much of it.

    Attributes:
        depth: share of the layers behind which the direction is added: with 0.5, behind the layer in the middle. None:
            behind every layer, each with its own direction.
        strength: s; s times the direction is added. 0 leaves the hidden states as they are.
    """

    depth: float | None
    strength: float

    def __post_init__(self):
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise LapeError(f"push strength: {self.strength} is no size; use 0 or more")
        if self.depth is not None and not 0 < self.depth <= 1:
            raise LapeError(f"push depth: {self.depth} is no share of the layers; use more than 0, at most 1")

    def layers(self, number: int) -> list[int]:
        """The layers, from 0, of a model with a number of them."""
        return [*range(number)] if self.depth is None else [max(round(self.depth * number), 1) - 1]

    def __str__(self) -> str:
        depth = "all" if self.depth is None else f"{self.depth:g}"
        return f"{depth}-{self.strength:g}"

    @classmethod
    def parse(cls, text: str) -> "Push":
        """The push that `str` writes as `text`, such as "0.5-1" or "all-0.1".

        Raises:
            LapeError: the text has another form, or a number that is no share or strength.
        """
        try:
            depth, strength = text.split("-", 1)
            return cls(None if depth == "all" else float(depth), float(strength))
        except ValueError as error:
            raise LapeError(
                f"push {text!r}: is not of the form 0.5-1; name a share of the layers, or all, and a strength"
            ) from error
