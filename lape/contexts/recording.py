"""Where some neurons fire: their strongest contexts, contexts of every strength, and the words that they fire on.

One pass over the text of one language records them. A record takes no more memory for more text. It does not depend on
how the text is cut into batches or shards, but for the rounding of the activations themselves.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.model.activations import activations_seen
from lape.model.decoder import device_of
from lape.model.ffn import find_ffn
from lape.model.model_sites import FFN, ModelSite, why_unseen
from lape.model.patching import check_not_replaced, traced_anew
from lape.model.sites import layer_label
from lape.statistics.sums import ActivationStatistics

BINS = 32  # of a histogram
AROUND = 12  # tokens on either side of a context's centre
STRONGEST = 5  # contexts per neuron
_BELOW, _BEYOND = 4, 8  # standard deviations from the mean at which a histogram's first and last bin begin
_STEPS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))  # of the hash SplitMix64


class Places(NamedTuple):
    """Positions in a text, and what each neuron does there. A place of -1 stands for none.

    Attributes:
        place: int64 [n, m], number of the position among all positions of the chunks.
        document: int64 [n, m], number of the position's document.
        value: float32 [n, m], the activation at the position; -inf for none.
        around: float32 [n, m, 2 * AROUND + 1], the activations around the position; NaN beyond its chunk.
    """

    place: np.ndarray
    document: np.ndarray
    value: np.ndarray
    around: np.ndarray

    @classmethod
    def none(cls, neurons: int, number: int) -> "Places":
        """No position yet."""
        no = np.full((neurons, number), -1)
        around = np.full((neurons, number, 2 * AROUND + 1), np.nan, np.float32)
        return cls(no, no.copy(), np.full((neurons, number), -np.inf, np.float32), around)

    def where(self, keep: np.ndarray, other: "Places") -> "Places":
        """These positions where `keep`, bool [n, m], and those of another record elsewhere."""
        parts = zip(self, other, strict=True)
        return Places(*(np.where(keep.reshape(*keep.shape, *[1] * (a.ndim - 2)), a, b) for a, b in parts))

    def beside(self, other: "Places") -> "Places":
        """Both lots of positions, m + M of them."""
        return Places(*(np.concatenate(pair, axis=1) for pair in zip(self, other, strict=True)))

    def taken(self, order: np.ndarray) -> "Places":
        """The positions in some columns, int64 [n, k], of each row."""
        return Places(*(part[np.arange(len(part))[:, None], order] for part in self))

    def strongest(self, other: "Places", number: int) -> "Places":
        """The largest activations of both, each in another document; of equal ones the first in the text."""
        both = self.beside(other)
        both = both.taken(np.lexsort((both.place, -both.value), axis=-1))
        again = np.tril(both.document[:, :, None] == both.document[:, None, :], -1).any(2)
        both = Places.none(*again.shape).where(again, both)
        return both.taken(np.argsort(-both.value, axis=1, kind="stable")[:, :number])

    def first_hashed(self, other: "Places") -> "Places":
        """Of each pair of positions the one whose place has the smaller hash: a random one of all that ever came."""
        return self.where(hashed(self.place) <= hashed(other.place), other)


@dataclass(frozen=True, kw_only=True)
class Contexts:
    """What was recorded of n neurons on text of one language. `+` joins the records of two parts of the text.

    Attributes:
        numbers: int64 [n], the neurons' numbers in the model.
        tokens: positions that the model read.
        low, width: float32 [n], where the second bin of a neuron's histogram begins, and how wide a bin is.
        histogram: int64 [n, BINS], positions by activation. The first and the last bin have no end.
        strongest: the positions of the largest activations, each in another document, m of them.
        by_bin: of each bin of the histogram one random position, m = BINS.
        words: int64 [V], token ids of the text.
        fired: int32 [V, n], how often each neuron fired on each of them.
    """

    numbers: np.ndarray
    tokens: int
    low: np.ndarray
    width: np.ndarray
    histogram: np.ndarray
    strongest: Places
    by_bin: Places
    words: np.ndarray
    fired: np.ndarray

    def __add__(self, other: "Contexts") -> "Contexts":
        same = ("numbers", "low", "width", "words")
        if not all(np.array_equal(getattr(self, name), getattr(other, name)) for name in same):
            raise LapeError("contexts: neurons, bins or words differ; record both with one setting")
        return replace(
            self,
            tokens=self.tokens + other.tokens,
            histogram=self.histogram + other.histogram,
            strongest=self.strongest.strongest(other.strongest, self.strongest.place.shape[1]),
            by_bin=self.by_bin.first_hashed(other.by_bin),
            fired=self.fired + other.fired,
        )

    def words_of_half(self) -> np.ndarray:
        """How many different tokens make up half of each neuron's firing, int64 [n]; 0 where it never fires."""
        counts = -np.sort(-self.fired.astype(np.int64), axis=0)
        half = counts.sum(axis=0) / 2
        return np.where(half > 0, (np.cumsum(counts, axis=0) < half).sum(axis=0) + 1, 0)

    def below(self, shares: Sequence[float] = (0.9, 0.7, 0.5, 0.3, 0.1)) -> Places:
        """Positions of lesser activations: for each share one at about that quantile of all positions.

        Each is the random position of the bin that holds the quantile, or of the nearest bin that has one whose
        document has no context yet. Where there is none, there is no place.

        Returns:
            the positions, the largest activation first, m = len(shares).
        """
        cumulative = np.cumsum(self.histogram, axis=1)
        chosen = np.full((len(self.numbers), len(shares)), BINS)
        for row, (bounds, documents) in enumerate(zip(cumulative, self.by_bin.document, strict=True)):
            taken = set(self.strongest.document[row].tolist()) | {-1}
            for column, share in enumerate(shares):
                wanted = np.searchsorted(bounds, share * bounds[-1])
                near = sorted(range(BINS), key=lambda number: abs(number - wanted))
                found = next((number for number in near if int(documents[number]) not in taken), BINS)
                chosen[row, column] = found
                taken |= {int(documents[found])} if found < BINS else set()
        with_none = Places(
            *(np.concatenate(pair, axis=1) for pair in zip(self.by_bin, Places.none(len(chosen), 1), strict=True))
        )
        found = with_none.taken(chosen)
        return found.taken(np.argsort(-found.value, axis=1, kind="stable"))


