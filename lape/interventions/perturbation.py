"""Perturbations: neurons switched off or steered during a forward pass.

A perturbation is data and a context manager that proves that it fired.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from lape.display.layers import ranges
from lape.display.tables import Shown, Table
from lape.errors import LapeError
from lape.kernels import ops, reference
from lape.machine import ranks
from lape.model.activations import activations_seen
from lape.model.decoder import decoder_of, device_of
from lape.model.ffn import find_ffn
from lape.model.model_sites import FFN, ModelSite, why_unseen
from lape.model.patching import check_not_replaced, traced_anew
from lape.model.sites import layer_label
from lape.neurons.table import Neurons

if TYPE_CHECKING:
    from lape.interventions.steering import SteeringValues

logger = logging.getLogger(__name__)

POSITIONS = ("all", "prompt", "generated")
# A place that is perturbed: the FFN of a decoder layer (its number); one of several FFNs, or a linear layer (layer,
# path).
Place = int | tuple[int, str]
# What the modes of `lape.kernels.ops.MODES` do to an activation, in words.
_DONE = {"set": "set to", "max": "raised to at least", "add": "raised by", "scale": "multiplied by"}


@dataclass(frozen=True, repr=False)
class Perturbation(Shown):
    """What happens to some activations at every position, at the prompt's positions, or at the generated ones.

    Two perturbations that share no neuron add up to one: `deactivation + steering`.

    Attributes:
        indices: layer -> int64 places of neurons, each once; expert * width + index in a mixture of experts. See
            `lape.model.sites.Sites` for other models.
        mode: "set" sets the activation to the value, "max" takes the larger of the two, "add" adds the value, and
            "scale" multiplies by it.
        values: one value for all neurons, or layer -> float32 values, one for each index.
        positions: "all", "prompt" or "generated".
        others: further summands, for a perturbation that is a sum.
    """

    indices: Mapping[int, np.ndarray]
    mode: str = "set"
    values: float | Mapping[int, np.ndarray] = 0.0
    positions: str = "all"
    others: tuple["Perturbation", ...] = ()

    def __add__(self, other: "Perturbation") -> "Perturbation":
        return replace(self, others=(*self.others, *other.parts))

    @property
    def parts(self) -> tuple["Perturbation", ...]:
        """The summands."""
        return (replace(self, others=()), *self.others)

    def shown(self) -> Table:
        """What is done to how many neurons of which layers, one row per summand."""
        rows = []
        for part in self.parts:
            number = sum(map(len, part.indices.values()))
            value = "a value each" if isinstance(part.values, Mapping) else f"{part.values:g}"
            layers = ranges(layer for layer, index in part.indices.items() if len(index))
            rows.append((f"{_DONE.get(part.mode, part.mode)} {value}", number, layers, part.positions))
        number = sum(row[1] for row in rows)
        return Table(
            f"perturbation of {number:,} neurons", ("activation", "neurons", "layers, from 1", "positions"), rows
        )

    def within(self, layer: int, first: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices and values of the neurons `first` ... `first + width - 1` of a layer, counted from `first`."""
        index = np.asarray(self.indices.get(layer, ()), np.int64)
        values = self.values.get(layer, 0.0) if isinstance(self.values, Mapping) else self.values
        values = np.broadcast_to(np.asarray(values, np.float32), index.shape)
        inside = (index >= first) & (index < first + width)
        return index[inside] - first, values[inside]


