"""The settings of answers and of texts: one grammar of their names, and what each perturbs.

The workflow imports this module, and makes the regexes of its wildcards of `SETTING` and `SELECTION`: nothing but the
standard library here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lape.errors import LapeError
from lape.interventions.dose import Dose, Push

_DOSE = Dose()
_ANY = ("normal", "random", "steered_random", "steered")
_CROSSING = ("cross_random", "cross", "diffmean", "prompted")
_OF_A_LANGUAGE = ("deactivated", *_CROSSING)
# The name of a setting of the answers: what is done, to whose neurons, and how strongly they are steered.
SETTING = rf"({'|'.join(_ANY)}|({'|'.join(_OF_A_LANGUAGE)})-[^@/]+)(@[^/]+)?"
# Kinds of units that are set to their medians on another language -> the kind that is set to those on its own.
OTHERS = {"both_other": "both", "random_other": "random"}
_RANKINGS = ("top", "bottom", "both", "random", *OTHERS)
# Methods whose FFN neurons a text is written under, at their mean activations.
NEURON_METHODS = ("lape", "active_lape", "ap")
# The name of a setting of the texts.
SELECTION = rf"none|({'|'.join(_RANKINGS)})-([1-9][0-9]*|lape)|{'|'.join(NEURON_METHODS)}"


@dataclass(frozen=True)
class Setting:
    """One setting of Tables 1, 4 and 5, or one dose of the sweep.

    - normal: nothing is perturbed;
    - random: the activity-matched control of the question's language is deactivated;
    - deactivated-k: the neurons of k are deactivated, whatever the question's language;
    - steered, steered_random: the neurons of the question's language, or their control, are steered;
    - cross-k: a question of k is to be answered in each other language m. The neurons of k that m does not share are
      deactivated, and the neurons of m are steered;
    - cross_random-k: the controls of k and m take the place of their neurons in cross-k;
    - diffmean-k@0.5-1: a question of k is to be answered in each other language m. The direction of m is added to the
      hidden states; the name tells the `Push`;
    - prompted-k: as cross-k, but nothing is perturbed, and the prompt asks for an answer in m.

    Attributes:
        kind: the name of one of these settings, without k.
        language: k; None where the setting names no language.
        dose: of the steering; None where nothing is steered.
    """

    kind: str
    language: str | None = None
    dose: Dose | Push | None = None

    @classmethod
    def parse(cls, name: str, dose: Dose = _DOSE) -> "Setting":
        """The setting of a name such as "cross-es" or "steered@add-all-0.5-1".

        Args:
            name: the kind, then the language and the dose where the setting has them.
            dose: of a setting that steers and whose name tells no dose.

        Raises:
            LapeError: there is no such setting.
        """
        told, _, own = name.partition("@")
        kind, _, language = told.partition("-")
        steers = kind.startswith(("steered", "cross", "diffmean"))
        if not re.fullmatch(SETTING, name) or (own and not steers):
            raise LapeError(
                f"setting {name!r}: is unknown; use one as normal, random, deactivated-fr, steered, cross-es"
            )
        if kind == "diffmean":
            return cls(kind, language, Push.parse(own))
        if own:
            dose = Dose.parse(own)
        return cls(kind, language or None, dose if steers else None)

    @property
    def method(self) -> str | None:
        """The method by which the neurons were found that it perturbs."""
        if self.kind in ("normal", "prompted"):
            return None
        if self.kind == "diffmean":
            return "diffmean"
        return "active_lape" if self.kind.endswith("random") else "lape"

    @property
    def needs(self) -> tuple[str, ...]:
        """The artifacts that it perturbs the model by: "neurons" and "values", or "directions"."""
        if self.kind == "diffmean":
            return ("directions",)
        return (*["neurons"] * (self.method is not None), *["values"] * (self.dose is not None))

    @property
    def deactivated(self) -> str | None:
        """The language whose neurons are set to zero; "question" stands for the language of each question."""
        if self.kind == "random":
            return "question"
        return None if self.kind in ("diffmean", "prompted") else self.language

    def pairs(self, languages: Sequence[str]) -> list[tuple[str, str]]:
        """The languages of question and wanted answer, one pair after the other.

        Raises:
            LapeError: the setting's own language is not among the languages, or is the only one where two are needed.
        """
        if self.kind in _CROSSING and len(languages) < 2:
            raise LapeError("setting: an answer in another language wants two languages; pass the questions of both")
        if self.language not in (None, *languages):
            raise LapeError(
                f"setting: {self.language!r} is not among the languages; name one of {', '.join(languages)}"
            )
        if self.kind in _CROSSING:
            return [(self.language, target) for target in languages if target != self.language]
        return [(language, language) for language in languages]


@dataclass(frozen=True)
class TextSetting:
    """One setting of the texts.

    - none: nothing is overwritten;
    - top-N, bottom-N, both-N, random-N: N expert units of the target language are overwritten with their medians. N is
      a number, or "lape" for as many units as the language has neurons by LAPE;
    - both_other-N, random_other-N: the units of both-N and random-N are overwritten with their medians on another
      language, `lape.expert_units.selection.ExpertUnits.other`;
    - lape, active_lape, ap: the FFN neurons of that method are overwritten with their mean activations.

    Attributes:
        kind: "none", "top", "bottom", "both", "random", "both_other" or "random_other"; "neurons" for the settings that
            are named by a method.
        size: N; None where the name has no N.
        method: what found the units or neurons: "expert_units", one of `NEURON_METHODS`, or None.
    """

    kind: str
    size: int | str | None = None
    method: str | None = None

    @classmethod
    def parse(cls, name: str) -> "TextSetting":
        """The setting of a name such as "both-2000".

        Raises:
            LapeError: there is no such setting.
        """
        if name == "none":
            return cls("none")
        if name in NEURON_METHODS:
            return cls("neurons", method=name)
        kind, _, size = name.partition("-")
        if not re.fullmatch(SELECTION, name):
            raise LapeError(f"setting {name!r}: is unknown; use one as none, top-1000, both-2000, random-lape, lape")
        return cls(kind, size if size == "lape" else int(size), "expert_units")

    @property
    def needs(self) -> tuple[str, ...]:
        """The artifacts that it perturbs the model by: of "units", "neurons" and "values"."""
        if self.kind == "neurons":
            return ("neurons", "values")
        return (*["units"] * (self.method is not None), *["neurons"] * (self.size == "lape"))
