"""Contexts of neurons, packed for the page: each token's text is kept once, and numbers are short."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from lape.contexts.card import Context
from lape.contexts.inspected import Inspection
from lape.contexts.stored import StoredContexts, read
from lape.explorer.run import Run

# Neurons whose cards are unpacked together.
GROUP = 64


def stored(run: Run) -> dict[tuple[str, str], StoredContexts]:
    """(model, method) -> what the run recorded of each of its neurons; languages in the order of the run.

    Raises:
        LapeError: a file is missing or damaged.
    """
    found: dict[tuple[str, str], list[Path]] = {}
    order = run.config.get("languages", [])
    headers = run.headers("contexts")
    for path in sorted(headers, key=lambda path: order.index(headers[path]["language"])):
        found.setdefault((headers[path]["model"], headers[path]["method"]), []).append(path)
    written = {(each["model"], each["method"]): path for path, each in run.headers("vocabulary_effects").items()}
    return {key: read(paths, written[key]) for key, paths in found.items() if key in written}


def groups(found: Sequence[Inspection]) -> Iterator[dict]:
    """The cards of some neurons, `GROUP` at a time.

    Yields:
        tokens: the different texts of tokens; and cards: one dictionary per neuron. A card has:
        - raised and lowered: words;
        - raised_share and lowered_share: language -> share of the 50 first words that are frequent there;
        - low and width, of the histogram's inner bins;
        - languages: name -> share, mean, words, histogram, and the contexts strongest and below. A context is [numbers
          of tokens, activations, centre].
    """
    for start in range(0, len(found), GROUP):
        tokens: dict[str, int] = {}
        cards = [_card(found[number], tokens) for number in range(start, min(start + GROUP, len(found)))]
        yield {"tokens": list(tokens), "cards": cards}


def promoted(found: Inspection, languages: Sequence[str]) -> float | None:
    """Of the 50 words that a neuron raises most, the share that is frequent in one of some languages, the highest."""
    return max((found.raised_share[name] for name in languages if name in found.raised_share), default=None)


def strongest(found: Inspection, languages: Sequence[str]) -> float | None:
    """A neuron's largest activation in some languages; None where there is no context."""
    tops = [found.languages[name].strongest[:1] for name in languages if name in found.languages]
    return max((top[0].values[top[0].centre] for top in tops if top), default=None)


def _card(found: Inspection, tokens: dict[str, int]) -> dict:
    def packed(context: Context) -> list:
        ids = [tokens.setdefault(text, len(tokens)) for text in context.tokens]
        values = [None if math.isnan(value) else float(f"{value:.3g}") for value in context.values]
        return [ids, values, context.centre]

    return {
        "raised": found.raised,
        "lowered": found.lowered,
        "raised_share": dict(found.raised_share),
        "lowered_share": dict(found.lowered_share),
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