class Firing(Shown):
    """The record of what perturbations did, by layer. Layers without a perturbed neuron do not appear.

    Where a layer has several sites, the record is by (layer, path). Where units are overwritten, it is by linear layer,
    (layer, path), and counts units in place of neurons.

    Attributes:
        neurons: layer -> number of neurons that are perturbed, over all perturbations and ranks.
    """

    def __init__(
        self,
        each: Sequence[dict[Place, int]],
        edits: dict[Place, list[ops.Edits]],
        saw: Callable[[Place, int, int], bool] = lambda place, rows, tokens: rows == tokens,
        spread: Collection[Place] = (),
    ):
        self.neurons = {layer: sum(neurons.get(layer, 0) for neurons in each) for layer in edits}
        self._each = each  # `neurons` of each perturbation
        self._spread = spread  # whether each rank edits its own columns only
        self._saw = saw  # whether a place that was seen at some rows has seen all of some tokens
        self._edits = edits  # by layer and expert
        # The counters are on the device, so that no pass waits for them.
        self._seen = {layer: torch.zeros(2, dtype=torch.int64, device=edits[layer][0].index.device) for layer in edits}

    def shown(self) -> Table:
        """What was perturbed, how often, and how many activations changed; of several ranks, without their changes."""
        layers = ranges(_layer(place) for place in self.neurons)
        if not self.neurons:
            return Table("nothing is perturbed")
        title = f"{sum(self.neurons.values()):,} neurons or units are perturbed, in layers {layers} (from 1): "
        if not any(self.calls.values()):
            return Table(f"{title}no forward pass ran yet")
        if not self._spread:
            title += f"{sum(self.changed.values()):,} activations changed in "
        tokens, passes = max(self.rows.values()), max(self.calls.values())
        return Table(f"{title}{passes:,} forward passes of {tokens:,} tokens in all, padding included")

    @property
    def calls(self) -> dict[Place, int]:
        """layer -> number of forward calls in which the layer's activation was seen."""
        return {layer: int(seen[0]) for layer, seen in self._seen.items()}

    @property
    def rows(self) -> dict[Place, int]:
        """layer -> number of tokens seen; in a mixture of experts, summed over the experts that ran."""
        return {layer: int(seen[1]) for layer, seen in self._seen.items()}

    @property
    def changed(self) -> dict[Place, int]:
        """layer -> number of activations changed, over tokens and neurons. All ranks must ask for it together."""
        return {layer: sum(counts) for layer, counts in self._changed().items()}

    @property
    def by_perturbation(self) -> list[tuple[dict[Place, int], int]]:
        """For each perturbation its `neurons`, and the number of activations that it changed. See `changed`."""
        changed = self._changed().values()
        return [(neurons, sum(counts[number] for counts in changed)) for number, neurons in enumerate(self._each)]

    def _changed(self) -> dict[Place, list[int]]:
        """layer -> number of activations that each perturbation changed."""
        several = len(self._each)  # a perturbation's edits at generated positions stand behind those of all at prompts
        own = {
            layer: torch.stack([part.changed.view(-1, several).sum(0) for part in parts]).sum(0).tolist()
            for layer, parts in self._edits.items()
        }
        parts = ranks.gathered(own)
        return {
            layer: [sum(counts) for counts in zip(*(part[layer] for part in parts), strict=True)]
            if layer in self._spread
            else own[layer]
            for layer in own
        }

    def edit(self, layer: Place, expert: int, x: Tensor, choice: Tensor | None, backend: str) -> Tensor:
        """Edit x [..., I] and count what changes. x is edited in place, unless a gradient is to flow through it."""
        self._seen[layer][0] += 1
        self._seen[layer][1] += x.numel() // x.shape[-1]
        edits = self._edits[layer][expert]
        if torch.is_grad_enabled() and x.requires_grad:
            # The edit is out of place and in plain torch, because the step before needs its output for the gradient.
            ops.ffn_edit(x.detach().clone(), edits, choice, backend)  # counts what it changes
            return reference.edited(x, *edits[:4], choice)
        ops.ffn_edit(x, edits, choice, backend)
        return x

    def check(self, rows: int | None = None, must_change: bool = True) -> None:
        """Fail unless every hook fired.

        Args:
            rows: number of tokens that were fed. None asks for one call of each layer and no more, because a short text
                may change nothing: it may leave a ReLU neuron at zero.
            must_change: with `rows`, also fail where no activation was changed. Pass False for random neurons, such as
                a control's, which may never fire.

        Raises:
            LapeError: a layer was never called; or, with `rows`, a layer saw another number of tokens, or the
                perturbation changed no activation at all.
        """
        calls, seen = self.calls, self.rows
        if rows is None and calls and not any(calls.values()):
            raise LapeError(
                "no forward pass ran inside the block; run the model inside it (if it did run there, it bypasses its "
                "activation modules: load it without fused kernels)"
            )
        for layer in self.neurons:
            tokens = seen[layer]
            if not calls[layer] or (rows is not None and not self._saw(layer, tokens, rows)):
                fed = "at least 1" if rows is None else rows
                raise LapeError(
                    f"{layer_label(_layer(layer))}: the perturbation fired on {tokens} tokens of {fed}; "
                    f"{why_unseen(layer, tokens, rows or 1)}"
                )
        if rows and must_change and self.neurons and not any(self.changed.values()):
            raise LapeError(f"the perturbation changed no activation in {rows} tokens; its neurons never fire here")


def _layer(place: Place) -> int:
    return place[0] if isinstance(place, tuple) else place


