"""The table from architecture to the modules of its FFN.

An artifact depends on the entry of its own model and not on this file. A new entry therefore makes nothing run again;
see `lape.artifacts.code`.
"""

from typing import NamedTuple


class Architecture(NamedTuple):
    """Modules of an FFN, by their paths inside a decoder layer.

    Attributes:
        activation: path of the activation module.
        down: path of the projection that the activations feed (in a GLU, times `up`); "" within experts.
        gate: path of a GLU's first projection; "" without a GLU. Where `up` is "", it computes gate and up side by
            side.
        up: path of a GLU's other projection; "" where there is none.
        experts: path of the module that holds all experts of a mixture; "" in a dense FFN.
    """

    activation: str
    down: str
    gate: str = ""
    up: str = ""
    experts: str = ""


_GLU = Architecture("mlp.act_fn", "mlp.down_proj", gate="mlp.gate_proj", up="mlp.up_proj")
_EXPERTS = Architecture("mlp.experts.act_fn", "", experts="mlp.experts")
# model_type of a model's configuration -> its modules.
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
    """The table's entry for a model as one string, on which the artifacts of that model depend."""
    return "/".join(ARCHITECTURES[model_type]) if model_type in ARCHITECTURES else "probed"
