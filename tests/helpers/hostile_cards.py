"""Contexts of neurons whose tokens try to break a page: markup, a lone surrogate, and a very long token."""

import numpy as np

from lape.contexts.card import Context
from lape.contexts.inspected import InLanguage, Inspection
from lape.neurons.table import Neurons

HOSTILE = "</script><script>window.hostile = 1</script>]]><img src=x onerror='window.hostile = 2'>&amp;{{ 7 * 7 }}"
LONG = "x" * 10_000
TOKENS = [HOSTILE, LONG, "مرحبا", "你好", "\ud800", "<0xE4>", " end"]


def inspections(neurons: Neurons) -> list[Inspection]:
    """One for each neuron, the same in every language."""
    values = [float(number) - 3 for number in range(len(TOKENS))][::-1]
    found = InLanguage(0.25, 0.5, 3, np.arange(32), [Context(TOKENS, values, 0, 0)], [Context(TOKENS, values, 5, 1)])
    card = Inspection(
        name="neuron",
        languages=dict.fromkeys(neurons.sets, found),
        raised=[HOSTILE, LONG],
        lowered=["\ud800"],
        low=-1.0,
        width=0.1,
        raised_share=dict.fromkeys(neurons.sets, 0.5),
    )
    return [card] * len(neurons)
