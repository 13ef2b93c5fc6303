"""How fast the machine is that a run is planned for: measured on this machine, or given by the user."""

import functools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil
import torch
from torch import nn

from lape.machine.allocator import keep_freed_memory
from lape.machine.warm import starts_warm
from lape.model.decoder import decoder_of
from lape.model.loading import DTYPES
from lape.plan.shape import one_layer, shape_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Tokens of the pass that is timed: enough for full speed, and few enough for one layer of LLaMA-2 70B on a laptop.
_TOKENS = {"cpu": 512, "cuda": 8192}
_TURNS = 3
_PATIENCE = 4.0  # seconds after which no pass is timed again; what was timed until then counts
# Bytes that CUDA and torch hold on a device before a model is loaded.
_CONTEXT = 500_000_000


@dataclass(frozen=True)
class Machine:
    """The speed and size of a machine.

    Attributes:
        device: "cpu" or "cuda": the kind of device that models run on.
        devices: number of devices that work side by side; on a CPU, the number of jobs that its cores have room for.
        rate: function from a model's configuration, dtype and attention to FLOP/s of its forward pass on one device.
        bandwidth: bytes/s of a device's memory.
        step: seconds that the pass of a layer takes, however small it is.
        start: seconds until a job that loads a model begins its work.
        light: seconds until any other job begins its work.
        network: bytes/s of a download.
        base: bytes that a job holds on its device before it loads a model; on a CPU, bytes of its process.
        light_base: bytes that the process of a job without a model holds.
        memory: bytes of a device; None where it is not known.
        measured: whether the rates were measured on this machine.
    """

    device: str
    devices: int
    rate: Callable[["PreTrainedConfig", str, str | None], float] = field(repr=False)
    bandwidth: float
    step: float
    start: float
    light: float
    network: float
    base: int
    light_base: int
    memory: float | None
    measured: bool


def measured(device: str, devices: int, threads: int, network: float, memory: float | None = None) -> Machine:
    """Measure this machine, which takes some seconds, and per model the time of a few passes of one of its layers.

    Args:
        device: "cpu" or "cuda".
        devices: number of devices that work side by side.
        threads: CPU threads of a job.
        network: bytes/s of a download.
        memory: bytes of a device; None for the memory that it has.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    cuda = device != "cpu"
    if memory is None:
        memory = torch.cuda.get_device_properties(device).total_memory if cuda else psutil.virtual_memory().total
    # transformers imports the code of an architecture, and most of its own, where a model is loaded.
    start, base = _start("lape.model.loading", "transformers.models.llama.modeling_llama")
    light, light_base = _start("pandas")
    if starts_warm():
        start = light = _start("lape.cli")[0]
    return Machine(
        device=device,
        devices=devices,
        rate=functools.partial(forward_rate, device=device),
        bandwidth=_bandwidth(device),
        step=_step(device),
        start=start,
        light=light,
        network=network,
        base=_CONTEXT if cuda else base,
        light_base=light_base,
        memory=memory,
        measured=True,
    )


def given(tflops: float, bandwidth: float, devices: int, network: float, memory: float | None) -> Machine:
    """Another machine with GPUs, whose speed the user gives.

    Args:
        tflops: TFLOP/s that a device sustains in a forward pass in 16 bits. A tenth of it is assumed in float32.
        bandwidth: GB/s of a device's memory.
        devices, network, memory: see `measured`.
    """

    def rate(config: "PreTrainedConfig", dtype: str, attention: str | None) -> float:
        return tflops * 1e12 / (10 if dtype == "float32" else 1)

    return Machine(
        device="cuda",
        devices=devices,
        rate=rate,
        bandwidth=bandwidth * 1e9,
        step=2e-4,  # the launches of some ten kernels
        start=20.0,
        light=3.0,
        network=network,
        base=_CONTEXT,
        light_base=200_000_000,
        memory=memory,
        measured=False,
    )


def forward_rate(config: "PreTrainedConfig", dtype: str, attention: str | None, *, device: str) -> float:
    """FLOP/s of a model's forward pass, timed on one of its layers with weights of no meaning."""
    small, tokens = one_layer(config), _TOKENS[torch.device(device).type]
    decoder = _decoder(small, dtype, attention, device)
    return shape_of(small).flops(tokens, tokens, head=False) / _seconds(decoder, tokens, device)


def _step(device: str) -> float:
    """Seconds of the pass of a layer that has nearly nothing to compute."""
    from transformers import LlamaConfig

    tiny = LlamaConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=8, num_attention_heads=2, vocab_size=256)
    return _seconds(_decoder(tiny, "float32", None, device), 1, device) / tiny.num_hidden_layers


def _decoder(config: "PreTrainedConfig", dtype: str, attention: str | None, device: str) -> nn.Module:
    """A decoder whose weights are all alike, which makes it quick to build and no slower to run."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype], attn_implementation=attention)
    decoder = decoder_of(model).to_empty(device=device).eval()
    for values in (*decoder.parameters(), *decoder.buffers()):
        values.data.fill_(0.01 if values.is_floating_point() else 0)
    return decoder


@torch.inference_mode()
def _seconds(decoder: nn.Module, tokens: int, device: str) -> float:
    """Seconds of a pass: the median of several passes, after one to warm up; one pass, where it is slow."""
    ids = torch.zeros(1, tokens, dtype=torch.int64, device=device)
    return _median(lambda: decoder(input_ids=ids, use_cache=False), device)


def _bandwidth(device: str) -> float:
    """Bytes/s that a copy reads and writes, on arrays that are much larger than the cache."""
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _median(lambda: target.copy_(source), device)


def _median(function: Callable[[], object], device: str) -> float:
    def timed() -> float:
        if device != "cpu":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        function()
        if device != "cpu":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    timed()  # the first pass of a device also loads its libraries
    turns = [timed()]
    while len(turns) < _TURNS and sum(turns) < _PATIENCE:
        turns.append(timed())
    return statistics.median(turns)


def _start(*modules: str) -> tuple[float, int]:
    """Seconds until Python has started and imported some modules, and the bytes that the process then holds."""
    code = f"import psutil, {', '.join(modules)}; print(psutil.Process().memory_info().rss)"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return time.perf_counter() - start, int(done.stdout)
