"""What is measured on a CPU and on a GPU, and the goals for each."""

from dataclasses import dataclass
from pathlib import Path

import torch

from bench.models import GEMMA, LLAMA2, SMOLLM2, TINY, Work
from lape.model.loading import resolve_dtype


@dataclass(frozen=True)
class Setting:
    """What is measured on one kind of device.

    Attributes:
        device: "cpu" or "cuda".
        turns: number of turns of each contender.
        passes: models and batches of sections 1 to 3.
        perplexity: model and batch of section 5.
        squares: edges of the square matrices of section 3. Matrices of the model's shape are measured besides.
        widths: model -> neurons per layer, which are the columns of the arrays of section 4.
        vocabulary: columns of the logits of section 4.
        array: bytes of each array of section 4, much more than a cache holds.
        selection: layers, neurons per layer and languages of section 6.
        precision: units, sentences and languages of section 8.
        run: folder of the workflow's run whose stages section 7 shows, if it is finished.
        forward, hooks, ceiling, bandwidth: goals of sections 1, 2 (against plain hooks), 3 and 4.
    """

    device: str
    turns: int
    passes: tuple[Work, ...]
    perplexity: Work
    squares: tuple[int, ...]
    widths: dict[str, int]
    vocabulary: int
    array: int
    selection: tuple[int, int, int]
    precision: tuple[int, int, int]
    run: Path | None
    forward: float = 1.0
    hooks: float = 1.0
    ceiling: float = 0.75
    bandwidth: float = 0.8


_WIDTHS = {"LLaMA-2-7B": 11008, "LLaMA-2-70B": 28672}
# Units of LLaMA-2 7B, and sentences and languages of Kojima et al. (2024). `make bench` has time for a tenth of them.
FULL_PRECISION = (1_359_872, 3000, 6)
_COMMON = dict(widths=_WIDTHS, vocabulary=32000, selection=(80, 28672, 7), run=Path("results/default"))
_COMMON["precision"] = (135_987, 3000, 6)


def setting(device: str, smallest: bool, dtype: str = "auto") -> Setting:
    """The setting of a device. `smallest` checks in seconds that everything runs; its figures mean nothing.

    With the dtype "float32" a CPU measures what a processor does that does not compute in bfloat16.
    """
    if smallest:
        tiny = Work(TINY, "float32", 2, 16, peers=True)
        small = dict(widths={"tiny": 64}, vocabulary=100, array=2**14, selection=(3, 64, 3))
        small |= dict(precision=(40, 150, 3), run=None)
        return Setting(device, turns=1, passes=(tiny,), perplexity=tiny, squares=(64,), **small)
    if device == "cuda":
        work = Work(LLAMA2, "bfloat16", 4, 4096, peers=True)
        goals = dict(forward=1.03, hooks=1.15, ceiling=0.7, bandwidth=0.85)
        shape = dict(passes=(work,), perplexity=work, squares=(4096, 8192, 16384))
        return Setting(device, turns=7, **shape, array=2**30, **_COMMON, **goals)
    passes = [Work(GEMMA, "float32", 2, 512), Work(SMOLLM2, "float32", 2, 512, peers=True)]
    # On a processor that does not compute in bfloat16, passes in bfloat16 would take an hour.
    if native := resolve_dtype(dtype, device) == torch.bfloat16:
        # In bfloat16 eager attention is faster, and it is that of the default model.
        faster = dict(attention="eager")
        passes += [Work(GEMMA, "bfloat16", 4, 512, **faster), Work(SMOLLM2, "bfloat16", 4, 512, peers=True, **faster)]
    perplexity = Work(GEMMA, "bfloat16" if native else "float32", 2, 512)
    return Setting(device, 7, tuple(passes), perplexity, squares=(1024, 2048), array=2**28, **_COMMON)
