"""Perturbations: neurons switched off or steered during a forward pass.

A perturbation is data and a context manager that proves that it fired.
"""

import contextlib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.kernels import ops, reference
from lape.machine import ranks
from lape.model.ffn import FFN, activation_hooks, check_not_replaced, device_of, find_ffn, recompiled
from lape.model.fused import stepped
from lape.neurons.table import Neurons

logger = logging.getLogger(__name__)

POSITIONS = ("all", "prompt", "generated")
# Where something is perturbed: a decoder layer's activation module, or a linear layer, by layer and name.
Place = int | tuple[int, str]


@dataclass(frozen=True)
class Perturbation:
    """What happens to some activations of every token, of the prompt's or of the generated ones.

    Two that share no neuron add up to one: `deactivation + steering`.

    Attributes:
        indices: layer -> int64 indices of neurons, each once; expert * width + index in a mixture of experts.
        mode: "set" to the value, "max" of the value and the activation, "add" the value, "scale" by it.
        values: one value for all, or layer -> float32 values beside the indices.
        positions: "all", "prompt" or "generated".
        others: what it was added to.
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

    def within(self, layer: int, first: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices and values of the neurons `first` ... `first + width - 1` of a layer, counted from `first`."""
        index = np.asarray(self.indices.get(layer, ()), np.int64)
        values = self.values.get(layer, 0.0) if isinstance(self.values, Mapping) else self.values
        values = np.broadcast_to(np.asarray(values, np.float32), index.shape)
        inside = (index >= first) & (index < first + width)
        return index[inside] - first, values[inside]


class Firing:
    """What perturbations did, by layer; layers without a perturbed neuron do not appear.

    Where linear layers are overwritten, these take the layers' place, by (layer, name), and units the neurons'.

    Attributes:
        neurons: layer -> number of neurons that are perturbed, over all perturbations and ranks.
    """

    def __init__(
        self,
        neurons: dict[Place, int],
        edits: dict[Place, list[ops.Edits]],
        ffn: FFN | None = None,
        spread: Collection[Place] = (),
    ):
        self.neurons = neurons
        self._spread = spread  # where each rank edits its own columns
        self._ffn = ffn  # None where nothing is perturbed
        self._edits = edits  # by layer and expert
        # On the device, so that nothing waits for it.
        self._seen = {
            layer: torch.zeros(2, dtype=torch.int64, device=edits[layer][0].index.device) for layer in neurons
        }

    @property
    def calls(self) -> dict[Place, int]:
        """layer -> forward calls in which its activation was seen."""
        return {layer: int(seen[0]) for layer, seen in self._seen.items()}

    @property
    def rows(self) -> dict[Place, int]:
        """layer -> tokens seen; in a mixture of experts, tokens of every expert that ran."""
        return {layer: int(seen[1]) for layer, seen in self._seen.items()}

    @property
    def changed(self) -> dict[Place, int]:
        """layer -> activations that the perturbations changed, over tokens and neurons; all ranks must ask for it."""
        own = {layer: sum(int(part.changed.sum()) for part in parts) for layer, parts in self._edits.items()}
        parts = ranks.gathered(own)
        return {layer: sum(p[layer] for p in parts) if layer in self._spread else own[layer] for layer in own}

    def edit(self, layer: Place, expert: int, x: Tensor, choice: Tensor | None, backend: str) -> Tensor:
        """Edit x [..., I] and keep account of it; x itself, unless a gradient is to flow through it."""
        self._seen[layer][0] += 1
        self._seen[layer][1] += x.numel() // x.shape[-1]
        edits = self._edits[layer][expert]
        if torch.is_grad_enabled() and x.requires_grad:
            # Out of place and in plain torch: what comes before needs its output for the gradient.
            ops.ffn_edit(x.detach().clone(), edits, choice, backend)  # counts what it changes
            return reference.edited(x, *edits[:4], choice)
        ops.ffn_edit(x, edits, choice, backend)
        return x

    def check(self, rows: int | None = None, must_change: bool = True) -> None:
        """Fail unless every hook fired.

        Args:
            rows: tokens that were fed; None to ask only for one call, as a short text may leave a ReLU neuron
                at zero already.
            must_change: with `rows`, fail where no activation was changed, too; neurons that were drawn by chance, as a
                control's, may never fire.

        Raises:
            LapeError: a layer was never called; with `rows`, a layer saw another number of tokens, or the
                perturbation changed no activation at all.
        """
        calls, seen = self.calls, self.rows
        for layer in self.neurons:
            tokens = seen[layer]
            if not calls[layer] or (rows is not None and not self._ffn.saw(tokens, rows)):
                fed = "at least 1" if rows is None else rows
                layer, module = layer if isinstance(layer, tuple) else (layer, "its activation module")
                raise LapeError(
                    f"layer {layer}: the perturbation fired on {tokens} tokens of {fed}; the model bypasses {module}: "
                    "load it without fused kernels"
                )
        if rows and must_change and self.neurons and not any(self.changed.values()):
            raise LapeError(f"the perturbation changed no activation in {rows} tokens; its neurons never fire here")


