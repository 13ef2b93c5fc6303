"""The device that a model computes on."""

import logging

from lape.errors import LapeError

logger = logging.getLogger(__name__)


def resolve_device(device: str) -> str:
    """The torch device of a setting. "auto" is CUDA where there is a GPU that the extension can use, else the CPU.

    Raises:
        LapeError: the setting names no device, or a CUDA device that does not exist.
    """
    import torch

    from lape.kernels import ops

    if device == "auto":
        if not torch.cuda.is_available():
            return "cpu"
        extension = ops.build_info()
        if extension is not None and not extension["cuda"]:
            logger.warning("the extension has no CUDA, so the GPU is left alone; install nvcc and run `make setup`")
            return "cpu"
        return "cuda"
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise LapeError(f"device {device!r}: is none; set the model's `device` to auto, cpu, cuda or cuda:N") from error
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise LapeError(f"device {device!r}: torch sees no such CUDA device; set the model's `device` to cpu or auto")
    return device