@contextlib.contextmanager
def deactivate(
    model: nn.Module, neurons: Neurons, sets: str | Sequence[str], means: np.ndarray | None = None
) -> Iterator[Firing]:
    """Set the activations of some languages' neurons to zero during the block (section 3.2 of the paper).

    An empty set changes nothing; a warning says so.

    Args:
        model: a Hugging Face causal LM.
        neurons: selected neurons of a model of the same shape.
        sets: a language, or several.
        means: float [number of neurons], in the order of `Neurons.numbers`: the activations that take the place of zero
            (mean ablation).

    Yields:
        the record of what fired; see `perturbed`.

    Raises:
        LapeError: there is no set of a name, the neurons are of a model of another shape, or a hook did not fire.

    Example:
        >>> with deactivate(model, neurons, "fr"):
        ...     model.generate(**prompt)
    """
    check_shape(model, neurons)
    indices = neurons.indices(sets)
    if not indices:
        logger.warning("%s: the set %s is empty: nothing is deactivated", neurons.origin, sets)
    values = 0.0
    if means is not None:
        starts = neurons.sites.starts
        values = {layer: means[starts[layer] + index].astype(np.float32) for layer, index in indices.items()}
    with perturbed(model, Perturbation(indices, values=values)) as firing:
        yield firing


def check_shape(model: nn.Module, found: "Neurons | SteeringValues") -> None:
    """Check that neurons, or values of neurons, were found in a model of the shape of the one at hand.

    Raises:
        LapeError: they were not.
    """
    sites = find_ffn(model).sites
    if found.sites != sites:
        raise LapeError(
            f"{found.origin}: selected in a model of {found.sites}, this one has {sites}; select them on this model"
        )


@contextlib.contextmanager
def perturbed(
    model: nn.Module,
    perturbations: Perturbation | Sequence[Perturbation],
    choice: Tensor | None = None,
    prompt_length: int | None = None,
    backend: str = "auto",
    see: Callable[[ModelSite, int, Tensor, Tensor | None], None] | None = None,
) -> Iterator[Firing]:
    """Perturb activations during the block, before the up projection multiplies them. The hooks are always removed.

    Args:
        model: a Hugging Face causal LM.
        perturbations: one perturbation, or several of which each sequence of a batch takes one.
        choice: int64 [B], number of the perturbation of each sequence in the batches that follow; negative for none.
            None takes the first perturbation for all sequences.
        prompt_length: number of positions of every sequence that are the prompt, padding on the left included. Later
            positions are generated, with a cache and without. None: all positions of a pass that starts its sequences
            are prompt, and all positions of a pass that goes on from a cache are generated.
        backend: see `lape.kernels.ops.resolved`.
        see: called with every activation of the model once it is perturbed, by site, expert, activation and rows; see
            `lape.model.activations.See`.

    Yields:
        the record of what fired. When the block ends without an error, every hook must have been called.

    Raises:
        LapeError: the architecture is not known, the model lacks a layer or a neuron, two summands share a neuron, a
            setting is unknown, or a hook did not fire.
    """
    ffn = find_ffn(model)
    check_not_replaced(ffn.layers)
    several = [perturbations] if isinstance(perturbations, Perturbation) else list(perturbations)
    parts = [part for perturbation in several for part in perturbation.parts]
    _check(ffn, several)
    each = [
        {
            site.place: count
            for site in ffn.parts
            if (count := sum(len(part.within(site.site.layer, site.first, site.site.neurons)[0]) for part in own.parts))
        }
        for own in several
    ]
    sites = [site for site in ffn.parts if any(site.place in neurons for neurons in each)]
    # Where positions matter, each perturbation becomes two: one for the prompt, and behind it one for the rest.
    phases = ("prompt", "generated") if any(part.positions != "all" for part in parts) else ("all",)
    lists = [
        [part for part in perturbation.parts if phase == "all" or part.positions in ("all", phase)]
        for phase in phases
        for perturbation in several
    ]
    with torch.inference_mode(False):  # the record's tensors may outlive an inference mode of the caller
        edits = {
            site.place: [
                edits_of([[(part.mode, *_own(part, site, expert)) for part in together] for together in lists], device)
                for expert in range(site.site.experts)
            ]
            for site, device in ((site, device_of(site.layer)) for site in sites)
        }
        places = {site.place: site for site in sites}
        firing = Firing(
            each,
            edits,
            lambda place, rows, tokens: places[place].saw(rows, tokens),
            places if ffn.ranks > 1 else (),
        )
    seen = sites if see is None else ffn.parts
    if not seen:
        yield firing
        return
    backend = ops.resolved(backend, *{device_of(site.layer) for site in seen})
    edited = _Editor(firing, choice, prompt_length, len(several) if len(phases) > 1 else None, backend, see)
    with contextlib.ExitStack() as stack:
        stack.enter_context(traced_anew())
        if choice is not None or len(phases) > 1:
            stack.enter_context(edited.watching(decoder_of(model)))
        stack.enter_context(activations_seen(seen, edited))
        yield firing
    firing.check()


