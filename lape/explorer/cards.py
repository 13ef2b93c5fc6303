"""Contexts of neurons, packed for the page: each token's text is kept once, and numbers are short."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lape.contexts.card import Context
    from lape.contexts.inspection import Inspection

# Neurons whose cards are unpacked together.
GROUP = 64


def groups(found: Sequence["Inspection"]) -> Iterator[dict]:
    """The cards of some neurons, `GROUP` at a time.

    Yields:
        tokens: the different texts of tokens; and cards: one dictionary per neuron. A card has raised and lowered
        (words), low and width (of the histogram's inner bins), and languages: name -> share, mean, words, histogram and
        the contexts strongest and below. A context is [numbers of tokens, activations, centre].
    """
    for start in range(0, len(found), GROUP):
        tokens: dict[str, int] = {}
        cards = [_card(found[number], tokens) for number in range(start, min(start + GROUP, len(found)))]
        yield {"tokens": list(tokens), "cards": cards}


def strongest(found: "Inspection", languages: Sequence[str]) -> float | None:
    """A neuron's largest activation in some languages; None where there is no context."""
    tops = [found.languages[name].strongest[:1] for name in languages if name in found.languages]
    return max((top[0].values[top[0].centre] for top in tops if top), default=None)


def _card(found: "Inspection", tokens: dict[str, int]) -> dict:
    def packed(context: "Context") -> list:
        ids = [tokens.setdefault(text, len(tokens)) for text in context.tokens]
        return [ids, [float(f"{value:.3g}") for value in context.values], context.centre]

    return {
        "raised": found.raised,
        "lowered": found.lowered,
        **{name: float(getattr(found, name)) for name in ("low", "width")},
        "languages": {
            language: {
                "share": float(f"{each.share:.4g}"),
                "mean": float(f"{each.mean:.4g}"),
                "words": each.words_of_half,
                "histogram": [int(number) for number in each.histogram],
                **{name: list(map(packed, getattr(each, name))) for name in ("strongest", "below")},
            }
            for language, each in found.languages.items()
        },
    }
