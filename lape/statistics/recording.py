"""Record activation statistics while a model runs, inside its FFNs' own GLU step where possible, else by hooks."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.kernels import ops, reference
from lape.machine import ranks
from lape.model.ffn import FFN, activation_hooks, check_not_replaced, device_of, find_ffn, input_device, traced_anew
from lape.model.fused import fused_activation, stepped, without_last_projection
from lape.statistics.sums import FRACTION_BITS, ActivationStatistics, carried


class _DeviceSums:
    """The sums of the n layers of one device, [n, E, ...], so that the sums of a layer and expert lie together."""

    def __init__(self, layers: list[int], ffn: FFN, groups: int, thresholds: Sequence[float], device: torch.device):
        self.layers = layers
        shape = (len(layers), ffn.experts)

        def zeros(*last: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(*shape, *last, dtype=dtype, device=device)

        self.count = zeros(groups, ffn.own_width)
        self.above = zeros(len(thresholds), groups, ffn.own_width)
        self.rows = zeros(groups)
        # Floating-point sums of the running batch, in the order of its rows. Below, exact sums of the earlier batches.
        self.moments = zeros(2, groups, ffn.own_width, dtype=torch.float64)
        self.wholes, self.fractions = zeros(2, groups, ffn.own_width), zeros(2, groups, ffn.own_width)
        self.broken = torch.zeros(len(layers), dtype=torch.bool, device=device)
        self.parts = [
            [
                ops.Sums(
                    self.count[place, expert],
                    *self.moments[place, expert],
                    self.above[place, expert],
                    self.rows[place, expert],
                    tuple(thresholds),
                )
                for expert in range(ffn.experts)
            ]
            for place in range(len(layers))
        ]

    def settle(self) -> None:
        """Add the running batch's sums to the exact sums, which do not depend on how batches are grouped."""
        self.broken |= ~(self.moments.abs() < 2.0**62).flatten(1).all(1)  # true for NaN too
        whole = self.moments.floor()
        self.wholes += whole.to(torch.int64)
        self.fractions += self.moments.sub_(whole).mul_(2.0**FRACTION_BITS).round_().to(torch.int64)
        self.moments.zero_()


