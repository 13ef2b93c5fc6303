"""The numbers of a model that its costs follow from, without its weights."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from lape.artifacts.files import read_json
from lape.errors import LapeError
from lape.model.ffn import find_ffn
from lape.model.linear import linear_layers

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class Shape:
    """A model's size.

    Attributes:
        parameters: all.
        body: weights of the decoder's matrices, which every token is multiplied with; of a mixture's experts, those
            that a token is routed to.
        matrices: all of them, those of every expert.
        head: weights of the LM head, whether it shares the embedding's or not.
        layers, neurons: L, and neurons of a layer.
        units: outputs of all linear layers.
        hidden: width of the hidden state.
        heads: attention heads of a layer.
        attention: width of all queries of a layer.
        cache: width of the keys and values of a layer together.
        vocabulary: tokens.
    """

    parameters: int
    body: int
    matrices: int
    head: int
    layers: int
    neurons: int
    units: int
    hidden: int
    heads: int
    attention: int
    cache: int
    vocabulary: int

    def flops(self, tokens: float, length: float, head: bool) -> float:
        """Model FLOPs of a forward pass: two a weight and token, and the two products of causal attention.

        Args:
            tokens: positions in all.
            length: positions that attend to one another.
            head: with the LM head.
        """
        products = 2 * self.layers * self.attention * length
        return tokens * (2.0 * (self.body + self.head * head) + products)


def read_config(entry: dict, model_json: Path, gguf: Path | None) -> "PreTrainedConfig":
    """transformers' configuration of a model of the catalogue: its `shape`, or what is at hand.

    Args:
        entry: of the catalogue.
        model_json: the finished model artifact, if it is there.
        gguf: its GGUF file, if it is downloaded.

    Raises:
        LapeError: nothing tells.
    """
    from transformers import AutoConfig

    trust = entry.get("trust_remote_code", False)
    try:
        if "shape" in entry:
            return AutoConfig.for_model(**entry["shape"])
        if model_json.is_file():
            header = read_json(model_json, "model")
            revision = header["revision"] if header["source"] == "hub" else None
            return AutoConfig.from_pretrained(header["path"], revision=revision, trust_remote_code=trust)
        if entry["source"] == "path":
            return AutoConfig.from_pretrained(entry["path"], trust_remote_code=trust)
        if gguf is not None and gguf.is_file():
            return AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
        if entry["source"] == "hub":
            return AutoConfig.from_pretrained(entry["hub"], revision=entry["revision"], trust_remote_code=trust)
    except (OSError, ValueError, KeyError, TypeError) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LapeError(f"cannot be read ({line}); mend its entry, or add its `shape`") from error
    raise LapeError("is not downloaded; add its `shape`, such as {model_type: llama, hidden_size: 4096, ...}")


def shape_of(config: "PreTrainedConfig") -> Shape:
    """The size of a model of a configuration, built without memory for its weights.

    Raises:
        LapeError: no causal language model, or one whose FFN is not known.
    """
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"), contextlib.redirect_stdout(io.StringIO()):
            model = AutoModelForCausalLM.from_config(config)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LapeError(f"is no causal language model ({error}); mend its `shape`") from error
    decoder, ffn = model.get_decoder(), find_ffn(model)
    embeddings = {id(module.weight) for module in decoder.modules() if isinstance(module, nn.Embedding)}
    # Experts of a mixture are stacked: their matrices have a third dimension.
    weights = [weight for weight in decoder.parameters() if weight.dim() > 1 and id(weight) not in embeddings]
    dense = sum(weight.numel() for weight in weights if weight.dim() == 2)
    experts = sum(weight.numel() for weight in weights if weight.dim() > 2)
    text = decoder.config
    heads = text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    share = getattr(text, "num_experts_per_tok", 1) / ffn.experts
    layers = linear_layers(model)
    return Shape(
        parameters=sum(weight.numel() for weight in model.parameters()),
        body=round(dense + experts * share),
        matrices=dense + experts,
        head=(model.get_output_embeddings() or model.get_input_embeddings()).weight.numel(),
        layers=ffn.shape[0],
        neurons=ffn.shape[1],
        units=layers[-1].first + layers[-1].width,
        hidden=text.hidden_size,
        heads=heads,
        attention=heads * width,
        cache=2 * (getattr(text, "num_key_value_heads", None) or heads) * width,
        vocabulary=model.get_input_embeddings().num_embeddings,
    )


def one_layer(config: "PreTrainedConfig") -> "PreTrainedConfig":
    """The same with a single layer and few tokens in its vocabulary, to time a layer on any machine."""
    small = type(config).from_dict(config.to_dict())
    text = small.get_text_config()
    text.num_hidden_layers, text.vocab_size = 1, 256
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:1]
    text.pad_token_id = text.bos_token_id = text.eos_token_id = 0
    return small
