"""A model at work, as every command runs one: its memory, threads, progress, and batches that fit."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from lape.artifacts.files import read_json
from lape.machine.allocator import keep_freed_memory
from lape.machine.memory import Halving
from lape.machine.progress import progress
from lape.model.decoder import input_device
from lape.model.loading import load_model


@dataclass(frozen=True)
class Running:
    """A model that is loaded, and the work that it does.

    Attributes:
        model: on its device, in evaluation mode.
        description: the header of its artifact.
        device: where its input goes.
        bar: the progress of the work.
        batches: runs a piece of the work with batches that fit the memory.
    """

    model: PreTrainedModel
    description: dict
    device: torch.device
    bar: tqdm
    batches: Halving


@contextlib.contextmanager
def running(
    model_json: str | Path,
    label: str,
    total: int,
    unit: str = "token",
    *,
    batch_size: int,
    threads: int,
    one_process: bool = False,
) -> Iterator[Running]:
    """Load a model, and show the progress of its work during the block.

    Args:
        model_json: header of the model artifact.
        label: what the progress and the messages call the work.
        total: units in the whole work.
        unit: name of one unit.
        batch_size: of the first batches; `batches.size` may be set later, where the size depends on the model.
        threads: CPU threads of torch.
        one_process: a model that ranks would share is loaded by this process, with its layers spread over the devices.

    Raises:
        LapeError: the model cannot be loaded.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
    shared = one_process and read_json(model_json, "model")["parameters"].get("tensor_parallel") not in (1, None)
    model, description = load_model(model_json, **{"tensor_parallel": 1, "device_map": "auto"} if shared else {})
    with progress(total, label, unit) as bar:
        yield Running(model, description, input_device(model), bar, Halving(batch_size, label, bar))
