"""What each rank runs for test_tensor_parallel.py: `rank.py measure FOLDER`, `stages FILE` or `wait FOLDER`."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from lape import cli
from lape.errors import LapeError
from lape.evaluation.perplexity import chunk_nll
from lape.expert_units.responses import responses
from lape.interventions.overwriting import UnitPerturbation, overwritten
from lape.interventions.perturbation import Perturbation, perturbed
from lape.interventions.zeroing import zeroed
from lape.machine import ranks
from lape.model.ffn import find_ffn
from lape.model.linear import linear_layers
from lape.model.loading import load_model
from lape.parameter_variation.parameters import Parameters
from lape.statistics.feeding import record_statistics

# The second half of the columns in the first layer, which is another rank's than the first half, and some of both.
NEURONS = {0: np.arange(16, 32), 2: np.array([3, 17, 31])}
CHUNKS = np.random.default_rng(0).integers(2, 400, (40, 16), dtype=np.int32)


def measure(model_json: Path) -> dict[str, np.ndarray]:
    """Everything that is counted, edited or generated, of one model."""
    model, _ = load_model(model_json)
    found = {"own_width": np.array(find_ffn(model).parts[0].own_width)}
    batches = [CHUNKS[first : first + 8].astype(np.int64) for first in range(0, len(CHUNKS), 8)]
    for fused in (True, False):
        counted = record_statistics(model, batches, thresholds=[0.25], skip_first=1, fused=fused)
        for name in ("count", "above", "rows", "total", "square"):
            found[f"{name}_{fused}"] = np.asarray(getattr(counted, name))
    found["nll"] = chunk_nll(model, CHUNKS, 8)
    values = {layer: np.linspace(-1, 1, len(index), dtype=np.float32) for layer, index in NEURONS.items()}
    with perturbed(model, Perturbation(NEURONS) + Perturbation({1: np.array([0])}, "add", 0.5)) as firing:
        found["nll_off"] = chunk_nll(model, CHUNKS, 8)
    firing.check(CHUNKS.size)
    found["changed"] = np.array(list(firing.changed.values()))
    with perturbed(model, Perturbation(NEURONS, values=values)), torch.inference_mode():
        prompt = torch.from_numpy(CHUNKS[:8].astype(np.int64))
        found["answers"] = model.generate(prompt, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0)
        found["answers"] = found["answers"].numpy()
    layers = linear_layers(model)
    found["responses"] = responses(model, CHUNKS[:6].tolist(), layers, bos=None, batch_size=4)
    # Each fourth output of every linear layer of the second decoder layer.
    units = {(each.layer, each.name): np.arange(0, each.width, 4) for each in layers if each.layer == 1}
    values = {place: (index, np.full(len(index), 0.25, np.float32)) for place, index in units.items()}
    with overwritten(model, UnitPerturbation(values)) as firing:
        found["nll_units"] = chunk_nll(model, CHUNKS, 8)
    firing.check(CHUNKS.size)
    found["changed_units"] = np.array([firing.changed[place] for place in units])
    # Each fifth parameter of all matrices of the last decoder layer.
    named = {name: weight for name, weight in model.named_parameters() if "layers.2." in name and weight.ndim == 2}
    index = {name: np.arange(0, weight.numel(), 5) for name, weight in named.items()}
    member = {name: np.ones((len(index[name]), 1), bool) for name in named}
    shapes = {name: tuple(weight.shape) for name, weight in named.items()}
    with zeroed(model, Parameters(index, member, ("fr",), shapes), "fr") as record:
        found["nll_zeroed"] = chunk_nll(model, CHUNKS, 8)
    found["changed_zeroed"] = np.array(record.nonzero)
    found["nll_again"] = chunk_nll(model, CHUNKS, 8)
    return found


def stages(file: Path) -> None:
    """Run commands as a user's torchrun does, one after the other in one start; the last may be made to fail."""
    plan = json.loads(file.read_text())
    for words in plan["commands"]:
        assert cli.main(words) == 0, words
    if plan.get("fault") and ranks.rank() == 1:
        _break(plan["fault"])
    sys.exit(cli.main(plan["last"]))


def _break(fault: str) -> None:
    """Let this rank alone end in its third shard."""
    from lape.statistics import sums as statistics

    shards, save = [], statistics.ActivationStatistics.save

    def ending(self, path) -> None:
        shards.append(path)
        if len(shards) < 3:
            save(self, path)
        elif fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == "refuse":
            raise LapeError("this rank's disk is full; free some")
        else:
            raise ZeroDivisionError("a fault of ours")

    statistics.ActivationStatistics.save = ending


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "wait":
        ranks.join(2, "cpu")
        Path(sys.argv[2], str(os.getpid())).touch()
        time.sleep(600)
    if sys.argv[1] == "stages":
        stages(Path(sys.argv[2]))
    for model_json in sorted(Path(sys.argv[2]).glob("*/spread.json")):
        found = measure(model_json)
        if ranks.rank() == 0:
            np.savez(model_json.with_suffix(".npz"), **found)