@contextlib.contextmanager
def deactivate(model: nn.Module, neurons: Neurons, sets: str | Sequence[str]) -> Iterator[Firing]:
    """Set the activations of some languages' neurons to zero during the block (section 3.2 of the paper).

    An empty set changes nothing; a warning says so.

    Args:
        model: a Hugging Face causal LM.
        neurons: selected neurons of a model of the same shape.
        sets: a language, or several.

    Yields:
        the record of what fired; it is checked when the block ends without an error.

    Raises:
        LapeError: no such set, neurons of another model's shape, or a hook that did not fire.

    Example:
        >>> with deactivate(model, neurons, "fr"):
        ...     model.generate(**prompt)
    """
    shape = (neurons.layers, neurons.neurons_per_layer)
    model_shape = find_ffn(model).shape
    if shape != model_shape:
        raise LapeError(
            f"{neurons.origin}: selected in a model of {shape[0]} layers x {shape[1]} neurons, this one has "
            f"{model_shape[0]} x {model_shape[1]}; select them on this model"
        )
    indices = neurons.indices(sets)
    if not indices:
        logger.warning("%s: the set %s is empty: nothing is deactivated", neurons.origin, sets)
    with perturbed(model, Perturbation(indices)) as firing:
        yield firing
    firing.check()


@contextlib.contextmanager
def perturbed(
    model: nn.Module,
    perturbations: Perturbation | Sequence[Perturbation],
    choice: Tensor | None = None,
    prompt_length: int | None = None,
    backend: str = "extension",
) -> Iterator[Firing]:
    """Perturb activations, before the up projection multiplies them, during the block; the hooks go in any case.

    Args:
        model: a Hugging Face causal LM.
        perturbations: one, or several of which each sequence of a batch takes one.
        choice: int64 [B], the perturbation of each sequence of the batches that follow, negative for none; None:
            the first, for all.
        prompt_length: positions of every sequence, padding on the left included, that are the prompt, which tells the
            prompt's from the generated ones with a cache and without. None: a pass that starts its sequences is
            prompt, one that goes on from a cache is generated.
        backend: "extension" or "reference".

    Yields:
        the record of what fired, unchecked.

    Raises:
        LapeError: the architecture is not known, a layer or neuron that the model does not have, two summands on one
            neuron, an unknown setting.
    """
    ffn = find_ffn(model)
    check_not_replaced(ffn)
    several = [perturbations] if isinstance(perturbations, Perturbation) else list(perturbations)
    parts = [part for perturbation in several for part in perturbation.parts]
    _check(ffn, several)
    layers = sorted({layer for part in parts for layer, index in part.indices.items() if len(index)})
    # Where positions matter, each perturbation becomes two: what it does to the prompt, then what to the rest.
    phases = ("prompt", "generated") if any(part.positions != "all" for part in parts) else ("all",)
    lists = [
        [part for part in perturbation.parts if phase == "all" or part.positions in ("all", phase)]
        for phase in phases
        for perturbation in several
    ]
    with torch.inference_mode(False):  # its record may outlive the mode in which it is made
        edits = {
            layer: [
                edits_of(
                    [
                        [
                            (part.mode, *part.within(layer, expert * ffn.width + ffn.own_first, ffn.own_width))
                            for part in together
                        ]
                        for together in lists
                    ],
                    device_of(ffn.layers[layer]),
                )
                for expert in range(ffn.experts)
            ]
            for layer in layers
        }
        neurons = {layer: sum(len(part.indices.get(layer, ())) for part in parts) for layer in layers}
        firing = Firing(neurons, edits, ffn, layers if ffn.ranks > 1 else ())
    if not layers:
        yield firing
        return
    edited = _Editor(firing, choice, prompt_length, len(several) if len(phases) > 1 else None, backend)
    with contextlib.ExitStack() as stack:
        stack.enter_context(recompiled(model.get_decoder()))
        if choice is not None or len(phases) > 1:
            stack.enter_context(edited.watching(model.get_decoder()))
        if ffn.architecture.experts:
            activations = ffn.modules("activation")

            def step(layer: int, expert: int, gate: Tensor, up: Tensor, rows: Tensor) -> Tensor:
                return edited(layer, expert, activations[layer](gate), rows) * up

            stack.enter_context(stepped(ffn, step, stop=False))
        else:
            stack.enter_context(activation_hooks(ffn, layers, lambda layer, x: edited(layer, 0, x, None)))
        yield firing


