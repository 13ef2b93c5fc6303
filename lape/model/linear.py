"""The linear layers of a decoder. Their outputs are the units, some of which are expert units (Kojima et al. 2024)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from lape.errors import LapeError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig

    from lape.model.model_sites import FFN, ModelSite

# Last component of a linear layer's path within the attention block -> the part that it computes.
_ATTENTION = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "o", "out_proj": "o", "c_proj": "o", "dense": "o"}
_FUSED = ("query_key_value", "Wqkv", "c_attn", "qkv_proj")


@dataclass(frozen=True)
class LinearLayer:
    """One linear layer. Its outputs are the units `first` ... `first + width - 1` of the model.

    Attributes:
        layer: number of the decoder layer that it is in, from 0.
        name: path within the decoder layer, such as "self_attn.q_proj", or "mlp.experts.3.gate_up_proj" for expert 3.
        kind: "attention" or "ffn". Everything outside the attention block is "ffn".
        first: number of its first unit in the model.
        width: number of its outputs.
        parts: names and widths of the parts that it computes side by side, repeated over the width. Names are q, k, v,
            o, gate, up and down, and "qkv" where no split is known.
    """

    layer: int
    name: str
    kind: str
    first: int
    width: int
    parts: tuple[tuple[str, int], ...]

    def description(self) -> dict:
        """The linear layer as plain values for JSON."""
        return asdict(self) | {"parts": [list(part) for part in self.parts]}

    @classmethod
    def of(cls, description: Mapping) -> "LinearLayer":
        """Make a linear layer of its `description`.

        Raises:
            KeyError, TypeError, ValueError: the argument is no description of a linear layer.
        """
        return cls(**{**description, "parts": tuple((name, width) for name, width in description["parts"])})

    def part(self, index: np.ndarray) -> np.ndarray:
        """The name of the part that each of some outputs belongs to; `index` is int64 [n], from 0."""
        names, widths = zip(*self.parts, strict=True)
        bounds = np.cumsum(widths)
        return np.array(names)[np.searchsorted(bounds, np.asarray(index) % bounds[-1], side="right")]


def linear_layers(model: "nn.Module") -> tuple[LinearLayer, ...]:
    """Every linear layer within the decoder layers of a Hugging Face causal LM, in the order of the model's modules.

    The LM head and projections of embeddings lie outside the decoder layers. The routers of a mixture, and gates of one
    column, are left out, because they choose or weigh experts and compute no feature.

    Raises:
        LapeError: the architecture is not known; see `lape.model.ffn.find_ffn`.
    """
    from lape.model.decoder import decoder_of
    from lape.model.ffn import find_ffn

    ffn, config = find_ffn(model), decoder_of(model).config
    found: list[LinearLayer] = []
    for number, layer in enumerate(ffn.layers):
        own = [part for part in ffn.parts if part.layer is layer]
        for name, width in _outputs(layer, own):
            kind = "attention" if "attn" in name or "attention" in name else "ffn"
            parts = _attention_parts(name, width, config) if kind == "attention" else _ffn_parts(name, width, own)
            first = found[-1].first + found[-1].width if found else 0
            found.append(LinearLayer(number, name, kind, first, width, parts))
    return tuple(found)


def neuron_part(layers: Sequence[LinearLayer]) -> str:
    """The part whose units feed the activation function: "gate" in a GLU, else "up".

    Unit i of that part is LAPE's neuron i of the layer; in a mixture of experts, neuron i of the expert.
    """
    return "gate" if any(name == "gate" for layer in layers for name, _ in layer.parts) else "up"


def find_units(layers: Sequence[LinearLayer], units: np.ndarray) -> dict[str, np.ndarray]:
    """Find the linear layers of some units.

    Args:
        layers: all linear layers of a model, in order.
        units: numbers of units, int64 [n].

    Returns:
        columns [n]: layer, name, part, kind, and index (the place among the outputs of the linear layer).

    Raises:
        LapeError: the model does not have a unit.
    """
    units, number = np.asarray(units, np.int64), layers[-1].first + layers[-1].width
    if len(units) and not (units.min() >= 0 and units.max() < number):
        raise LapeError(f"units: one is outside the model's {number}; select units of this model")
    own = np.searchsorted([layer.first for layer in layers], units, side="right") - 1
    index = units - np.array([layer.first for layer in layers])[own]
    part = np.full(len(units), "", object)
    for place in np.unique(own):
        part[own == place] = layers[place].part(index[own == place])
    layer, name, kind = (np.array([getattr(layer, key) for layer in layers])[own] for key in ("layer", "name", "kind"))
    return {"layer": layer, "name": name, "part": part.astype(str), "kind": kind, "index": index}


def mixture_of(layer: int, name: str, ffn: "FFN") -> "ModelSite | None":
    """The mixture to whose experts a linear layer belongs, which then has no module of its own; None for another."""
    own = (part for part in ffn.parts if part.site.layer == layer and part.paths.experts)
    return next((part for part in own if name.startswith(f"{part.paths.experts}.")), None)


def _outputs(layer: "nn.Module", own: "Sequence[ModelSite]") -> list[tuple[str, int]]:
    """Path and width of every linear layer in a decoder layer. The two of each expert lie together."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from lape.model.modules import first_projection, is_transposed, output_width

    found, mixtures = [], {part.paths.experts: part for part in own if part.paths.experts}
    homes = {path.rpartition(".")[0] for path in mixtures}
    for name, module in layer.named_modules():
        if isinstance(module, nn.Linear | Conv1D):
            width, (home, _, last) = output_width(module), name.rpartition(".")
            chooses = home in homes and width in (1, *(part.site.experts for part in mixtures.values()))
            if not (chooses and ("gate" in last or "router" in last)):
                found.append((name, width))
        elif name in mixtures:
            # The weights of all experts are [E, outputs, inputs], or transposed.
            outputs = 2 if is_transposed(module) else 1
            widths = {each: getattr(module, each).shape[outputs] for each in (first_projection(module), "down_proj")}
            found += [
                (f"{name}.{expert}.{projection}", width)
                for expert in range(mixtures[name].site.experts)
                for projection, width in widths.items()
            ]
    return found


