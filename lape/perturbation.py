"""Perturbations: neurons switched off or steered during a forward pass.

A perturbation is data and a context manager that proves that it fired.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lape import ops, reference
from lape.errors import LapeError
from lape.ffn import FFN, activation_hooks, check_not_replaced, device_of, find_ffn, recompiled
from lape.fused import stepped
from lape.neurons import Neurons

logger = logging.getLogger(__name__)

POSITIONS = ("all", "prompt", "generated")


@dataclass(frozen=True)
class Perturbation:
    """What happens to some activations of every token.

    Attributes:
        indices: layer -> int64 indices of neurons, each once; expert * width + index in a mixture of experts.
        mode: "set" to the value, "max" of the value and the activation, "add" the value, "scale" by it.
        values: one value for all, or layer -> float32 values beside the indices.
    """

    indices: Mapping[int, np.ndarray]
    mode: str = "set"
    values: float | Mapping[int, np.ndarray] = 0.0

    def within(self, layer: int, first: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices and values of the neurons `first` ... `first + width - 1` of a layer, counted from `first`."""
        index = np.asarray(self.indices.get(layer, ()), np.int64)
        values = self.values[layer] if isinstance(self.values, Mapping) and len(index) else self.values
        values = np.broadcast_to(np.asarray(values, np.float32), index.shape)
        inside = (index >= first) & (index < first + width)
        return index[inside] - first, values[inside]


