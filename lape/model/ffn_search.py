"""Find the FFN of an architecture that the table of `lape.model.architectures` lacks."""

import contextlib

import torch
from torch import nn

from lape.errors import LapeError


@torch.no_grad()
def probe_ffn(decoder: nn.Module, model_type: str, device: torch.device) -> tuple[str, str]:
    """Find the activation module of every layer, and the projection that it feeds, by running a few tokens.

    The down projection is recognised by two signs: its input has as many columns as the output of an activation module,
    and its input is zero everywhere when that output is set to zero.

    Args:
        decoder: a decoder of transformers. On the meta device nothing has a value, and shapes alone decide.
        model_type: name of the architecture, for messages.
        device: device on which the decoder takes token ids.

    Returns:
        the paths of the activation module and of the down projection inside a layer.

    Raises:
        LapeError: there is no answer, or more than one.
    """
    lists = [child for child in decoder.children() if isinstance(child, nn.ModuleList) and len(child)]
    if any(weight.dim() == 3 for layers in lists for weight in layers.parameters()):
        raise LapeError(
            f"architecture {model_type!r}: it is a mixture of experts that is not known; add its modules to "
            "ARCHITECTURES in lape/model/architectures.py"
        )
    paths = {
        (activation, down)
        for layers in lists
        for activation in _activation_modules(layers)
        for down in _fed_by(decoder, layers, activation, device)
    }
    if len(paths) != 1:
        answer = "no activation module that feeds a projection" if not paths else f"several candidates {sorted(paths)}"
        raise LapeError(
            f"architecture {model_type!r}: its FFN is not known and a probe found {answer}; add its modules to "
            "ARCHITECTURES in lape/model/architectures.py"
        )
    return paths.pop()


def _activation_modules(layers: nn.ModuleList) -> set[str]:
    """Paths at which every layer has an activation module."""
    from transformers.activations import ACT2CLS

    # What transformers builds for `hidden_act`: a class, or a class and its arguments.
    classes = tuple({entry[0] if isinstance(entry, tuple) else entry for entry in ACT2CLS.values()})
    return set.intersection(
        *({name for name, module in layer.named_modules() if isinstance(module, classes)} for layer in layers)
    )


def _fed_by(decoder: nn.Module, layers: nn.ModuleList, activation: str, device: torch.device) -> set[str]:
    """Paths of the projections whose input the activation module decides in every layer."""
    widths: dict[int, int] = {}
    inputs: dict[tuple[int, str], torch.Tensor] = {}
    handles = []

    def silence(layer: int):
        def hook(module, arguments, output):
            widths[layer] = output.shape[-1]
            return torch.zeros_like(output)

        return hook

    def remember(layer: int, name: str):
        def hook(module, arguments):
            inputs[layer, name] = arguments[0]

        return hook

    for number, layer in enumerate(layers):
        handles.append(layer.get_submodule(activation).register_forward_hook(silence(number)))
        for name, module in layer.named_modules():
            if getattr(module, "weight", None) is not None and module.weight.dim() == 2:
                handles.append(module.register_forward_pre_hook(remember(number, name)))
    ids = torch.tensor([[0, 1, 2]], device=device)
    # Some architectures look at values to make a mask, and the meta device has none. They get a mask instead.
    mask = torch.zeros(1, 1, 3, 3, dtype=decoder.dtype, device=device)
    try:
        for arguments in ({}, {"attention_mask": mask}):
            with contextlib.suppress(Exception):  # a model may not run with these arguments, and then finds nothing
                decoder(input_ids=ids, use_cache=False, **arguments)
                break
    finally:
        for handle in handles:
            handle.remove()

    def fed(layer: int) -> set[str]:
        own = {name: tensor for (number, name), tensor in inputs.items() if number == layer}
        return {
            name
            for name, tensor in own.items()
            if tensor.shape[-1] == widths.get(layer) and (tensor.is_meta or not tensor.any())
        }

    return set.intersection(*(fed(number) for number in range(len(layers))))