def bins(statistics: Sequence[ActivationStatistics], numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The histogram's bins of some neurons, the same for all languages: see `Contexts.low` and `Contexts.width`.

    The inner bins go from 4 standard deviations below to 8 above the mean over all languages' tokens.

    Args:
        statistics: of each language, with sums of squares.
        numbers: int64 [n], the neurons' numbers in the model.
    """
    total, square, rows = (
        sum(getattr(each, name).ravel()[numbers] for each in statistics) for name in ("total", "square", "denominator")
    )
    mean = total / np.maximum(rows, 1)
    deviation = np.sqrt(np.maximum(square / np.maximum(rows, 1) - mean**2, 0))
    width = np.where(deviation > 0, (_BELOW + _BEYOND) * deviation / (BINS - 2), 1.0)
    return (mean - _BELOW * deviation).astype(np.float32), width.astype(np.float32)


def hashed(place: np.ndarray) -> np.ndarray:
    """A number of each place that is as good as random, uint64; the largest one for a place of -1."""
    x = place.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in _STEPS:
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return np.where(place < 0, np.uint64(2**64 - 1), x ^ (x >> np.uint64(31)))


class ContextRecorder:
    """Records contexts while `recording` is active: `begin` says what the next forward pass reads."""

    def __init__(self, ffn: FFN, numbers: np.ndarray, low: np.ndarray, width: np.ndarray, words: np.ndarray):
        self._ffn, self._words = ffn, words
        self._numbers, self._low, self._width = np.asarray(numbers, np.int64), low, width
        sites, experts, indices = ffn.sites.within_sites(self._numbers)
        self._groups: dict[tuple[ModelSite, int], _Group] = {}
        for site, expert in sorted(set(zip(sites.tolist(), experts.tolist(), strict=True))):
            rows = np.flatnonzero((sites == site) & (experts == expert))
            part = ffn.parts[site]
            self._groups[part, expert] = _Group(part, rows, [each[rows] for each in (indices, low, width)], len(words))
        self._tokens, self._seen = 0, dict.fromkeys((part for part, _ in self._groups), 0)

    @property
    def sites(self) -> list[ModelSite]:
        """The sites of the neurons."""
        return list(self._seen)

    def begin(self, ids: np.ndarray, documents: np.ndarray, first: int) -> None:
        """Say what the next forward pass reads.

        Args:
            ids: [B, T], token ids.
            documents: int64 [B, T], number of each position's document; -1 for a position that is no context's centre,
                such as BOS.
            first: number of the first position among all positions of the chunks, which stand in a row.
        """
        self._batch = _Batch(np.searchsorted(self._words, ids), documents, first)
        self._tokens += ids.size

    def observe(self, site: ModelSite, expert: int, activation: Tensor, rows: Tensor | None) -> None:
        """Record an activation; see `lape.model.activations.See`."""
        self._seen[site] += activation.numel() // activation.shape[-1]
        if (site, expert) in self._groups:
            self._groups[site, expert].add(activation.detach(), rows, self._batch)

    def contexts(self) -> Contexts:
        """What was recorded since the block began, or since `contexts` was called.

        Raises:
            LapeError: a site of a neuron has not seen all positions.
        """
        for site, seen in self._seen.items():
            if not site.saw(seen, self._tokens):
                raise LapeError(
                    f"{layer_label(site.site.layer)}: its activation was seen at {seen} of {self._tokens} tokens; "
                    f"{why_unseen(site.place, seen, self._tokens)}"
                )
        groups = [group.taken() for group in self._groups.values()]
        order = np.argsort(np.concatenate([group.rows for group in self._groups.values()]))
        histograms, bests, hashes, fired = zip(*groups, strict=True)
        found = Contexts(
            numbers=self._numbers,
            tokens=self._tokens,
            low=self._low,
            width=self._width,
            histogram=np.concatenate(histograms)[order],
            strongest=Places(*(np.concatenate(parts)[order] for parts in zip(*bests, strict=True))),
            by_bin=Places(*(np.concatenate(parts)[order] for parts in zip(*hashes, strict=True))),
            words=self._words,
            fired=np.concatenate(fired, axis=1)[:, order],
        )
        self._tokens, self._seen = 0, dict.fromkeys(self._seen, 0)
        return found


class _Batch:
    """What a forward pass reads, as tensors on the devices that ask for it."""

    def __init__(self, words: np.ndarray, documents: np.ndarray, first: int):
        self.shape, self.first = documents.shape, first
        flat = documents.ravel()
        order = np.argsort(hashed(np.arange(first, first + flat.size)), kind="stable")
        _, local = np.unique(flat, return_inverse=True)
        arrays = {"words": words.ravel(), "documents": flat, "local": local, "order": order, "rank": np.argsort(order)}
        self._arrays = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self._moved: dict[torch.device, dict[str, Tensor]] = {}

    def on(self, device: torch.device) -> dict[str, Tensor]:
        """int64 [B * T] each: words and documents of the positions; `local`, the documents numbered within the batch;
        `order`, the positions by the hash of their places, and `rank`, each position's number in that order."""
        if device not in self._moved:
            self._moved[device] = {name: array.to(device) for name, array in self._arrays.items()}
        return self._moved[device]


class _Group:
    """The record of the n neurons of one site and expert.

    Attributes:
        rows: int64 [n], the neurons' places in the whole record.

    Args:
        columns: their indices, and `low` and `width` of their histograms, [n] each.
        words: V, the number of different tokens.
    """

    def __init__(self, site: ModelSite, rows: np.ndarray, columns: Sequence[np.ndarray], words: int):
        device = device_of(site.layer)
        self.rows = rows
        self._index, self._low, self._width = (torch.from_numpy(part).to(device) for part in columns)
        self._fired = torch.zeros(words, len(rows), dtype=torch.int32, device=device)
        self._histogram = torch.zeros(len(rows), BINS, dtype=torch.int64, device=device)
        self._start()

    def _start(self) -> None:
        self._strongest = Places.none(len(self.rows), STRONGEST)
        self._by_bin = Places.none(len(self.rows), BINS)

    def taken(self) -> tuple[np.ndarray, Places, Places, np.ndarray]:
        """Histogram, strongest contexts, contexts by bin, and firing by word; the record begins anew."""
        found = self._histogram.cpu().numpy().copy(), self._strongest, self._by_bin, self._fired.cpu().numpy().copy()
        self._fired.zero_()
        self._histogram.zero_()
        self._start()
        return found

    def add(self, activation: Tensor, rows: Tensor | None, batch: _Batch) -> None:
        """Record an activation [..., I] of some rows of a batch, or of all."""
        text = batch.on(activation.device)
        x = activation.reshape(-1, activation.shape[-1])[:, self._index].float()
        if rows is not None:
            routed = x
            x = x.new_full((len(text["words"]), x.shape[1]), torch.nan)
            x[rows] = routed
        self._fired.index_add_(0, text["words"], (x > 0).to(torch.int32))
        there = ~x.isnan()
        bin_ = ((x - self._low) / self._width).floor().add(1).nan_to_num(0).clamp(0, BINS - 1).long()
        slot = (bin_ + BINS * torch.arange(len(self.rows), device=x.device)).flatten()
        self._histogram.view(-1).scatter_add_(0, slot, there.flatten().long())
        centre = there & (text["documents"] >= 0)[:, None]
        self._strongest = self._strongest.strongest(self._places(x, _best(x, centre, text["local"]), batch), STRONGEST)
        rank = torch.where(centre, text["rank"][:, None], len(x)).flatten()
        least = rank.new_full((self._histogram.numel(),), len(x)).scatter_reduce_(0, slot, rank, "amin")
        row = torch.where(least < len(x), text["order"][least.clamp(max=len(x) - 1)], -1)
        self._by_bin = self._by_bin.first_hashed(self._places(x, row.view(self._histogram.shape), batch))

    def _places(self, x: Tensor, rows: Tensor, batch: _Batch) -> Places:
        """The positions in some rows, int64 [n, m], of activations [B * T, n]; -1 for none."""
        none, row = rows < 0, rows.clamp(min=0)
        neuron = torch.arange(len(rows), device=x.device)[:, None]
        length = batch.shape[1]
        near = (row % length)[:, :, None] + torch.arange(-AROUND, AROUND + 1, device=x.device)
        inside = (near >= 0) & (near < length) & ~none[:, :, None]
        around = x[(row // length * length)[:, :, None] + near.clamp(0, length - 1), neuron[:, :, None]]
        parts = (
            torch.where(none, -1, row + batch.first),
            torch.where(none, -1, batch.on(x.device)["documents"][row]),
            torch.where(none, -torch.inf, x[row, neuron]),
            torch.where(inside, around, torch.nan),
        )
        return Places(*(part.cpu().numpy() for part in parts))


def _best(x: Tensor, centre: Tensor, document: Tensor) -> Tensor:
    """The rows of each neuron's largest activations, one per document, first the first of equal ones.

    Returns:
        int64 [n, m], -1 for none.
    """
    value = x.masked_fill(~centre, -torch.inf)
    of_row = document[:, None].expand_as(value)
    documents = int(document.max()) + 1
    best = value.new_full((documents, x.shape[1]), -torch.inf).scatter_reduce_(0, of_row, value, "amax")
    row = torch.arange(len(x), device=x.device)[:, None].expand_as(value)
    row = torch.where(centre & (value == best[document]), row, len(x))
    first = row.new_full(best.shape, len(x)).scatter_reduce_(0, of_row, row, "amin")
    # Documents with the same best activation keep the order of the text.
    order = first.argsort(dim=0, stable=True)
    order = order.gather(0, best.gather(0, order).argsort(dim=0, descending=True, stable=True))[:STRONGEST]
    row = first.gather(0, order)
    return torch.where(row < len(x), row, -1).T


@contextlib.contextmanager
def recording(
    model: nn.Module, numbers: np.ndarray, low: np.ndarray, width: np.ndarray, words: np.ndarray
) -> Iterator[ContextRecorder]:
    """Record the contexts of some neurons during the forward passes inside the block.

    Args:
        model: a Hugging Face causal LM in one process.
        numbers: int64 [n], the neurons' numbers in the model; see `lape.model.sites.Sites`.
        low, width: see `bins`.
        words: int64 [V], the different token ids of the text, sorted.

    Raises:
        LapeError: the architecture is not known, or the model is shared by several ranks.
    """
    ffn = find_ffn(model)
    if ffn.ranks > 1:
        raise LapeError("the model is shared by several ranks; load it in one process")
    check_not_replaced(ffn.layers)
    recorder = ContextRecorder(ffn, numbers, low, width, words)
    with traced_anew(), activations_seen(recorder.sites, recorder.observe):
        yield recorder