def _own(part: Perturbation, site: ModelSite, expert: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and values of a perturbation among those neurons of an expert that this rank computes."""
    return part.within(site.site.layer, site.first + expert * site.site.width + site.own_first, site.own_width)


class _Editor:
    """Edit activations as the model computes them, and count what changes in `firing`."""

    def __init__(
        self,
        firing: Firing,
        choice: Tensor | None,
        prompt_length: int | None,
        generated: int | None,
        backend: str,
        see: Callable[[ModelSite, int, Tensor, Tensor | None], None] | None,
    ):
        self._firing, self._choice, self._prompt_length, self._backend = firing, choice, prompt_length, backend
        self._see = see
        # Added to a perturbation's number at generated positions; None where a perturbation is for all positions.
        self._generated = generated
        self._chosen: Tensor | None = None  # int64 [B, T], number of the perturbation at every position of the pass

    @contextlib.contextmanager
    def watching(self, decoder: nn.Module) -> Iterator[None]:
        """Note for every pass which perturbation is for which position."""

        def note(module, arguments, keywords):
            ids = keywords.get("input_ids", arguments[0] if arguments else None)
            tokens = ids if ids is not None else keywords["inputs_embeds"]
            batch, length = tokens.shape[:2]
            choice = torch.zeros(batch, dtype=torch.int64) if self._choice is None else self._choice.cpu()
            self._chosen = choice[:, None].expand(batch, length)
            if self._generated is not None:
                cache = keywords.get("past_key_values")
                before = 0 if cache is None else cache.get_seq_length()
                prompt = (before or length) if self._prompt_length is None else self._prompt_length
                rise = (torch.arange(before, before + length) >= prompt) * self._generated
                self._chosen = torch.where(self._chosen < 0, -1, self._chosen + rise)
            self._chosen = self._chosen.to(tokens.device)

        handle = decoder.register_forward_pre_hook(note, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def __call__(self, site: ModelSite, expert: int, x: Tensor, rows: Tensor | None) -> Tensor:
        """Edit the activations x [..., I] of some rows of a batch."""
        choice = None
        if self._chosen is not None:
            choice = self._chosen.to(x.device)
            choice = (choice.reshape(x.shape[:-1]) if rows is None else choice.reshape(-1)[rows]).contiguous()
        if site.place in self._firing.neurons:
            x = self._firing.edit(site.place, expert, x, choice, self._backend)
        if self._see is not None:
            self._see(site, expert, x, rows)
        return x


def edits_of(lists: list[list[tuple[str, np.ndarray, np.ndarray]]], device: torch.device) -> ops.Edits:
    """Join the parts (mode, indices, values) of several perturbations into one list of edits."""
    parts = [part for together in lists for part in together]
    arrays = (
        np.concatenate([np.zeros(0, np.int64), *(index for _, index, _ in parts)]),
        np.repeat([ops.MODES.index(mode) for mode, _, _ in parts], [len(index) for _, index, _ in parts]).astype(int),
        np.concatenate([np.zeros(0, np.float32), *(values for _, _, values in parts)]),
        np.cumsum([0, *(sum(len(index) for _, index, _ in together) for together in lists)]),
        np.zeros(len(lists), np.int64),
    )
    return ops.Edits(*(torch.from_numpy(array).to(device) for array in arrays))


def _check(ffn: FFN, perturbations: list[Perturbation]) -> None:
    widths = np.diff(ffn.sites.starts)
    for perturbation in perturbations:
        for part in perturbation.parts:
            if part.mode not in ops.MODES:
                raise LapeError(f"mode: {part.mode!r} is unknown; use one of {', '.join(ops.MODES)}")
            if part.positions not in POSITIONS:
                raise LapeError(f"positions: {part.positions!r} is unknown; use one of {', '.join(POSITIONS)}")
            for layer, index in part.indices.items():
                index = np.asarray(index)
                if len(index) and index.dtype.kind not in "iu":
                    raise LapeError(f"perturbation: indices of {layer_label(layer)} are no integers; pass such")
                if isinstance(part.values, Mapping) and np.shape(part.values.get(layer)) != index.shape:
                    raise LapeError(
                        f"perturbation: {layer_label(layer)} has no value for each of its indices; pass as many"
                    )
                known = 0 <= layer < len(widths)
                if not known or (len(index) and not (index.min() >= 0 and index.max() < widths[layer])):
                    raise LapeError(
                        f"perturbation: {layer_label(layer)} or one of its neurons is outside the model's {ffn.sites}; "
                        "select neurons of this model"
                    )
        for layer in {layer for part in perturbation.parts for layer in part.indices}:
            index = np.concatenate([part.indices.get(layer, ()) for part in perturbation.parts])
            if len(np.unique(index)) != len(index):
                raise LapeError(f"perturbation: a neuron of {layer_label(layer)} comes twice; name each once")
