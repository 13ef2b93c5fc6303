"""Which words a neuron writes, and whether they are words of a language."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch import nn

from lape.contexts.text import token_texts
from lape.contexts.vocabulary import vocabulary_effects

WORDS = 10  # that are raised most, and lowered most
_COMPARED = 50  # words whose language is told
_FREQUENT = 1e-4  # of a language's tokens


def token_counts(chunks: np.ndarray, vocabulary: int) -> np.ndarray:
    """How often each token id is in a text, int64 [V]. Chunks [N, T] on a disk are read some at a time."""
    counts = np.zeros(vocabulary, np.int64)
    for start in range(0, len(chunks), 1024):
        counts += np.bincount(chunks[start : start + 1024].ravel(), minlength=vocabulary)
    return counts


def frequent(counts: np.ndarray) -> np.ndarray:
    """Which tokens are frequent in which language.

    A token is frequent in a language when it is one in 10,000 of the language's tokens or more, and when its share
    there is above the mean of its shares in all languages.

    Args:
        counts: int64 [K, V], how often each token is in the text of each of K languages.

    Returns:
        bool [K, V].
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return (shares >= _FREQUENT) & (shares > shares.mean(axis=0))


def written(
    model: nn.Module, tokenizer: object, numbers: Sequence[int], words: Mapping[str, np.ndarray]
) -> Iterator[dict]:
    """What some neurons write: the words whose logits they raise and lower most; see `vocabulary_effects`.

    Args:
        model: a Hugging Face causal LM in one process.
        tokenizer: its tokenizer.
        numbers: of the neurons in the model; see `lape.model.sites.Sites`.
        words: language -> which token ids are frequent there, bool [V]; see `frequent`.

    Yields:
        per neuron the texts of the 10 words most raised and most lowered; and per language the share of the 50 words
        most raised, and most lowered, that are frequent in the language.

    Raises:
        LapeError: see `vocabulary_effects`.
    """
    for effects in vocabulary_effects(model, numbers):
        size = min(_COMPARED, effects.shape[1])
        sides = {
            name: (sign * effects).topk(size).indices.cpu().numpy() for name, sign in (("raised", 1), ("lowered", -1))
        }
        texts = token_texts(tokenizer, np.unique(np.concatenate([ids[:, :WORDS] for ids in sides.values()])).tolist())
        for row in range(len(effects)):
            yield {
                **{name: [texts[token] for token in ids[row, :WORDS].tolist()] for name, ids in sides.items()},
                **{
                    f"{name}_share": {language: float(_known(of, ids[row]).mean()) for language, of in words.items()}
                    for name, ids in sides.items()
                },
            }


def _known(words: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Whether ids are in a list; an embedding may have more rows than the tokenizer has tokens."""
    return (ids < len(words)) & words[np.minimum(ids, len(words) - 1)]
