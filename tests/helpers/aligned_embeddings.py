"""Made-up embeddings of aligned sentences."""

import numpy as np

LANGUAGES = ("no", "nan", "fr")


def aligned(seed: int, languages=LANGUAGES, layers=3, sentences=6, width=10) -> dict[str, np.ndarray]:
    """A shared direction, a part of the sentence, a part of the language and noise."""
    rng = np.random.default_rng(seed)
    common, meaning = 3 * rng.normal(size=(layers, 1, width)), rng.normal(size=(layers, sentences, width))
    return {
        language: (
            common + meaning + rng.normal(size=(layers, 1, width)) + 0.5 * rng.normal(size=(layers, sentences, width))
        ).astype(np.float32)
        for language in languages
    }
