"""The settings of the texts under expert units: their names, and whose units or neurons they overwrite.

The workflow imports this module too, so that it imports nothing but the standard library.
"""

import re
from dataclasses import dataclass

from lape.errors import LapeError

# Methods whose FFN neurons can be set to their mean activation in place of expert units.
NEURON_METHODS = ("lape", "matched_lape", "ap")
_NAME = re.compile(r"(?P<kind>top|bottom|both|random)-(?P<size>[1-9][0-9]*|lape)")


@dataclass(frozen=True)
class TextSetting:
    """One setting of the texts.

    - none: nothing is overwritten;
    - top-N, bottom-N, both-N, random-N: N expert units of the target language are overwritten with their medians. N is
      a number, or "lape" for as many units as the language has neurons by LAPE;
    - lape, matched_lape, ap: the FFN neurons of that method are overwritten with their mean activations.

    Attributes:
        kind: "none", "top", "bottom", "both" or "random"; "neurons" for the settings that are named by a method.
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
        found = _NAME.fullmatch(name)
        if found is None:
            raise LapeError(f"setting {name!r}: is unknown; use one as none, top-1000, both-2000, random-lape, lape")
        size = found["size"]
        return cls(found["kind"], size if size == "lape" else int(size), "expert_units")

    @property
    def needs(self) -> tuple[str, ...]:
        """The artifacts that it perturbs the model by: of "units", "neurons" and "values"."""
        if self.kind == "neurons":
            return ("neurons", "values")
        return (*["units"] * (self.method is not None), *["neurons"] * (self.size == "lape"))