class ActivationRecorder:
    """Adds up activations on the model's devices while `record` is active.

    Attributes:
        group: int64 [B, T] or None, to be set before a forward pass. It holds the group (language) of each token, and a
            negative number for a token that is left out. None puts all tokens into group 0.
        fused: whether the statistics are computed inside the FFN's own GLU step. False: by a hook on the activation.
    """

    def __init__(self, ffn: FFN, groups: int, thresholds: Sequence[float], activation: str | None, backend: str):
        self.group: Tensor | None = None
        self.fused = activation is not None
        self._ffn, self._activation, self._backend = ffn, activation, backend
        self._thresholds = tuple(float(threshold) for threshold in thresholds)
        places: dict[torch.device, list[int]] = {}
        for number, layer in enumerate(ffn.layers):
            places.setdefault(device_of(layer), []).append(number)
        self._devices = [
            _DeviceSums(layers, ffn, groups, self._thresholds, device) for device, layers in places.items()
        ]
        parts = {layer: part for sums in self._devices for layer, part in zip(sums.layers, sums.parts, strict=True)}
        self._sums = [parts[layer] for layer in range(len(ffn.layers))]

    def step(self, layer: int, expert: int, gate: Tensor, up: Tensor | None, rows: Tensor | None) -> Tensor:
        """Compute and record the GLU step of one expert of a layer; see `lape.model.fused.Step`."""
        sums, group = self._sums[layer][expert], self._group(gate, rows)
        if torch.is_grad_enabled() and gate.requires_grad:
            active = reference.FUNCTIONS[self._activation](gate)
            ops.activation_stats(active.detach(), sums, group, self._backend)
            return active if up is None else active * up
        # In a GLU the gate may be overwritten: it is the output of a projection, and nothing else reads it.
        return ops.glu_stats(gate, up, self._activation, sums, group, self._backend, overwrite=up is not None)

    def observe(self, layer: int, activation: Tensor) -> None:
        """Record the output of a layer's activation module."""
        ops.activation_stats(activation.detach(), self._sums[layer][0], self._group(activation, None), self._backend)

    def _group(self, x: Tensor, rows: Tensor | None) -> Tensor | None:
        if self.group is None:
            return None
        group = self.group.to(x.device)
        return group.reshape(x.shape[:-1]) if rows is None else group.reshape(-1)[rows]

    def end_batch(self) -> None:
        """Close the batch; to be called after each forward pass. Sums are exact over batches, not within one."""
        for sums in self._devices:
            sums.settle()

    def reset(self) -> None:
        """Forget what was recorded."""
        for sums in self._devices:
            for tensor in (sums.count, sums.above, sums.rows, sums.moments, sums.wholes, sums.fractions, sums.broken):
                tensor.zero_()

    def statistics(self, tokens: int, group: int = 0) -> ActivationStatistics:
        """The statistics of a group, checked against the number of the group's tokens that the model was fed.

        Raises:
            LapeError: a layer saw another number of tokens because its hook did not fire, or an activation was NaN or
                infinite.
        """

        def of_layers(name: str, of_group: Callable[[Tensor], Tensor]) -> np.ndarray:
            """Join an array whose first axis is the layer over devices."""
            by_layer = {}
            for sums in self._devices:
                by_layer.update(zip(sums.layers, of_group(getattr(sums, name)).cpu().numpy(), strict=True))
            return np.stack([by_layer[layer] for layer in range(len(self._ffn.layers))])

        def of_neurons(name: str, of_group: Callable[[Tensor], Tensor]) -> np.ndarray:
            """Join an array whose last axis is the neuron over devices and over the ranks that share each layer."""
            own = of_layers(name, of_group)
            return np.concatenate(ranks.gathered(own), axis=-1) if self._ffn.ranks > 1 else own

        rows = of_layers("rows", lambda x: x[:, :, group])  # [L, E]
        # A fault in the columns of one rank counts as a fault of all ranks, so that all of them end.
        self._check(rows, tokens, np.any(ranks.gathered(of_layers("broken", lambda x: x)), axis=0))
        layers = len(rows)
        # Each [L, E, 2 (total, square), I] -> [2 (total, square), 2 (whole, fraction), L, E * I]
        pairs = np.stack([of_neurons(name, lambda x: x[..., group, :]) for name in ("wholes", "fractions")])
        totals, squares = pairs.transpose(3, 0, 1, 2, 4).reshape(2, 2, layers, -1)
        above = of_neurons("above", lambda x: x[..., group, :])  # [L, E, K, I]
        return ActivationStatistics(
            count=of_neurons("count", lambda x: x[:, :, group]).reshape(layers, -1),
            tokens=tokens,
            rows=rows,
            totals=carried(totals),
            squares=carried(squares),
            above=above.transpose(2, 0, 1, 3).reshape(len(self._thresholds), *self._ffn.shape),
            thresholds=self._thresholds,
        )

    def _check(self, rows: np.ndarray, tokens: int, broken: np.ndarray) -> None:
        for layer, seen in enumerate(rows.sum(axis=1)):
            if not self._ffn.saw(int(seen), tokens):
                raise LapeError(
                    f"layer {layer}: its activation was seen at {seen} of {tokens} tokens; the model "
                    "bypasses its activation module; load it without fused kernels"
                )
        if broken.any():
            raise LapeError(
                f"activations are NaN or infinite in layers {', '.join(map(str, np.flatnonzero(broken)))}; "
                "set the model's dtype to float32 or bfloat16, or check its weights"
            )


