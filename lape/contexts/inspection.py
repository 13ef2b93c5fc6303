"""One neuron of a loaded model on text that is at hand: where it fires, and which words it writes."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

import numpy as np
import torch
from torch import nn

from lape.contexts.card import Context
from lape.contexts.inspected import InLanguage, Inspection
from lape.contexts.recording import Contexts, Places, bins, recording
from lape.contexts.text import contexts_of, pieces, token_texts
from lape.contexts.vocabulary import vocabulary_effect
from lape.errors import LapeError
from lape.model.batches import filling_batch_size
from lape.model.decoder import context_length, decoder_of, input_device
from lape.model.ffn import find_ffn
from lape.model.sites import layer_label
from lape.model.tokenizer import as_text, begins_with
from lape.statistics.feeding import LENGTH, encoded, record_statistics

_WORDS = 10  # that are raised, and that are lowered


def inspect(
    model: nn.Module,
    tokenizer: object,
    layer: int,
    index: int,
    texts: Mapping[str, str | Iterable[str]] | str | Iterable[str],
    *,
    expert: int = 0,
) -> Inspection:
    """Look at one neuron: where it fires in some texts, and which words its output raises and lowers.

    The texts are read twice: once for the mean and the spread of the activation, once for contexts and histograms.

    Args:
        model: a Hugging Face causal LM in one process.
        tokenizer: its fast tokenizer.
        layer: number of the decoder layer, from 0.
        index: of the neuron within its FFN or expert, from 0.
        texts: language -> texts; or texts alone, which are then called "text". Each text is a document.
        expert: number of the expert, or of the FFN, within the layer, from 0; see `Neurons`.

    Raises:
        LapeError: the model has no such neuron, there is no text, or see `vocabulary_effects`.
    """
    sites = find_ffn(model).sites
    number = sites.number(layer, index, expert)
    effect = vocabulary_effect(model, layer, index, expert)
    length = min(LENGTH, context_length(model) or LENGTH)
    given = texts if isinstance(texts, Mapping) else {"text": texts}
    packed = {language: _Packed(tokenizer, some, length) for language, some in given.items()}
    counted = {language: record_statistics(model, text.ids()) for language, text in packed.items()}
    low, width = bins(list(counted.values()), np.array([number]))
    found = {}
    for language, text in packed.items():
        contexts = _recorded(model, number, low, width, text)
        found[language] = InLanguage(
            *counted[language].per_token[number].tolist(),
            int(contexts.words_of_half()[0]),
            contexts.histogram[0],
            text.contexts(contexts.strongest),
            text.contexts(contexts.below()),
        )
    raised, lowered = (pieces(tokenizer, (sign * effect).topk(_WORDS).indices.tolist()) for sign in (1, -1))
    return Inspection(
        name=f"neuron {index}{f' of expert {expert}' if sites.has_blocks else ''} in {layer_label(layer)}",
        languages=found,
        raised=raised,
        lowered=lowered,
        low=float(low[0]),
        width=float(width[0]),
    )


class _Packed:
    """Texts as chunks of tokens, with the document of each position."""

    def __init__(self, tokenizer: object, texts: str | Iterable[str], length: int):
        self._tokenizer, self._length = tokenizer, length
        with as_text(tokenizer) as encoder:
            bos = begins_with(encoder)
        of_texts = list(encoded(tokenizer, texts))
        ids = np.array([token for text in of_texts for token in text], np.int64)
        documents = np.repeat(np.arange(len(of_texts)), [len(text) for text in of_texts])
        if not len(ids):
            raise LapeError("texts: hold no token; pass strings with some text")
        content = length - (bos is not None)
        starts = np.arange(0, len(ids), content)
        self._chunks = [ids[start : start + content] for start in starts]
        self._documents = [documents[start : start + content] for start in starts]
        if bos is not None:  # it is counted, and is the centre of no context
            self._chunks = [np.concatenate([[bos], chunk]) for chunk in self._chunks]
            self._documents = [np.concatenate([[-1], documents]) for documents in self._documents]

    def batches(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """Token ids [B, T], documents [B, T], and the number of the first position."""
        whole = sum(len(chunk) == self._length for chunk in self._chunks)
        starts = [*range(0, whole, size), *range(whole, len(self._chunks))]
        for start, end in zip(starts, [*starts[1:], len(self._chunks)], strict=True):
            chunks, documents = np.stack(self._chunks[start:end]), np.stack(self._documents[start:end])
            yield chunks, documents, start * self._length

    def ids(self) -> Iterator[torch.Tensor]:
        """Token ids, a chunk at a time."""
        return (torch.from_numpy(chunk) for chunk in self._chunks)

    @cached_property
    def words(self) -> np.ndarray:
        """The different token ids, sorted."""
        return np.unique(np.concatenate(self._chunks))

    @cached_property
    def _texts(self) -> dict[int, str]:
        return token_texts(self._tokenizer, self.words.tolist())

    def contexts(self, places: Places) -> list[Context]:
        """The contexts of the first neuron of some places."""
        return contexts_of(places, 0, self._chunks, self._length, self._texts)


def _recorded(model: nn.Module, number: int, low: np.ndarray, width: np.ndarray, text: _Packed) -> Contexts:
    device = input_device(model)
    with torch.no_grad(), recording(model, np.array([number]), low, width, text.words) as recorder:
        for ids, documents, first in text.batches(filling_batch_size(LENGTH, device, at_most=1024)):
            recorder.begin(ids, documents, first)
            decoder_of(model)(input_ids=torch.from_numpy(ids).to(device), use_cache=False)
        return recorder.contexts()
