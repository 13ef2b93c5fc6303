"""Where a decoder computes its FFN activations: one table from architecture to module.

A neuron is one column of the FFN's first projection followed by the activation function (Tang et al. 2024,
section 2.1); in a GLU it is a column of the gate (Eq. 3). What is observed or edited is therefore the output
of the activation module, before the up projection multiplies it.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import nn

from lape.errors import LapeError

# model_type of the configuration -> (activation module, projection that it feeds), inside a decoder layer.
_GLU = ("mlp.act_fn", "mlp.down_proj")
FFN_MODULES: dict[str, tuple[str, str]] = {
    "bloom": ("mlp.gelu_impl", "mlp.dense_4h_to_h"),
    "cohere": _GLU,
    "cohere2": _GLU,
    "falcon": ("mlp.act", "mlp.dense_4h_to_h"),
    "gemma": _GLU,
    "gemma2": _GLU,
    "gemma3_text": _GLU,
    "gpt2": ("mlp.act", "mlp.c_proj"),
    "gpt_neox": ("mlp.act", "mlp.dense_4h_to_h"),
    "gptj": ("mlp.act", "mlp.fc_out"),
    "granite": _GLU,
    "llama": _GLU,
    "mistral": _GLU,
    "mpt": ("ffn.act", "ffn.down_proj"),
    "olmo2": _GLU,
    "opt": ("activation_fn", "fc2"),
    "phi": ("mlp.activation_fn", "mlp.fc2"),
    "phi3": ("mlp.activation_fn", "mlp.down_proj"),
    "qwen2": _GLU,
    "qwen3": _GLU,
    "smollm3": _GLU,
    "xglm": ("activation_fn", "fc2"),
}


@dataclass(frozen=True)
class FFN:
    """The FFN activations of a model.

    Attributes:
        activations: the activation module of each of the L layers, in order.
        neurons_per_layer: I, the columns of the first projection.
    """

    activations: list[nn.Module]
    neurons_per_layer: int

    @property
    def shape(self) -> tuple[int, int]:
        """(L, I): layers and neurons per layer."""
        return len(self.activations), self.neurons_per_layer


def find_ffn(model: nn.Module) -> FFN:
    """Find the activation module of every FFN of a Hugging Face causal LM.

    Raises:
        LapeError: the architecture is not in the table, or the model is not built as the table says.
    """
    model_type = model.get_decoder().config.model_type
    if model_type not in FFN_MODULES:
        raise LapeError(
            f"architecture {model_type!r}: its FFN is not known; add its activation module and down projection "
            f"to FFN_MODULES in lape/ffn.py (known: {', '.join(FFN_MODULES)})"
        )
    activation, projection = FFN_MODULES[model_type]
    layers = _layers(model, activation, model_type)
    activations = [layer.get_submodule(activation) for layer in layers]
    if len({id(module) for module in activations}) != len(activations):
        raise LapeError(f"architecture {model_type!r}: layers share one activation module and cannot be told apart")
    widths = {_input_width(layer.get_submodule(projection)) for layer in layers}
    if len(widths) != 1:
        raise LapeError(f"architecture {model_type!r}: layers differ in their number of neurons ({sorted(widths)})")
    return FFN(activations, widths.pop())


@contextlib.contextmanager
def forward_hooks(hooks: Iterable[tuple[nn.Module, Callable]]) -> Iterator[None]:
    """Forward hooks, each on its module, for the time of a block; they go however the block ends."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layers(model: nn.Module, activation: str, model_type: str) -> nn.ModuleList:
    """The one module list of the decoder whose members all have the activation module."""

    def has_activation(layer: nn.Module) -> bool:
        try:
            return isinstance(layer.get_submodule(activation), nn.Module)
        except AttributeError:
            return False

    lists = [child for child in model.get_decoder().children() if isinstance(child, nn.ModuleList)]
    found = [layers for layers in lists if len(layers) and all(has_activation(layer) for layer in layers)]
    if len(found) != 1:
        raise LapeError(f"architecture {model_type!r}: no list of layers with {activation!r}; mend lape/ffn.py")
    return found[0]


def _input_width(projection: nn.Module) -> int:
    """Columns that a linear layer reads; transformers' Conv1D (GPT-2) stores its weight transposed."""
    return getattr(projection, "in_features", None) or projection.weight.shape[0]
