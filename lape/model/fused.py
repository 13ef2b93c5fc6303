"""Run a model's FFNs with another GLU step, so that a fused kernel can compute it.

The GLU step is act(gate) * up. The projections around the step stay the model's own.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from lape.kernels import ops, reference
from lape.model.decoder import device_of
from lape.model.experts import See, experts_forward, gated, is_plain
from lape.model.model_sites import FFN, ModelSite
from lape.model.modules import output_width
from lape.model.patching import replaced_forwards

# (site, expert, gate [..., I], up [..., I] or None, rows) -> act(gate) * up. rows are the numbers of the tokens that
# gate holds; None for all tokens of the pass.
Step = Callable[[ModelSite, int, Tensor, Tensor | None, Tensor | None], Tensor]


def activation_name(module: nn.Module, dtype: torch.dtype, device: torch.device) -> str | None:
    """The name in `lape.kernels.ops.ACTIVATIONS` of the function that a module computes; None for another function.

    The module and the functions are compared on 4,096 values.
    """
    samples = torch.linspace(-12, 12, 2**12, dtype=dtype, device=device)
    with torch.no_grad():
        output = module.forward(samples.clone())  # calls no hooks
        return next((name for name in ops.ACTIVATIONS if torch.equal(output, reference.FUNCTIONS[name](samples))), None)


def fused_activations(ffn: FFN) -> dict[ModelSite, str]:
    """The activation function of each site that can run with a fused step.

    Three kinds of sites are left as they are. One has an activation function that the kernels do not know. One computes
    something else than a plain GLU: on a few random rows, its own forward pass and a forward pass with a plain GLU step
    differ in some bit. One has hooks on its activation module, which a fused step would not call.
    """
    found, names, plain = {}, {}, {}
    for part in ffn.parts:
        if not part.paths.activation:
            continue
        activation = part.module("activation")
        if activation._forward_hooks or activation._forward_pre_hooks:
            continue
        weights = (weight.dtype for weight in part.layer.parameters() if weight.is_floating_point())
        kind = type(activation), next(weights), device_of(part.layer)
        if kind not in names or list(activation.parameters()):  # the function of parameters is each module's own
            names[kind] = activation_name(activation, *kind[1:])
        if names[kind] is None:
            continue
        if part.paths.experts:
            fits = is_plain(part.module("experts"))
        elif part.paths.gate:
            block = _glu_block(part)
            own = id(block) if "forward" in block.__dict__ else type(block)
            if own not in plain:
                plain[own] = _is_a_glu(part, kind[1])
            fits = plain[own]
        else:
            fits = True
        if fits:
            found[part] = names[kind]
    return found


@torch.no_grad()
def _is_a_glu(site: ModelSite, dtype: torch.dtype) -> bool:
    """Whether a site's block gives the same bits as its projections with a plain GLU step between them."""
    block, activation, down = _glu_block(site), site.module("activation"), site.module("down")
    rows = torch.randn(1, 8, output_width(down), generator=torch.Generator().manual_seed(0)).to(device_of(block), dtype)
    try:
        expected = block(rows)
        with stepped([site], lambda site, expert, gate, up, rows: activation(gate) * up):
            return torch.equal(block(rows), expected)
    except (TypeError, RuntimeError):  # the block takes more than a hidden state
        return False


@contextlib.contextmanager
def stepped(sites: Sequence[ModelSite], step: Step, last: ModelSite | None = None) -> Iterator[None]:
    """During the block, compute the GLU step of some sites with `step`.

    Args:
        sites: sites that `fused_activations` names.
        step: called once per site and expert in every forward pass.
        last: a site behind whose activation nothing is computed. The output of its FFN is then zero, and the decoder's
            output is of no use.
    """
    with replaced_forwards(_forward(site, step, site is last) for site in sites):
        yield


@contextlib.contextmanager
def experts_seen(site: ModelSite, see: See) -> Iterator[None]:
    """During the block, pass the output of both projections of every expert of a mixture through `see`."""
    experts = site.module("experts")
    forward = experts_forward(experts, lambda expert, joined, rows: gated(experts, joined), see=see)
    with replaced_forwards([(experts, forward)]):
        yield


@contextlib.contextmanager
def without_projection(site: ModelSite) -> Iterator[None]:
    """During the block, a site's down projection returns zero and computes nothing."""
    projection = site.module("down")
    width = output_width(projection)
    with replaced_forwards([(projection, lambda x: x.new_zeros(*x.shape[:-1], width))]):
        yield


def _glu_block(site: ModelSite) -> nn.Module:
    """The module whose forward pass is the GLU: the one that holds its projections."""
    return site.layer.get_submodule(site.paths.down.rpartition(".")[0])


def _forward(site: ModelSite, step: Step, last: bool) -> tuple[nn.Module, Callable]:
    """The module whose forward function is replaced, and the function that replaces it."""
    if site.paths.experts:
        experts = site.module("experts")

        def inner(expert: int, joined: Tensor, rows: Tensor) -> Tensor:
            return step(site, expert, *joined.chunk(2, dim=-1), rows)

        return experts, experts_forward(experts, inner, last)
    if site.paths.gate:
        return _glu_block(site), _glu_forward(site, step, last)
    return site.module("activation"), lambda x: step(site, 0, x, None, None)


def _glu_forward(site: ModelSite, step: Step, last: bool) -> Callable:
    gate, down = site.module("gate"), site.module("down")
    up = site.module("up") if site.paths.up else None

    def forward(x: Tensor) -> Tensor:
        if up is None:
            gated, upped = gate(x).chunk(2, dim=-1)
        else:
            gated, upped = gate(x), None if last else up(x)
        product = step(site, 0, gated, upped, None)
        return torch.zeros_like(x) if last else down(product)

    return forward
