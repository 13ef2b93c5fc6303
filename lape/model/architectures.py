"""The table from architecture to the modules of its FFN.

An artifact depends on the entry of its own model and not on this file, so that a new entry makes nothing anew; see
`lape.artifacts.code`.
"""

from typing import NamedTuple


class Architecture(NamedTuple):
    """Modules of an FFN, by their paths inside a decoder layer.

    Attributes:
        activation: the activation module.
        down: the projection that the activations (times `up`, in a GLU) feed; "" within experts.
        gate: a GLU's first projection; it computes gate and up side by side where `up` is "". "" elsewhere.
        up: a GLU's other projection.
        experts: the module that holds all experts of a mixture; "" in a dense FFN.
    """

    activation: str
    down: str
    gate: str = ""
    up: str = ""
    experts: str = ""


_GLU = Architecture("mlp.act_fn", "mlp.down_proj", gate="mlp.gate_proj", up="mlp.up_proj")
_EXPERTS = Architecture("mlp.experts.act_fn", "", experts="mlp.experts")
# By the model_type of the configuration.
ARCHITECTURES: dict[str, Architecture] = {
    "bloom": Architecture("mlp.gelu_impl", "mlp.dense_4h_to_h"),
    "cohere": _GLU,
    "cohere2": _GLU,
    "falcon": Architecture("mlp.act", "mlp.dense_4h_to_h"),
    "gemma": _GLU,
    "gemma2": _GLU,
    "gemma3_text": _GLU,
    "gpt2": Architecture("mlp.act", "mlp.c_proj"),
    "gpt_neox": Architecture("mlp.act", "mlp.dense_4h_to_h"),
    "gptj": Architecture("mlp.act", "mlp.fc_out"),
    "granite": _GLU,
    "llama": _GLU,
    "mistral": _GLU,
    "mixtral": _EXPERTS,
    "mpt": Architecture("ffn.act", "ffn.down_proj"),
    "olmo2": _GLU,
    "opt": Architecture("activation_fn", "fc2"),
    "phi": Architecture("mlp.activation_fn", "mlp.fc2"),
    "phi3": Architecture("mlp.activation_fn", "mlp.down_proj", gate="mlp.gate_up_proj"),
    "qwen2": _GLU,
    "qwen3": _GLU,
    "qwen3_moe": _EXPERTS,
    "smollm3": _GLU,
    "xglm": Architecture("activation_fn", "fc2"),
}


def ffn_entry(model_type: str | None) -> str:
    """What a model uses of the table, in one word for those who compare it."""
    return "/".join(ARCHITECTURES[model_type]) if model_type in ARCHITECTURES else "probed"
