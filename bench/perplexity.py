"""Section 5: perplexity with neurons deactivated; `python -m bench.perplexity DEVICE SIZE WHO` is one peak memory."""

import json
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from bench.memory import in_fresh_process, peak_bytes
from bench.models import perplexity_flops
from bench.passes import ceiling
from bench.report import Row
from bench.setting import Setting, setting
from bench.timing import Spread, alternate
from lape.errors import LapeError
from lape.evaluation.perplexity import chunk_nll
from lape.interventions.perturbation import deactivate
from lape.machine.allocator import keep_freed_memory
from lape.model.sites import Sites
from lape.neurons.table import Neurons

# Number of logits that plain torch holds at once.
_LOGITS = 2**25


def perplexity_rows(this: Setting) -> list[Row]:
    """Tokens/s of `chunk_nll` with 1% of the neurons deactivated over plain transformers, and both peaks of memory.

    Raises:
        LapeError: `chunk_nll` and plain transformers disagree when nothing is deactivated.
    """
    work = this.perplexity
    model = work.model(this.device)
    contenders = _contenders(this, model)
    expected, nll = contenders["unhooked"](), chunk_nll(model, work.chunks(), work.batch)
    if not np.allclose(nll, expected, rtol=1e-3):
        raise LapeError(f"{work}: the negative log-likelihood is {nll}, and {expected} in plain torch; mend lape")
    multiply, operations, matrices = ceiling(model, work, this)
    seconds = alternate(contenders | {"ceiling": multiply}, this.turns, this.device)
    reached, possible = perplexity_flops(model, work) / seconds["deactivated"], operations / seconds["ceiling"]
    share = f"{np.median(reached) / 1e9:,.0f} of {np.median(possible) / 1e9:,.0f} GFLOP/s ({matrices})"
    speed = {name: work.tokens / np.median(seconds[name]) for name in contenders}
    peak = {name: _peak(this, name, function) for name, function in contenders.items()}
    note = f"{speed['deactivated']:,.0f} against {speed['unhooked']:,.0f} tokens/s"
    memory = f"{peak['deactivated']:.2f} against {peak['unhooked']:.2f} GB, {_what(this.device)}"
    return [
        Row(5, f"{work}", Spread.of(seconds["unhooked"] / seconds["deactivated"]), note=note),
        Row(5, f"{work}, share of the matrix-product ceiling", Spread.of(reached / possible), note=share),
        Row(5, f"{work}, peak memory", Spread.of(np.array([peak["deactivated"] / peak["unhooked"]])), note=memory),
    ]


def _contenders(this: Setting, model: PreTrainedModel) -> dict[str, Callable[[], np.ndarray]]:
    work = this.perplexity
    chunks, ids = work.chunks(), work.ids(this.device)
    neurons = random_neurons(model)

    def deactivated() -> np.ndarray:
        with deactivate(model, neurons, "random"):
            return chunk_nll(model, chunks, work.batch)

    return {"deactivated": deactivated, "unhooked": lambda: _plain_nll(model, ids)}


@torch.inference_mode()
def _plain_nll(model: PreTrainedModel, ids: torch.Tensor) -> np.ndarray:
    """Compute the result of `chunk_nll` in plain torch: blocks of positions through the head and `cross_entropy`."""
    hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    block = max(1, _LOGITS // model.config.vocab_size)
    sums = []
    for states, targets in zip(hidden[:, :-1], ids[:, 1:], strict=True):
        parts = zip(states.split(block), targets.split(block), strict=True)
        losses = [cross_entropy(model.lm_head(part).float(), target, reduction="sum") for part, target in parts]
        sums.append(torch.stack(losses).sum())
    return torch.stack(sums).double().cpu().numpy()


def random_neurons(model: PreTrainedModel) -> Neurons:
    """A random 1% of the neurons, from all layers."""
    config = model.get_decoder().config
    layers, width = config.num_hidden_layers, config.intermediate_size
    drawn = np.random.default_rng(0).choice(layers * width, max(1, layers * width // 100), replace=False)
    layer, index = np.divmod(np.sort(drawn), width)
    table = pd.DataFrame({"layer": layer, "index": index, "languages": [("random",)] * len(drawn)})
    return Neurons(table, ("random",), Sites.rectangle(layers, width))


def _what(device: str) -> str:
    return "the whole process, loaded model included" if device == "cpu" else "allocated on the device"


def _peak(this: Setting, name: str, function: Callable) -> float:
    """The most memory that a contender holds, in GB."""
    if this.device == "cpu":
        size = "smallest" if this.run is None else "full"
        return in_fresh_process("bench.perplexity", this.device, size, name)["peak"] / 1e9
    torch.cuda.reset_peak_memory_stats(this.device)
    function()
    return torch.cuda.max_memory_allocated(this.device) / 1e9


def main() -> None:
    device, size, name = sys.argv[1:4]
    keep_freed_memory()
    this = setting(device, smallest=size == "smallest")
    _contenders(this, this.perplexity.model(device))[name]()
    print(json.dumps({"peak": peak_bytes()}))


if __name__ == "__main__":
    main()