class _Editor:
    """Edits activations as they come, and keeps account in `firing`."""

    def __init__(
        self,
        firing: Firing,
        choice: Tensor | None,
        prompt_length: int | None,
        generated: int | None,
        backend: str,
    ):
        self._firing, self._choice, self._prompt_length, self._backend = firing, choice, prompt_length, backend
        self._generated = generated  # what a perturbation's number rises by at generated positions; None: nowhere
        self._chosen: Tensor | None = None  # int64 [B, T], the perturbation of every position of the pass

    @contextlib.contextmanager
    def watching(self, decoder: nn.Module) -> Iterator[None]:
        """Note the shape of every batch, and which of its positions are generated."""

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

    def __call__(self, layer: int, expert: int, x: Tensor, rows: Tensor | None) -> Tensor:
        """The activations x [..., I] of some rows of a batch, edited."""
        if layer not in self._firing.neurons:
            return x
        choice = None
        if self._chosen is not None:
            choice = self._chosen.to(x.device)
            choice = (choice.reshape(x.shape[:-1]) if rows is None else choice.reshape(-1)[rows]).contiguous()
        return self._firing.edit(layer, expert, x, choice, self._backend)


def edits_of(lists: list[list[tuple[str, np.ndarray, np.ndarray]]], device: torch.device) -> ops.Edits:
    """Mode, indices and values of the parts of several perturbations as one list."""
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
    layers, neurons = ffn.shape
    for perturbation in perturbations:
        for part in perturbation.parts:
            if part.mode not in ops.MODES:
                raise LapeError(f"mode: {part.mode!r} is unknown; use one of {', '.join(ops.MODES)}")
            if part.positions not in POSITIONS:
                raise LapeError(f"positions: {part.positions!r} is unknown; use one of {', '.join(POSITIONS)}")
            for layer, index in part.indices.items():
                index = np.asarray(index)
                if len(index) and index.dtype.kind not in "iu":
                    raise LapeError(f"perturbation: indices of layer {layer} are no integers; pass such")
                if isinstance(part.values, Mapping) and np.shape(part.values.get(layer)) != index.shape:
                    raise LapeError(f"perturbation: layer {layer} has no value for each of its indices; pass as many")
                if not 0 <= layer < layers or (len(index) and not (index.min() >= 0 and index.max() < neurons)):
                    raise LapeError(
                        f"perturbation: layer {layer} or one of its neurons is outside the model's {layers} layers x "
                        f"{neurons} neurons; select neurons of this model"
                    )
        for layer in {layer for part in perturbation.parts for layer in part.indices}:
            index = np.concatenate([part.indices.get(layer, ()) for part in perturbation.parts])
            if len(np.unique(index)) != len(index):
                raise LapeError(f"perturbation: a neuron of layer {layer} comes twice; name each once")
