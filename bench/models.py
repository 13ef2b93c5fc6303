"""The models that are timed. Their shapes are real and their weights random: as fast, and nothing is downloaded."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from lape.model.loading import DTYPES


@dataclass(frozen=True)
class Shape:
    """A model's architecture and the settings of its configuration."""

    name: str
    model_type: str
    settings: dict = field(hash=False)


GEMMA = Shape(
    "Gemma 3 270M",
    "gemma3_text",
    dict(
        hidden_size=640,
        num_hidden_layers=18,
        intermediate_size=2048,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        vocab_size=262144,
        sliding_window=512,
    ),
)
SMOLLM2 = Shape(
    "SmolLM2 135M",
    "llama",
    dict(
        hidden_size=576,
        num_hidden_layers=30,
        intermediate_size=1536,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
        tie_word_embeddings=True,
    ),
)
LLAMA2 = Shape(
    "LLaMA-2-7B",
    "llama",
    dict(
        hidden_size=4096,
        num_hidden_layers=32,
        intermediate_size=11008,
        num_attention_heads=32,
        num_key_value_heads=32,
        vocab_size=32000,
        max_position_embeddings=4096,
    ),
)
TINY = Shape(
    "tiny LLaMA",
    "llama",
    dict(
        hidden_size=16,
        num_hidden_layers=3,
        intermediate_size=32,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=100,
    ),
)


@dataclass(frozen=True)
class Work:
    """A batch for one model: `batch` chunks of `length` random tokens. `peers`: whether other tools run on it too."""

    shape: Shape
    dtype: str
    batch: int
    length: int
    peers: bool = False
    attention: str = "sdpa"

    def __str__(self) -> str:
        return f"{self.shape.name} {self.dtype} {self.attention}, {self.batch} x {self.length}"

    @property
    def tokens(self) -> int:
        """Number of tokens in the batch."""
        return self.batch * self.length

    def model(self, device: str) -> PreTrainedModel:
        """The model, ready to run, with random weights that are the same every time."""
        torch.manual_seed(0)
        config = AutoConfig.for_model(self.shape.model_type, **self.shape.settings)
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(
                config, dtype=DTYPES[self.dtype], attn_implementation=self.attention
            )
        return model.eval()

    def chunks(self) -> np.ndarray:
        """Random token ids, int32 [batch, length]."""
        vocabulary = self.shape.settings["vocab_size"]
        return np.random.default_rng(0).integers(0, vocabulary, (self.batch, self.length), np.int32)

    def ids(self, device: str) -> Tensor:
        """`chunks` as int64 on a device."""
        return torch.from_numpy(self.chunks().astype(np.int64)).to(device)


def flops(model: PreTrainedModel, work: Work) -> float:
    """The least number of floating-point operations that counting on a batch needs.

    They are two per token and weight of a decoder matrix, and the two products of causal attention, which are half a
    square per head. The last layer's up and down projections are left out, as no count depends on them. (Gemma's
    attention window is not shorter than its chunks.)
    """
    last = model.get_decoder().layers[-1].mlp
    return _decoder_flops(model, work, without=last.up_proj.weight.numel() + last.down_proj.weight.numel())


def perplexity_flops(model: PreTrainedModel, work: Work) -> float:
    """The least number of floating-point operations that perplexity on a batch needs: decoder and LM head."""
    predicted = work.batch * (work.length - 1)
    return _decoder_flops(model, work) + 2.0 * predicted * model.get_output_embeddings().weight.numel()


def _decoder_flops(model: PreTrainedModel, work: Work, without: int = 0) -> float:
    """Operations of the decoder on a batch, without those of some weights."""
    decoder = model.get_decoder()
    weights = sum(module.weight.numel() for module in decoder.modules() if isinstance(module, nn.Linear)) - without
    config = decoder.config
    attention = len(decoder.layers) * 2 * work.length * config.num_attention_heads * config.head_dim
    return work.tokens * (2.0 * weights + attention)