@contextlib.contextmanager
def record(
    model: nn.Module,
    backend: str = "extension",
    groups: int = 1,
    thresholds: Sequence[float] = (),
    fused: bool = True,
    complete: bool = True,
) -> Iterator[ActivationRecorder]:
    """Record the activation of every FFN neuron during the forward passes inside the block.

    Args:
        model: a Hugging Face causal LM.
        backend: "extension" (C++ or CUDA, by the tensor's device) or "reference" (plain torch).
        groups: kinds of tokens that are kept apart, such as languages; see `ActivationRecorder.group`.
        thresholds: at most 4. Tokens whose activation is above each threshold are counted, besides those above zero.
        fused: True lets the kernel compute the FFN's GLU step where that is possible; the model's output has the same
            bits. False uses hooks on the activation modules.
        complete: False computes nothing behind the last layer's activation. The model's output is then of no use.

    Yields:
        the recorder; call its `end_batch()` after each pass and `statistics(tokens)` after the last.

    Raises:
        LapeError: the architecture is not known, or the extension is not built.
    """
    ffn = find_ffn(model)
    check_not_replaced(ffn)
    ops.active_backend(input_device(model), backend)
    # The experts of a mixture share one activation module. A hook on it does not know which expert runs.
    wanted = fused or bool(ffn.architecture.experts)
    activation = fused_activation(ffn) if wanted else None
    if ffn.architecture.experts and activation is None:
        raise LapeError(
            "experts: their activation function is unknown or has hooks; remove these, or add it to ACTIVATIONS in "
            "lape/kernels/ops.py"
        )
    with torch.inference_mode(False):  # the recorder's tensors may outlive an inference mode of the caller
        recorder = ActivationRecorder(ffn, groups, thresholds, activation, backend)
    with contextlib.ExitStack() as stack:
        stack.enter_context(traced_anew())
        if recorder.fused:
            stack.enter_context(stepped(ffn, recorder.step, stop=not complete))
        else:
            stack.enter_context(activation_hooks(ffn, range(len(ffn.layers)), recorder.observe))
        if not complete and not (recorder.fused and ffn.architecture.gate):  # a fused GLU needs no hook to stop
            stack.enter_context(without_last_projection(ffn))
        yield recorder


def record_statistics(
    model: nn.Module,
    batches: Iterable[Tensor | np.ndarray],
    backend: str = "extension",
    on_batch: Callable[[int], None] = lambda tokens: None,
    **settings,
) -> ActivationStatistics:
    """Activation statistics of a model over batches of tokens. Nothing behind the last activation is computed.

    Args:
        model: a Hugging Face causal LM.
        batches: token ids without padding, integers [B, T] as tensors, arrays or nested lists.
        on_batch: called with the number of tokens of each batch, for progress. A GPU may still be at work on them.
        backend, settings: see `counting`.

    Raises:
        LapeError: see `record` and `ActivationRecorder.statistics`.
    """
    with counting(model, backend, **settings) as count:
        return count(batches, on_batch)


@contextlib.contextmanager
def counting(
    model: nn.Module,
    backend: str = "extension",
    thresholds: Sequence[float] = (),
    skip_first: int = 0,
    fused: bool = True,
) -> Iterator[Callable[..., ActivationStatistics]]:
    """Yield a function of (batches, on_batch) that does what `record_statistics` does, to be called several times.

    Args:
        model, backend, thresholds, fused: see `record`.
        skip_first: number of positions at the start of every row that are not counted, such as 1 for BOS.
    """
    decoder = model.get_decoder()
    device = input_device(model)
    with record(model, backend, thresholds=thresholds, fused=fused, complete=False) as recorder:

        @torch.inference_mode()
        def count(
            batches: Iterable[Tensor | np.ndarray], on_batch: Callable[[int], None] = lambda tokens: None
        ) -> ActivationStatistics:
            recorder.reset()
            counted = 0
            for batch in batches:
                # A copy from pinned memory does not wait: the next batch is queued while the GPU runs this one.
                ids = torch.as_tensor(batch).to(device, non_blocking=True)
                if skip_first and (recorder.group is None or recorder.group.shape != ids.shape):
                    recorder.group = torch.zeros_like(ids)
                    recorder.group[:, :skip_first] = -1
                decoder(input_ids=ids, use_cache=False)
                recorder.end_batch()
                counted += ids.shape[0] * max(0, ids.shape[1] - skip_first)
                on_batch(ids.numel())
            return recorder.statistics(counted)

        yield count
