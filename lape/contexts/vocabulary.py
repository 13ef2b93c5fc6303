"""What a neuron writes: the direct effect of its output direction on the logits of the vocabulary."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.model.decoder import decoder_of, device_of, input_device
from lape.model.ffn import find_ffn
from lape.model.model_sites import FFN, ModelSite
from lape.model.modules import is_transposed

_WORDS = 16384  # words of the vocabulary whose weights are float32 at a time


def vocabulary_effect(model: nn.Module, layer: int, index: int, expert: int = 0) -> Tensor:
    """The direct effect of one neuron on every logit; see `vocabulary_effects`.

    Args:
        model: a Hugging Face causal LM in one process.
        layer: number of the decoder layer, from 0.
        index: of the neuron within its FFN or expert, from 0.
        expert: number of the expert, or of the FFN, within the layer, from 0; see `Neurons`.

    Returns:
        float32 [V], on the device of the LM head.

    Raises:
        LapeError: the model has no such neuron, or see `vocabulary_effects`.
    """
    number = find_ffn(model).sites.number(layer, index, expert)
    return next(vocabulary_effects(model, [number]))[0]


def vocabulary_effects(model: nn.Module, numbers: Sequence[int], batch_size: int = 64) -> Iterator[Tensor]:
    """The direct effects of some neurons on the logits: what they write without the work of later layers.

    A neuron adds its column of the down projection to the hidden state, times its activation. In a GLU the up
    projection multiplies the activation and may turn its sign: the words that are lowered matter as much as those that
    are raised. The column passes the norm behind the FFN, where the layer has one, the final norm, and the LM head. Of
    a norm the weight counts, and the subtraction of the mean. Its division by the size of the hidden state is the same
    for all words and is left out, and so is a norm between the activation and the down projection.

    Args:
        model: a Hugging Face causal LM in one process.
        numbers: of the neurons in the model; see `lape.model.sites.Sites`.
        batch_size: neurons at a time.

    Yields:
        float32 [n, V] of `batch_size` neurons or fewer, in the order of `numbers`, on the device of the LM head: logits
        per unit of what the down projection reads, for a hidden state whose root mean square is 1.

    Raises:
        LapeError: the model has no LM head or is shared by several ranks, or its architecture is not known.
    """
    ffn, head = find_ffn(model), model.get_output_embeddings()
    if head is None:
        raise LapeError("the model has no LM head; load it as a causal LM")
    if ffn.ranks > 1:
        raise LapeError("the model is shared by several ranks; load it in one process")
    with torch.inference_mode():
        norms = _Norms(model, ffn)
        for start in range(0, len(numbers), batch_size):
            places = zip(*ffn.sites.within_sites(numbers[start : start + batch_size]), strict=True)
            columns = [norms.passed(*map(int, place)) for place in places]
            directions = torch.stack(columns).to(head.weight.device)
            words = range(0, len(head.weight), _WORDS)
            yield torch.cat([directions @ head.weight[word : word + _WORDS].float().T for word in words], dim=1)


class _Norms:
    """The norms that a neuron's column passes on its way to the LM head, seen in one forward pass of two tokens."""

    def __init__(self, model: nn.Module, ffn: FFN):
        self._ffn = ffn
        self._behind: dict[int, nn.Module] = {}  # layer -> the norm that reads the output of its FFN
        decoder, hooks, outputs = decoder_of(model), [], {}
        for number, layer in enumerate(ffn.layers):
            hooks += self._watched(number, layer)
        ends = [module for name, module in decoder.named_children() if _is_norm(module)]
        hooks += [
            module.register_forward_hook(lambda module, _, output: outputs.update({module: output})) for module in ends
        ]
        try:
            ids = torch.zeros(1, 2, dtype=torch.int64, device=input_device(model))
            hidden = decoder(input_ids=ids, use_cache=False).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        self._final = [module for module, output in outputs.items() if _equal(output, hidden)]

    def _watched(self, number: int, layer: nn.Module) -> list:
        """Hooks that find the norm of one layer that reads what an FFN, or a module around it, returns."""
        paths = {path for site in self._ffn.parts if site.site.layer == number for path in _around(site)}
        returned: list[Tensor] = []

        def returns(module, inputs, output) -> None:
            output = output[0] if isinstance(output, tuple) else output
            if isinstance(output, Tensor):
                returned.append(output)

        def reads(module, inputs) -> None:
            if inputs and any(_equal(inputs[0], output) for output in returned):
                self._behind[number] = module

        hooks = [layer.get_submodule(path).register_forward_hook(returns) for path in paths]
        norms = [module for module in layer.modules() if _is_norm(module)]
        return hooks + [module.register_forward_pre_hook(reads) for module in norms]

    def passed(self, site: int, expert: int, index: int) -> Tensor:
        """A neuron's column of the down projection behind all norms, float32 [hidden size]."""
        part = self._ffn.parts[site]
        column = _column(part, expert, index)
        norms = [self._behind[part.site.layer]] if part.site.layer in self._behind else []
        for norm in norms + self._final:
            column = _through(norm, column)
        return column


def _around(site: ModelSite) -> list[str]:
    """The paths of the module that an FFN ends with, and of all modules around it within the layer."""
    words = (site.paths.experts or site.paths.down).split(".")
    return [".".join(words[:end]) for end in range(1, len(words) + 1)]


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower() and not any(module.children())


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.device == other.device and torch.equal(one, other)


def _column(site: ModelSite, expert: int, index: int) -> Tensor:
    """A neuron's column of the down projection, float32 [hidden size]."""
    if site.paths.experts:
        experts = site.module("experts")
        weight = experts.down_proj[expert]
        return (weight[index] if is_transposed(experts) else weight[:, index]).float()
    down = site.module("down")
    weight = getattr(down, "weight", None)
    if type(down) is nn.Linear and weight.is_floating_point() and not weight.is_meta:
        return weight[:, index].float()
    # Another kind of projection, such as a quantised one, is asked for its answer to one neuron alone.
    kind = next((each.dtype for each in site.layer.parameters() if each.is_floating_point()), torch.float32)
    one = torch.zeros(2, site.site.width, dtype=kind, device=device_of(down))
    one[1, index] = 1
    zero, column = down(one).float()
    return column - zero


def _through(norm: nn.Module, column: Tensor) -> Tensor:
    """A column times the weight of a norm, less its mean where the norm takes the mean from a hidden state.

    The weight is found by what the norm makes of a vector of 1 and -1, whose mean is 0 and whose root mean square is 1:
    an architecture may keep the weight less 1.
    """
    kind = next((each.dtype for each in norm.parameters()), torch.float32)
    ones = torch.ones(len(column), dtype=kind, device=device_of(norm))
    signs = ones.clone()
    signs[1::2] = -1
    positive, negative, level = (norm(x[None, None])[0, 0].float() for x in (signs, -signs, ones))
    weight = (positive - negative) / 2 * signs.float()
    column = column.to(weight.device)
    centred = not torch.allclose(level, (positive + negative) / 2 + weight, atol=1e-2)
    return weight * (column - column.mean() if centred else column)
