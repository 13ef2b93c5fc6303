"""Record activation statistics while a model runs, inside its FFNs' own GLU step where possible, else by hooks."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.kernels import ops, reference
from lape.machine import ranks
from lape.model.activations import activations_seen
from lape.model.decoder import decoder_of, device_of, input_device
from lape.model.ffn import find_ffn
from lape.model.fused import fused_activations, stepped, without_projection
from lape.model.model_sites import FFN, ModelSite, why_unseen
from lape.model.patching import check_not_replaced, traced_anew
from lape.model.sites import layer_label
from lape.statistics.sums import FRACTION_BITS, ActivationStatistics, carried


class _DeviceSums:
    """The sums of n sites of one device and size, [n, E, ...], so that the sums of a site and expert lie together."""

    def __init__(self, sites: list[ModelSite], groups: int, thresholds: Sequence[float], device: torch.device):
        self.sites = sites
        shape, width = (len(sites), sites[0].site.experts), sites[0].own_width

        def zeros(*last: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(*shape, *last, dtype=dtype, device=device)

        self.count = zeros(groups, width)
        self.above = zeros(len(thresholds), groups, width)
        self.rows = zeros(groups)
        # Floating-point sums of the running batch, in the order of its rows. Below, exact sums of the earlier batches.
        self.moments = zeros(2, groups, width, dtype=torch.float64)
        self.wholes, self.fractions = zeros(2, groups, width), zeros(2, groups, width)
        self.broken = torch.zeros(len(sites), dtype=torch.bool, device=device)
        self.parts = [
            [
                ops.Sums(
                    self.count[place, expert],
                    *self.moments[place, expert],
                    self.above[place, expert],
                    self.rows[place, expert],
                    tuple(thresholds),
                )
                for expert in range(shape[1])
            ]
            for place in range(len(sites))
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
        fused: whether the statistics of all sites are computed inside the FFN's own GLU step, not where the activation
            is seen.
    """

    def __init__(
        self, ffn: FFN, groups: int, thresholds: Sequence[float], activations: Mapping[ModelSite, str], backend: str
    ):
        self.group: Tensor | None = None
        self.fused = len(activations) == len(ffn.parts)
        self._ffn, self._activations, self._backend = ffn, activations, backend
        self._thresholds = tuple(float(threshold) for threshold in thresholds)
        alike: dict[tuple, list[ModelSite]] = {}
        for part in ffn.parts:
            alike.setdefault((device_of(part.layer), part.site.experts, part.own_width), []).append(part)
        self._devices = [_DeviceSums(sites, groups, self._thresholds, kind[0]) for kind, sites in alike.items()]
        self._sums = {site: part for sums in self._devices for site, part in zip(sums.sites, sums.parts, strict=True)}

    def step(self, site: ModelSite, expert: int, gate: Tensor, up: Tensor | None, rows: Tensor | None) -> Tensor:
        """Compute and record the GLU step of one expert of a site; see `lape.model.fused.Step`."""
        sums, group, activation = self._sums[site][expert], self._group(gate, rows), self._activations[site]
        if torch.is_grad_enabled() and gate.requires_grad:
            active = reference.FUNCTIONS[activation](gate)
            ops.activation_stats(active.detach(), sums, group, self._backend)
            return active if up is None else active * up
        # In a GLU the gate may be overwritten: it is the output of a projection, and nothing else reads it.
        return ops.glu_stats(gate, up, activation, sums, group, self._backend, overwrite=up is not None)

    def observe(self, site: ModelSite, expert: int, activation: Tensor, rows: Tensor | None) -> None:
        """Record an activation; see `lape.model.activations.See`."""
        group = self._group(activation, rows)
        ops.activation_stats(activation.detach(), self._sums[site][expert], group, self._backend)

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

        def of_sites(name: str, of_group: Callable[[Tensor], Tensor]) -> list[np.ndarray]:
            """An array of every site, [E, ...] or []."""
            by_site = {}
            for sums in self._devices:
                by_site.update(zip(sums.sites, of_group(getattr(sums, name)).cpu().numpy(), strict=True))
            return [by_site[part] for part in self._ffn.parts]

        def of_neurons(name: str, of_group: Callable[[Tensor], Tensor]) -> np.ndarray:
            """Join arrays [E, ..., I] over sites to [..., N], and over the ranks that share each site."""
            own = of_sites(name, of_group)
            if self._ffn.ranks > 1:
                own = [np.concatenate(parts, axis=-1) for parts in zip(*ranks.gathered(own), strict=True)]
            return np.concatenate([expert for site in own for expert in site], axis=-1)

        sites = self._ffn.sites
        rows = of_sites("rows", lambda x: x[:, :, group])
        # A fault in the columns of one rank counts as a fault of all ranks, so that all of them end.
        self._check(rows, tokens, np.any(ranks.gathered(of_sites("broken", lambda x: x)), axis=0))
        # Each [2 (total, square), N] -> [2 (total, square), 2 (whole, fraction), N]
        pairs = np.stack([of_neurons(name, lambda x: x[..., group, :]) for name in ("wholes", "fractions")], axis=1)
        totals, squares = (carried(pair).reshape(2, *sites.shape) for pair in pairs)
        above = of_neurons("above", lambda x: x[..., group, :])
        return ActivationStatistics(
            sites=sites,
            count=of_neurons("count", lambda x: x[:, :, group]).reshape(sites.shape),
            tokens=tokens,
            rows=np.concatenate(rows).reshape(sites.block_shape),
            totals=totals,
            squares=squares,
            above=above.reshape(len(self._thresholds), *sites.shape),
            thresholds=self._thresholds,
        )

    def _check(self, rows: list[np.ndarray], tokens: int, broken: np.ndarray) -> None:
        for part, seen in zip(self._ffn.parts, rows, strict=True):
            if not part.saw(int(seen.sum()), tokens):
                raise LapeError(
                    f"{layer_label(part.site.layer)}: its activation was seen at {seen.sum()} of {tokens} tokens; "
                    f"{why_unseen(part.place, int(seen.sum()), tokens)}"
                )
        if broken.any():
            layers = sorted({part.site.layer for part, fault in zip(self._ffn.parts, broken, strict=True) if fault})
            raise LapeError(
                f"activations are NaN or infinite in {', '.join(map(layer_label, layers))}; set the model's dtype to "
                "float32 or bfloat16, or check its weights"
            )


