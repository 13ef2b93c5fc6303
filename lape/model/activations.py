"""See the activations of a model's FFNs while it runs, and replace them, wherever they are computed.

An activation is the output of a module, the operand of a multiplication, or what the down projection reads. In a
mixture of experts it belongs to one expert and to those tokens that the expert takes.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lape.model.experts import experts_forward, gated
from lape.model.ffn_search import Product, is_product
from lape.model.model_sites import ModelSite
from lape.model.patching import replaced_forwards

# (site, expert, activation [..., I], rows) -> activation to use instead, or None. rows are the numbers of the tokens
# that the activation holds; None for all tokens of the pass.
See = Callable[[ModelSite, int, Tensor, Tensor | None], Tensor | None]


@contextlib.contextmanager
def activations_seen(sites: Iterable[ModelSite], see: See) -> Iterator[None]:
    """During the block, call `see` for the activations of some sites. Nothing is left behind however the block ends."""
    with contextlib.ExitStack() as stack:
        for site in sites:
            stack.enter_context(_of_experts(site, see) if site.paths.experts else _of_ffn(site, see))
        yield


@contextlib.contextmanager
def _of_ffn(site: ModelSite, see: See) -> Iterator[None]:
    def saw(activation: Tensor) -> Tensor | None:
        return see(site, 0, activation, None)

    with contextlib.ExitStack() as stack:
        if site.paths.activation:
            hook = site.module("activation").register_forward_hook(lambda module, inputs, output: saw(output))
            stack.callback(hook.remove)
        elif site.product is None:
            hook = site.module("down").register_forward_pre_hook(lambda module, inputs: _replaced(saw, *inputs))
            stack.callback(hook.remove)
        else:
            owner = site.layer.get_submodule(site.product.module)
            products = stack.enter_context(_within(owner, site.product, saw))
            stack.enter_context(replaced_forwards([(owner, _under(products, owner))]))
        yield


@contextlib.contextmanager
def _of_experts(site: ModelSite, see: See) -> Iterator[None]:
    experts, watching = site.module("experts"), contextlib.nullcontext()
    now: list = []  # the expert that runs, and its rows

    def saw(activation: Tensor) -> Tensor | None:
        expert, rows = now
        return see(site, expert, activation, rows)

    def inner(expert: int, joined: Tensor, rows: Tensor) -> Tensor:
        now[:] = expert, rows
        with watching:
            product = gated(experts, joined)
        if site.paths.activation or site.product is not None:
            return product
        seen = saw(product)
        return product if seen is None else seen

    with contextlib.ExitStack() as stack:
        if site.paths.activation:
            hook = site.module("activation").register_forward_hook(lambda module, inputs, output: saw(output))
            stack.callback(hook.remove)
        elif site.product is not None:
            owner = site.layer.get_submodule(site.product.module)
            products = stack.enter_context(_within(owner, site.product, saw))
            if owner is experts:
                watching = products
            else:
                stack.enter_context(replaced_forwards([(owner, _under(products, owner))]))
        stack.enter_context(replaced_forwards([(experts, experts_forward(experts, inner))]))
        yield


class _Products(TorchFunctionMode):
    """Passes one operand of one multiplication through `saw`. `deeper` is above zero while other modules run."""

    def __init__(self, product: Product, saw: Callable[[Tensor], Tensor | None]):
        super().__init__()
        self._product, self._saw, self._number, self.deeper = product, saw, 0, 0

    def __enter__(self):
        self._number = self.deeper = 0
        return super().__enter__()

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        if not self.deeper and is_product(function, arguments):
            if self._number == self._product.number:
                arguments = list(arguments)
                operand = arguments[self._product.operand]
                seen = self._saw(operand.clone())
                arguments[self._product.operand] = operand if seen is None else seen
            self._number += 1
        return function(*arguments, **(keywords or {}))


@contextlib.contextmanager
def _within(owner: nn.Module, product: Product, saw: Callable[[Tensor], Tensor | None]) -> Iterator[_Products]:
    """Count the multiplications in the own code of a module, without those of the modules that it calls."""
    products = _Products(product, saw)

    def enters(*_) -> None:
        products.deeper += 1

    def leaves(*_) -> None:
        products.deeper -= 1

    hooks = [
        hook
        for child in owner.children()
        for hook in (child.register_forward_pre_hook(enters), child.register_forward_hook(leaves))
    ]
    try:
        yield products
    finally:
        for hook in hooks:
            hook.remove()


def _under(products: _Products, owner: nn.Module) -> Callable:
    """The forward pass of a module, with its multiplications watched."""
    forward = owner._old_forward if hasattr(owner, "_hf_hook") else owner.forward

    def watched(*arguments, **keywords):
        with products:
            return forward(*arguments, **keywords)

    return watched


def _replaced(saw: Callable[[Tensor], Tensor | None], activation: Tensor, *others: object) -> tuple | None:
    seen = saw(activation.clone())
    return None if seen is None else (seen, *others)
