"""The settings of the generation experiments: their names, their questions, and what they perturb.

The workflow imports this module too, so that it imports nothing but the standard library.
"""

import math
import re
from collections.abc import Sequence
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


# The name of a setting says what is done, to whose neurons, and how strongly these are steered.
_NAME = re.compile(
    r"(?P<kind>normal|random|deactivated|steered_random|steered|cross_random|cross)(-(?P<language>[^@]+))?(@(?P<dose>.+))?"
)
_WITH_LANGUAGE = ("deactivated", "cross", "cross_random")


@dataclass(frozen=True)
class Setting:
    """One setting of Tables 1, 4 and 5, or one dose of the sweep.

    - normal: nothing is perturbed;
    - random: a layer-matched control of the question's language is deactivated;
    - deactivated-k: the neurons of k are deactivated, whatever the question's language;
    - steered, steered_random: the neurons of the question's language, or their control, are steered;
    - cross-k: a question of k is to be answered in each other language m. The neurons of k that m does not share are
      deactivated, and the neurons of m are steered;
    - cross_random-k: the controls of k and m take the place of their neurons in cross-k.

    Attributes:
        kind: the name of one of these settings, without k.
        language: k; None where the setting names no language.
        dose: of the steering; None where nothing is steered.
    """

    kind: str
    language: str | None = None
    dose: Dose | None = None

    @classmethod
    def parse(cls, name: str, dose: Dose) -> "Setting":
        """The setting of a name such as "cross-es" or "steered@add-all-0.5-1".

        Args:
            name: the kind, then the language and the dose where the setting has them.
            dose: of a setting that steers and whose name tells no dose.

        Raises:
            LapeError: there is no such setting.
        """
        found = _NAME.fullmatch(name)
        steers = found is not None and found["kind"].startswith(("steered", "cross"))
        wants = found is not None and (found["language"] is not None) == (found["kind"] in _WITH_LANGUAGE)
        if not wants or (found["dose"] and not steers):
            raise LapeError(
                f"setting {name!r}: is unknown; use one as normal, random, deactivated-fr, steered, cross-es"
            )
        if steers:
            dose = Dose.parse(found["dose"]) if found["dose"] else dose
        return cls(found["kind"], found["language"], dose if steers else None)

    @property
    def method(self) -> str | None:
        """The method by which the neurons were found that it perturbs."""
        if self.kind == "normal":
            return None
        return "matched_lape" if self.kind.endswith("random") else "lape"

    @property
    def needs(self) -> tuple[str, ...]:
        """The artifacts that it perturbs the model by: "neurons" and "values"."""
        return (*["neurons"] * (self.method is not None), *["values"] * (self.dose is not None))

    @property
    def deactivated(self) -> str | None:
        """The language whose neurons are set to zero; "question" stands for the language of each question."""
        if self.kind == "random":
            return "question"
        return self.language

    def pairs(self, languages: Sequence[str]) -> list[tuple[str, str]]:
        """The languages of question and wanted answer, one pair after the other.

        Raises:
            LapeError: the setting's own language is not among the languages, or is the only one where two are needed.
        """
        if self.kind.startswith("cross") and len(languages) < 2:
            raise LapeError("setting: an answer in another language wants two languages; pass the questions of both")
        if self.language not in (None, *languages):
            raise LapeError(
                f"setting: {self.language!r} is not among the languages; name one of {', '.join(languages)}"
            )
        if self.kind.startswith("cross"):
            return [(self.language, target) for target in languages if target != self.language]
        return [(language, language) for language in languages]
