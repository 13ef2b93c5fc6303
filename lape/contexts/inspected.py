"""What is known of one neuron: what it does per language, and which words it writes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lape.contexts.card import Context, card
from lape.display.tables import Shown, Table


@dataclass(frozen=True)
class InLanguage:
    """What a neuron does in one language.

    Attributes:
        share: share of the positions at which it fires.
        mean: its mean activation.
        words_of_half: how many different tokens make up half of its firing.
        histogram: int64 [BINS], positions by activation; see `lape.contexts.recording.Contexts`.
        strongest: its strongest contexts, each in another text.
        below: contexts of lesser activations; see `lape.contexts.recording.Contexts.below`.
    """

    share: float
    mean: float
    words_of_half: int
    histogram: np.ndarray
    strongest: list[Context]
    below: list[Context]


@dataclass(frozen=True, repr=False, kw_only=True)
class Inspection(Shown):
    """What was found of one neuron.

    Attributes:
        name: what the neuron is called.
        languages: language -> what the neuron does there.
        raised, lowered: the words whose logits a positive output of the neuron raises and lowers most. In a GLU the up
            projection may make the output negative, which exchanges the two.
        low, width: where the second bin of the histograms begins, and how wide a bin is.
        raised_share, lowered_share: language -> share of the 50 words most raised, or most lowered, that are frequent
            in the language; see `lape.contexts.written.frequent`. Empty where no frequencies are known.
    """

    name: str
    languages: dict[str, InLanguage]
    raised: list[str]
    lowered: list[str]
    low: float
    width: float
    raised_share: Mapping[str, float] = field(default_factory=dict)
    lowered_share: Mapping[str, float] = field(default_factory=dict)

    def shown(self) -> Table:
        """Per language how often the neuron fires, and where it fires most."""
        rows = [
            (language, f"{each.share:.1%}", each.mean, each.strongest[0].marked() if each.strongest else "")
            for language, each in self.languages.items()
        ]
        title = f"{self.name}: raises {_listed(self.raised)}; lowers {_listed(self.lowered)}"
        return Table(title, ("", "fires at", "mean", "fires most at"), rows)

    def _repr_html_(self) -> str:
        return card(self)


def _listed(words: list[str]) -> str:
    return ", ".join(map(repr, words[:5]))