@contextlib.contextmanager
def record(
    model: nn.Module,
    backend: str = "auto",
    groups: int = 1,
    thresholds: Sequence[float] = (),
    fused: bool = True,
    complete: bool = True,
) -> Iterator[ActivationRecorder]:
    """Record the activation of every FFN neuron during the forward passes inside the block.

    Args:
        model: a Hugging Face causal LM.
        backend: "extension" (C++ or CUDA, by the tensor's device), "reference" (plain torch), or "auto": the extension
            where it is built, else the reference, with one warning.
        groups: kinds of tokens that are kept apart, such as languages; see `ActivationRecorder.group`.
        thresholds: at most 4. Tokens whose activation is above each threshold are counted, besides those above zero.
        fused: True lets the kernel compute the FFN's GLU step where that is possible; the model's output has the same
            bits. False uses hooks on the activation modules.
        complete: False computes nothing behind the last layer's activation. The model's output is then of no use.

    Yields:
        the recorder; call its `end_batch()` after each pass and `statistics(tokens)` after the last.

    Raises:
        LapeError: the architecture is not known, or the backend is "extension" and it is not built.
    """
    ffn = find_ffn(model)
    check_not_replaced(ffn.layers)
    backend = ops.resolved(backend, *{device_of(part.layer) for part in ffn.parts})
    activations = fused_activations(ffn) if fused else {}
    # Where the last layer has several sites, one may read what another writes.
    last = ffn.parts[-1] if not complete and ffn.parts[-1].alone else None
    with torch.inference_mode(False):  # the recorder's tensors may outlive an inference mode of the caller
        recorder = ActivationRecorder(ffn, groups, thresholds, activations, backend)
    with contextlib.ExitStack() as stack:
        stack.enter_context(traced_anew())
        stack.enter_context(stepped(list(activations), recorder.step, last))
        stack.enter_context(activations_seen((part for part in ffn.parts if part not in activations), recorder.observe))
        # A fused GLU stops by itself.
        if last is not None and not last.paths.experts and not (last in activations and last.paths.gate):
            stack.enter_context(without_projection(last))
        yield recorder


@contextlib.contextmanager
def counting(
    model: nn.Module,
    backend: str = "auto",
    thresholds: Sequence[float] = (),
    skip_first: int = 0,
    fused: bool = True,
) -> Iterator[Callable[..., ActivationStatistics]]:
    """Yield a function that counts batches, to be called several times. Nothing behind the last activation is run.

    The function takes batches and returns their statistics. A batch has token ids [B, T] without padding, as a tensor,
    an array or nested lists. A second argument, `on_batch`, is called with the number of tokens of each batch.

    Args:
        model, backend, thresholds, fused: see `record`.
        skip_first: number of positions at the start of every row that are not counted, such as 1 for BOS.
    """
    decoder = decoder_of(model)
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
