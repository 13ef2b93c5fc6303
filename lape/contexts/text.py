"""Positions of a text as contexts that people read."""

from collections.abc import Mapping, Sequence

import numpy as np

from lape.contexts.card import Context
from lape.contexts.recording import AROUND, Places
from lape.model.tokenizer import as_text


def contexts_of(
    places: Places, row: int, chunks: Sequence[np.ndarray], chunk_length: int, texts: Mapping[int, str]
) -> list[Context]:
    """The contexts of one neuron, without the places that stand for none.

    Args:
        places: positions of several neurons.
        row: of the neuron.
        chunks: token ids of the text, [T] each; the last ones may be shorter.
        chunk_length: T.
        texts: token id -> its text; see `token_texts`.
    """
    found = []
    of_row = zip(places.place[row].tolist(), places.document[row].tolist(), places.around[row], strict=True)
    for place, document, around in of_row:
        if place >= 0:
            chunk, centre = divmod(place, chunk_length)
            first, last = max(centre - AROUND, 0), min(centre + AROUND + 1, len(chunks[chunk]))
            values = around[first - centre + AROUND : last - centre + AROUND].tolist()
            tokens = [texts[token] for token in chunks[chunk][first:last].tolist()]
            found.append(Context(tokens, values, centre - first, document))
    return found


def token_texts(tokenizer: object, tokens: Sequence[int]) -> dict[int, str]:
    """Token id -> its text, as `pieces` gives it."""
    return dict(zip(tokens, pieces(tokenizer, tokens), strict=True))


def pieces(tokenizer: object, tokens: Sequence[int]) -> list[str]:
    """The text of each token; the token's own name where it is part of a character.

    A tokenizer may drop the space before a text's first word: each token is decoded behind another one.
    """
    with as_text(tokenizer) as backend:
        before = backend.encode("a", add_special_tokens=False).ids
        known = len(backend.decode(before, skip_special_tokens=False))
        texts = [backend.decode([*before, token], skip_special_tokens=False)[known:] for token in tokens]
        return [
            _framed(backend.id_to_token(token)) if "\ufffd" in text or not text else text
            for token, text in zip(tokens, texts, strict=True)
        ]


def _framed(name: str) -> str:
    """A token's name in angle brackets, which the names of bytes have already."""
    return name if name.startswith("<") and name.endswith(">") else f"<{name}>"