class Firing:
    """What perturbations did, by layer; layers without a perturbed neuron do not appear.

    Attributes:
        neurons: layer -> number of neurons that are perturbed, over all perturbations.
    """

    def __init__(self, neurons: dict[int, int], edits: dict[int, list[ops.Edits]], ffn: FFN | None = None):
        self.neurons = neurons
        self._ffn = ffn  # None where nothing is perturbed
        self._edits = edits  # by layer and expert
        # On the device, so that nothing waits for it.
        self._seen = {
            layer: torch.zeros(2, dtype=torch.int64, device=edits[layer][0].index.device) for layer in neurons
        }

    @property
    def calls(self) -> dict[int, int]:
        """layer -> forward calls in which its activation was seen."""
        return {layer: int(seen[0]) for layer, seen in self._seen.items()}

    @property
    def rows(self) -> dict[int, int]:
        """layer -> tokens seen; in a mixture of experts, tokens of every expert that ran."""
        return {layer: int(seen[1]) for layer, seen in self._seen.items()}

    @property
    def changed(self) -> dict[int, int]:
        """layer -> activations that the perturbations changed, over tokens and neurons."""
        return {layer: sum(int(part.changed.sum()) for part in parts) for layer, parts in self._edits.items()}

    def _see(self, layer: int, rows: int) -> None:
        self._seen[layer][0] += 1
        self._seen[layer][1] += rows

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
            if not calls[layer] or (rows is not None and not self._ffn.saw(seen[layer], rows)):
                fed = "at least 1" if rows is None else rows
                raise LapeError(
                    f"layer {layer}: the perturbation fired on {seen[layer]} tokens of {fed}; the model bypasses "
                    "its activation module: load it without fused kernels"
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
    positions: str = "all",
    backend: str = "extension",
) -> Iterator[Firing]:
    """Perturb activations, before the up projection multiplies them, during the block; the hooks go in any case.

    Args:
        model: a Hugging Face causal LM.
        perturbations: one, or several of which each sequence of a batch takes one.
        choice: int64 [B], the perturbation of each sequence of the batches that follow, negative for none; None:
            the first, for all.
        positions: "all"; "prompt", the passes that start a sequence; "generated", those that go on from a cache. A
            model that generates without a cache computes prompt and answer anew in each pass: all of it is prompt.
        backend: "extension" or "reference".

    Yields:
        the record of what fired, unchecked.

    Raises:
        LapeError: the architecture is not known, a layer or neuron that the model does not have, an unknown setting.
    """
    if positions not in POSITIONS:
        raise LapeError(f"positions: {positions!r} is unknown; use one of {', '.join(POSITIONS)}")
    ffn = find_ffn(model)
    check_not_replaced(ffn)
    several = [perturbations] if isinstance(perturbations, Perturbation) else list(perturbations)
    _check(ffn, several)
    layers = sorted({layer for perturbation in several for layer, index in perturbation.indices.items() if len(index)})
    with torch.inference_mode(False):  # its record may outlive the mode in which it is made
        edits = {
            layer: [
                _edits(
                    [(p.mode, *p.within(layer, expert * ffn.width, ffn.width)) for p in several],
                    device_of(ffn.layers[layer]),
                )
                for expert in range(ffn.experts)
            ]
            for layer in layers
        }
        firing = Firing({layer: sum(len(p.indices.get(layer, ())) for p in several) for layer in layers}, edits, ffn)
    if not layers:
        yield firing
        return
    edited = _Editor(firing, choice, positions, backend)
    with contextlib.ExitStack() as stack:
        stack.enter_context(recompiled(model.get_decoder()))
        if choice is not None or positions != "all":
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

    def __init__(self, firing: Firing, choice: Tensor | None, positions: str, backend: str):
        self._firing, self._choice, self._positions, self._backend = firing, choice, positions, backend
        self._active, self._shape = True, (0, 0)

    @contextlib.contextmanager
    def watching(self, decoder: nn.Module) -> Iterator[None]:
        """Note the shape of every batch, and whether it starts its sequences or goes on."""

        def note(module, arguments, keywords):
            ids = keywords.get("input_ids", arguments[0] if arguments else None)
            tokens = ids if ids is not None else keywords["inputs_embeds"]
            self._shape = tokens.shape[:2]
            if self._positions != "all":
                cache = keywords.get("past_key_values")
                started = cache is not None and cache.get_seq_length() > 0
                self._active = started == (self._positions == "generated")

        handle = decoder.register_forward_pre_hook(note, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def __call__(self, layer: int, expert: int, x: Tensor, rows: Tensor | None) -> Tensor:
        """The activations x [..., I] of some rows of a batch, edited."""
        if layer not in self._firing.neurons:
            return x
        self._firing._see(layer, x.numel() // x.shape[-1])
        if not self._active:
            return x
        edits, choice = self._firing._edits[layer][expert], None
        if self._choice is not None:
            choice = self._choice.to(x.device)[:, None].expand(self._shape)
            choice = (choice.reshape(x.shape[:-1]) if rows is None else choice.reshape(-1)[rows]).contiguous()
        if torch.is_grad_enabled() and x.requires_grad:
            # Out of place and in plain torch: the activation function needs its output for the gradient.
            ops.ffn_edit(x.detach().clone(), edits, choice, self._backend)  # counts what it changes
            return reference.edited(x, *edits[:4], choice)
        ops.ffn_edit(x, edits, choice, self._backend)
        return x


def _edits(parts: list[tuple[str, np.ndarray, np.ndarray]], device: torch.device) -> ops.Edits:
    """Mode, indices and values of several perturbations as one list."""
    sizes = [len(index) for _, index, _ in parts]
    arrays = (
        np.concatenate([index for _, index, _ in parts]),
        np.repeat([ops.MODES.index(mode) for mode, _, _ in parts], sizes),
        np.concatenate([values for _, _, values in parts]),
        np.cumsum([0, *sizes]),
        np.zeros(len(parts), np.int64),
    )
    return ops.Edits(*(torch.from_numpy(array).to(device) for array in arrays))


def _check(ffn: FFN, perturbations: list[Perturbation]) -> None:
    layers, neurons = ffn.shape
    for perturbation in perturbations:
        if perturbation.mode not in ops.MODES:
            raise LapeError(f"mode: {perturbation.mode!r} is unknown; use one of {', '.join(ops.MODES)}")
        for layer, index in perturbation.indices.items():
            index = np.asarray(index)
            if len(index) and (index.dtype.kind not in "iu" or len(np.unique(index)) != len(index)):
                raise LapeError(f"perturbation: indices of layer {layer} are no integers, each once; pass such")
            if isinstance(perturbation.values, Mapping) and np.shape(perturbation.values.get(layer)) != index.shape:
                raise LapeError(f"perturbation: layer {layer} has no value for each of its indices; pass as many")
            if not 0 <= layer < layers or (len(index) and not (index.min() >= 0 and index.max() < neurons)):
                raise LapeError(
                    f"perturbation: layer {layer} or one of its neurons is outside the model's {layers} layers x "
                    f"{neurons} neurons; select neurons of this model"
                )
