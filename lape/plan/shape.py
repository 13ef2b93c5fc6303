"""The sizes of a model from which its costs follow, found without its weights."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from lape.artifacts.files import read_json
from lape.errors import LapeError, first_line
from lape.model.decoder import decoder_of
from lape.model.ffn import find_ffn
from lape.model.linear import linear_layers

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class Shape:
    """A model's size.

    Attributes:
        parameters: number of all parameters.
        body: number of weights in the decoder's matrices that every token is multiplied with. In a mixture of experts
            these include only the experts that a token is routed to.
        matrices: number of weights in all of the decoder's matrices, those of every expert included.
        head: number of weights of the LM head, whether it shares those of the embedding or not.
        layers, neurons: L, and the number of all neurons.
        widest: the largest number of neurons in a layer.
        units: number of outputs of all linear layers.
        hidden: width of the hidden state.
        heads: number of attention heads in a layer.
        attention: width of all queries of a layer together.
        cache: width of all keys and values of a layer together.
        vocabulary: number of tokens in the vocabulary.
    """

    parameters: int
    body: int
    matrices: int
    head: int
    layers: int
    neurons: int
    widest: int
    units: int
    hidden: int
    heads: int
    attention: int
    cache: int
    vocabulary: int

    def flops(self, tokens: float, length: float, head: bool) -> float:
        """Model FLOPs of a forward pass: two per weight and token, and the two products of causal attention.

        Args:
            tokens: number of positions in all.
            length: number of positions that attend to one another.
            head: include the LM head.
        """
        products = 2 * self.layers * self.attention * length
        return tokens * (2.0 * (self.body + self.head * head) + products)


def read_config(entry: dict, model_json: Path, gguf: Path | None) -> "PreTrainedConfig":
    """The transformers configuration of a model of the catalogue, from its `shape` or from files that are at hand.

    Args:
        entry: the model's entry in the catalogue.
        model_json: path of the model artifact, which may not be finished yet.
        gguf: path of the model's GGUF file, which may not be downloaded yet; None for another source.

    Raises:
        LapeError: the entry has no `shape`, and no file is at hand.
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
        raise LapeError(f"cannot be read ({first_line(error)}); mend its entry, or add its `shape`") from error
    raise LapeError("is not downloaded; add its `shape`, such as {model_type: llama, hidden_size: 4096, ...}")


def shape_of(config: "PreTrainedConfig") -> Shape:
    """The size of the model of a configuration, which is built without memory for its weights.

    Raises:
        LapeError: the model is no causal language model, or its FFN is not known.
    """
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"), contextlib.redirect_stdout(io.StringIO()):
            model = AutoModelForCausalLM.from_config(config)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LapeError(f"is no causal language model ({error}); mend its `shape`") from error
    decoder, ffn = decoder_of(model), find_ffn(model)
    embeddings = {id(module.weight) for module in decoder.modules() if isinstance(module, nn.Embedding)}
    # The matrices of a mixture's experts may be stacked, with a third dimension.
    weights = [weight for weight in decoder.parameters() if weight.dim() > 1 and id(weight) not in embeddings]
    dense = sum(weight.numel() for weight in weights if weight.dim() == 2)
    experts = sum(weight.numel() for weight in weights if weight.dim() > 2)
    text = decoder.config
    heads = text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    share = getattr(text, "num_experts_per_tok", 1) / max(site.experts for site in ffn.sites.sites)
    layers = linear_layers(model)
    return Shape(
        parameters=sum(weight.numel() for weight in model.parameters()),
        body=round(dense + experts * share),
        matrices=dense + experts,
        head=(model.get_output_embeddings() or model.get_input_embeddings()).weight.numel(),
        layers=ffn.sites.layers,
        neurons=ffn.sites.neurons,
        widest=int(np.diff(ffn.sites.starts).max()),
        units=layers[-1].first + layers[-1].width,
        hidden=text.hidden_size,
        heads=heads,
        attention=heads * width,
        cache=2 * (getattr(text, "num_key_value_heads", None) or heads) * width,
        vocabulary=model.get_input_embeddings().num_embeddings,
    )


def one_layer(config: "PreTrainedConfig") -> "PreTrainedConfig":
    """A configuration with a single layer and a small vocabulary, to time one layer on any machine."""
    small = type(config).from_dict(config.to_dict())
    text = small.get_text_config()
    text.num_hidden_layers, text.vocab_size = 1, 256
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:1]
    text.pad_token_id = text.bos_token_id = text.eos_token_id = 0
    return small
