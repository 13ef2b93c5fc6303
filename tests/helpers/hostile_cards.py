"""Contexts of neurons whose tokens try to break a page: markup, a lone surrogate, and a very long token."""

import numpy as np

from lape.contexts.card import Context
from lape.contexts.inspection import InLanguage, Inspection
from lape.neurons.table import Neurons

HOSTILE = "</script><script>window.hostile = 1</script>]]><img src=x onerror='window.hostile = 2'>&amp;{{ 7 * 7 }}"
LONG = "x" * 10_000
TOKENS = [HOSTILE, LONG, "مرحبا", "你好", "\ud800", "<0xE4>", " end"]


def inspections(neurons: Neurons) -> list[Inspection]:
    """One for each neuron, the same in every language."""
    values = [float(number) - 3 for number in range(len(TOKENS))][::-1]
    found = InLanguage(0.25, 0.5, 3, np.arange(32), [Context(TOKENS, values, 0)], [Context(TOKENS, values, 5)])
    names = {language: found for language in neurons.sets}
    card = Inspection("neuron", names, [HOSTILE, LONG], ["\ud800"])
    object.__setattr__(card, "low", -1.0)
    object.__setattr__(card, "width", 0.1)
    return [card] * len(neurons)