def _attention_parts(name: str, width: int, config: "PreTrainedConfig") -> tuple[tuple[str, int], ...]:
    """The parts of a projection of the attention block. A fused projection is cut as transformers' code reads it."""
    last, heads = name.rpartition(".")[2], config.num_attention_heads
    if last not in _FUSED:
        return ((_ATTENTION.get(last, last), width),)
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    match config.model_type:
        case "bloom" | "gpt_neox":  # q, k and v head by head
            widths = (head, head, head)
        case "falcon":  # first the queries that share a key and a value, then that key and value
            groups = config.num_kv_heads if config.new_decoder_architecture else 1 if config.multi_query else heads
            widths = (heads // groups * head, head, head)
        case "gpt2" | "mpt" | "phi3":
            shared = head * (getattr(config, "num_key_value_heads", None) or heads)
            widths = (width - 2 * shared, shared, shared)
        case _:
            return (("qkv", width),)
    return tuple(zip("qkv", widths, strict=True))


def _ffn_parts(name: str, width: int, own: "Sequence[ModelSite]") -> tuple[tuple[str, int], ...]:
    """The parts of a linear layer outside the attention block, by its role in one of the layer's sites."""
    last = name.rpartition(".")[2]
    for part in own:
        paths, neurons = part.paths, part.site.width
        side_by_side = ("gate", neurons), ("up", neurons)
        if paths.experts:
            if not name.startswith(f"{paths.experts}."):
                continue
            if last != "gate_up_proj":
                return (("down" if last == "down_proj" else "up", width),)
            concatenated = getattr(part.module("experts"), "is_concatenated", True)
            return side_by_side if concatenated else (("gate", 1), ("up", 1))  # column by column
        if name == paths.down:
            return (("down", width),)
        if paths.gate and name in (paths.gate, paths.up):
            return side_by_side if not paths.up else (("up" if name == paths.up else "gate", width),)
        feeds = name == part.reads if part.reads else width == neurons and _beside(name, part)
        if not paths.gate and feeds:
            return (("up", width),)
    return ((last, width),)


def _beside(name: str, part: "ModelSite") -> bool:
    """Whether a linear layer has the home of a site's down projection."""
    return name.rpartition(".")[0] == part.paths.down.rpartition(".")[0]
