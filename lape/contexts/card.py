"""Contexts of a neuron as text and as HTML: the stronger a token's activation, the deeper its colour."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from lape.display.layers import drawn

if TYPE_CHECKING:
    from lape.contexts.inspection import Inspection

# Above zero orange, below zero blue: told apart by people who see colours differently, on light and on dark pages.
_ABOVE, _BELOW = "230, 159, 0", "0, 114, 178"


@dataclass(frozen=True)
class Context:
    """Some tokens in a row, and a neuron's activation at each.

    Attributes:
        tokens: the tokens' texts.
        values: the activation at each.
        centre: which of them the context is about.
        document: number of the text that they are from, from 0.
    """

    tokens: list[str]
    values: list[float]
    centre: int
    document: int

    def marked(self, around: int = 4) -> str:
        """The text with the centre in brackets, and a few tokens on either side."""
        first = max(self.centre - around, 0)
        before, after = self.tokens[first : self.centre], self.tokens[self.centre + 1 : self.centre + 1 + around]
        return " ".join(f"{''.join(before)}[{self.tokens[self.centre]}]{''.join(after)}".split())

    def html(self, largest: float) -> str:
        """The text with each token shaded by its activation; `largest` has the full colour."""
        spans = [self._span(number, largest) for number in range(len(self.tokens))]
        return f'<span dir="auto">{"".join(spans)}</span>'

    def _span(self, number: int, largest: float) -> str:
        value = self.values[number]
        share = min(abs(value) / largest, 1) if largest else 0
        colour = f"rgba({_ABOVE if value > 0 else _BELOW}, {0.8 * share:.2f})"
        text = escape(self.tokens[number]).replace("\n", "⏎")
        inner = f"<b>{text}</b>" if number == self.centre else text
        return f'<span title="{value:.3g}" style="background:{colour};white-space:pre-wrap">{inner}</span>'


def card(found: "Inspection") -> str:
    """All that was found of a neuron, as HTML without a script or a style sheet."""
    contexts = [context for each in found.languages.values() for context in (*each.strongest, *each.below)]
    largest = max((context.values[context.centre] for context in contexts), default=0.0)
    parts = [f"<h4>{escape(found.name)}</h4>"]
    for name, words in (("raises", found.raised), ("lowers", found.lowered)):
        parts.append(f"<p>{name}: {', '.join(f'<code>{escape(word)}</code>' for word in words)}</p>")
    for language, each in found.languages.items():
        parts.append(
            f"<h5>{escape(language)}: fires at {each.share:.1%} of the positions, mean {each.mean:.3g}; half of it on "
            f"{each.words_of_half} different tokens</h5><p>{drawn(np.log1p(each.histogram))}</p>"
        )
        parts += [_list(name, some, largest) for name, some in (("strongest", each.strongest), ("weaker", each.below))]
    return "".join(parts)


def _list(name: str, contexts: Sequence[Context], largest: float) -> str:
    rows = "".join(
        f"<tr><td style='text-align:right'>{context.values[context.centre]:.3g}</td>"
        f"<td style='text-align:left'>{context.html(largest)}</td></tr>"
        for context in contexts
    )
    return f"<table><caption>{name}</caption><tbody>{rows}</tbody></table>" if rows else ""
