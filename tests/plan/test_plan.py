"""`lape plan`: the jobs are Snakemake's, the shapes the papers', the estimates within a factor of two."""

import json
import statistics
import subprocess
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from stages import check_refusal
from tiny_data import ROOT
from transformers import AutoConfig, AutoModelForCausalLM
from workflow_run import ENVIRONMENT

from lape.evaluation.perplexity import chunk_nll
from lape.machine.usage import read_usage, usage_file
from lape.plan.bill import Priced, bill, in_bytes, in_memory, in_time, price, too_large
from lape.plan.costs import COSTS, ON_DEVICE, Cost, Loaded
from lape.plan.jobs import Job, parsed
from lape.plan.machine import forward_rate, given
from lape.plan.shape import one_layer, read_config, shape_of
from lape.statistics.feeding import record_statistics

CATALOGUE = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text(encoding="utf-8"))["catalogue"]
# A model that is small enough to run here and large enough to be slowed by its matrix products alone.
MEDIUM = dict(hidden_size=512, intermediate_size=1408, num_hidden_layers=8, num_attention_heads=8, vocab_size=8192)


def config_of(name: str):
    return read_config(CATALOGUE[name], Path("nowhere/model.json"), None)


# Units: Kojima et al.'s count of the outputs of all linear layers. Neurons: Tang et al.'s.
@pytest.mark.parametrize(
    "name, layers, neurons, units, parameters",
    [
        ("xglm-564m", 24, 4096, 221_184, 564e6),
        ("xglm-2.9b", 48, 8192, 884_736, 2.9e9),
        ("bloom-1b7", 24, 8192, 442_368, 1.7e9),
        ("bloom-3b", 30, 10_240, 691_200, 3e9),
        ("llama-2-7b", 32, 11_008, 1_359_872, 6.74e9),
        ("llama-2-13b", 40, 13_824, 2_129_920, 13.0e9),
        ("llama-2-70b", 80, 28_672, None, 69e9),
    ],
)
def test_shapes_are_those_of_the_papers(name, layers, neurons, units, parameters):
    shape = shape_of(config_of(name))
    assert (shape.layers, shape.widest, shape.neurons) == (layers, neurons, layers * neurons)
    assert units is None or shape.units == units
    assert shape.parameters == pytest.approx(parameters, rel=0.03)
    assert shape.body < shape.parameters
    assert shape.flops(1, 0, head=True) == 2 * (shape.body + shape.head)


def test_of_a_mixture_only_the_experts_of_a_token_compute():
    settings = dict(hidden_size=16, moe_intermediate_size=8, num_hidden_layers=2, num_attention_heads=2, vocab_size=50)
    few, all_of_them = (
        shape_of(AutoConfig.for_model("qwen3_moe", **settings, num_experts=4, num_experts_per_tok=chosen))
        for chosen in (1, 4)
    )
    experts = 2 * 4 * 3 * 16 * 8
    assert all_of_them.body == all_of_them.matrices == few.matrices
    assert few.matrices - few.body == experts * 3 // 4


@pytest.mark.parametrize("name", ["llama-2-7b", "bloom-560m", "opt-6.7b", "phi-2", "xglm-564m"])
def test_a_layer_stands_for_the_model(name):
    whole, part = shape_of(config_of(name)), shape_of(one_layer(config_of(name)))
    assert part.layers == 1
    assert part.body * whole.layers == whole.body


def test_a_command_is_read_as_it_will_be_whatever_launches_it():
    line = "accelerate launch --config_file two.yaml -m lape finetune --log x.log --rule finetune --model m/model.json "
    command, arguments = parsed(line + "--instructions i/fr.json --batch-size 16 --output out.safetensors")
    assert command == "finetune"
    assert (arguments.batch_size, arguments.instructions) == (16, Path("i/fr.json"))
    ranks = "OMP_NUM_THREADS=1 lape claim 4 -- torchrun --standalone --nproc_per_node 4 -m -- "
    assert (
        parsed(f"{ranks}lape finetune --gpus 4 {line.partition('finetune ')[2]} --instructions i --output o")[0]
        == command
    )
    assert parsed("printf '%s\\n' '{}' > config.json")[0] == ""


def medium(dtype: torch.dtype = torch.float32):
    torch.manual_seed(0)
    config = AutoConfig.for_model("llama", **MEDIUM)
    return config, AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def loaded(config) -> Loaded:
    return Loaded(shape_of(config), 4, 4, eager=False, device="cpu")


class Split:
    """Sizes of tokens that are as long as a test wants."""

    def __init__(self, positions: int, length: int):
        self._found = positions, length

    def tokens(self, header) -> tuple[int, int]:
        return self._found


@pytest.mark.parametrize("command", ["statistics", "perplexity"])
def test_seconds_are_within_a_factor_of_two(command):
    # Estimate and run take turns, so that whatever else the machine does slows both.
    torch.set_num_threads(1)
    config, model = medium()
    chunks = np.random.default_rng(0).integers(0, MEDIUM["vocab_size"], (4, 256), np.int32)
    arguments = Namespace(tokens=[0], batch_size=2, thresholds=[], shards=1, counted=[], job=None)
    cost = COSTS[command](arguments, loaded(config), Split(chunks.size, 256))
    batches = [torch.from_numpy(part.astype(np.int64)) for part in (chunks[:2], chunks[2:])]
    work = {
        "statistics": lambda: record_statistics(model, batches),
        "perplexity": lambda: chunk_nll(model, chunks, batch_size=2),
    }[command]
    work()
    ratios = []
    for _ in range(5):
        estimate = cost.flops / forward_rate(config, "float32", None, device="cpu")
        start = time.perf_counter()
        work()
        ratios.append(estimate / (time.perf_counter() - start))
    assert 0.5 < statistics.median(ratios) < 2, ratios


def job(command: str, seconds: float = 0, after: tuple[int, ...] = (), **facts) -> Priced:
    found = Job(command, command, Namespace(), (), after, 1, "tiny" if command in ON_DEVICE else None)
    return Priced(found, Cost(**facts.pop("cost", {})), facts.pop("devices", 0), facts.pop("memory", 0), seconds)


def test_a_run_takes_as_long_as_its_longest_chain_and_as_its_devices_have_work():
    machine = given(100, 1000, devices=2, network=1, memory=1e9)
    chain = [job("tokens", 3600), job("statistics", 7200, after=(0,), devices=1, cost={"flops": 5.0})]
    assert bill(chain, machine)["total"]["hours_at_least"] == 3
    busy = [*chain, *[job("perplexity", 7200, devices=2) for _ in range(4)]]
    total = bill(busy, machine, price_per_hour=3)["total"]
    assert total["hours_at_least"] == (2 + 4 * 2 * 2) / 2
    assert (total["device_hours"], total["price"], total["jobs"], total["flops"]) == (18, 54, 6, 5)


def test_what_does_not_fit_is_named_with_its_stages():
    machine = given(100, 1000, devices=1, network=1, memory=1e9)
    priced = [job("statistics", devices=1, memory=2e9), job("perplexity", devices=1, memory=0.5e9)]
    assert too_large(priced, machine) == {"tiny": ["statistics"]}
    assert too_large(priced, given(100, 1000, 1, 1, memory=None)) == {}


def test_a_model_that_is_spread_takes_the_devices_that_hold_it():
    arguments = Namespace(tokens=[], batch_size=4)
    work = Job("perplexity", "perplexity", arguments, (), (), 1, "llama-2-70b")
    machine = given(100, 1000, devices=8, network=1, memory=80e9)

    def devices(**entry) -> tuple[int, bool]:
        plain = {key: value for key, value in CATALOGUE["llama-2-70b"].items() if key != "tensor_parallel"}
        config = {"run": "x", "catalogue": {"llama-2-70b": plain | entry}, "downloads": {}}
        (one,) = price(
            config, [Job(**{**work.__dict__, "arguments": Namespace(tokens=[header], batch_size=1)}), made], machine
        )[:1]
        return one.devices, one.memory < machine.memory

    header = Path("tokens/valid.json")
    made = Job("tokens", "tokens", Namespace(budget=4096, chunk_length=4096), (str(header),), (), 1, "llama-2-70b")
    assert devices() == (1, False)
    assert devices(device_map="auto") == (2, True)
    assert devices(tensor_parallel=4) == (4, True)


def test_estimates_are_rounded_to_what_is_known():
    assert [in_bytes(size) for size in (0, 12, 1234, 999_999, 98_765_432_100)] == [
        "",
        "12 B",
        "1.2 kB",
        "1 MB",
        "99 GB",
    ]
    assert [in_memory(size) for size in (0, 1024, 1.5 * 2**20, 80 * 2**30)] == ["", "1 KiB", "1.5 MiB", "80 GiB"]
    assert [in_time(hours) for hours in (0.001, 0.5, 1234)] == ["3.6 s", "30 min", "1200 h"]


@pytest.fixture(scope="module")
def planned(complete_run, tmp_path_factory):
    """A finished run, and what it was estimated to take."""
    folder = tmp_path_factory.mktemp("plan")
    workspace = complete_run.copy(folder / "run")
    done = plan(workspace, "tiny.yaml", "--targets", "all", "--everything", "--output", str(folder / "plan.json"))
    assert not done.returncode, done.stderr
    return workspace, json.loads((folder / "plan.json").read_text()), done.stdout


def plan(workspace, *words: str) -> subprocess.CompletedProcess:
    settings = workspace.command()
    return subprocess.run(
        [workspace.programs / "lape", "plan", *words],
        cwd=workspace.folder,
        env=settings["env"],
        capture_output=True,
        text=True,
    )


def test_the_jobs_are_those_of_the_run(planned):
    workspace, estimate, shown = planned
    assert estimate["stages"]["statistics"]["jobs"] == estimate["stages"]["corpus"]["jobs"] == 2
    assert estimate["stages"]["statistics"]["tokens"] == 2 * 512
    assert estimate["total"]["jobs"] == len(estimate["jobs"])
    for stage in estimate["stages"]:
        assert stage in shown
    assert list(estimate["models"]) == ["tiny"]
    for one in estimate["jobs"]:
        assert (workspace.folder / one["outputs"][0]).exists()


def test_disk_and_memory_are_within_a_factor_of_two(planned, tmp_path):
    workspace, estimate, _ = planned
    for rule in ("statistics", "tokens"):
        for one in (one for one in estimate["jobs"] if one["rule"] == rule):
            first = workspace.folder / one["outputs"][0]
            files = [first, *first.with_suffix(".shards").glob("*.npz"), *first.parent.glob(f"{first.stem}.[bd]*.npy")]
            size = sum(file.stat().st_size for file in files)
            assert 0.5 < one["disk"] / size < 2, one
    # Whole processes are measured: those of the run were forks.
    again = workspace.copy(tmp_path / "run", ENVIRONMENT)
    made = ("statistics/tiny/fr.npz", "perplexity/tiny/lape/fr.tsv")
    again.snakemake("--cores", "1", "--force", "--", *(f"results/tiny/{name}" for name in made))
    for name in made:
        measured = read_usage(usage_file(again.results / "logs" / name))["peak_bytes"]
        assert 0.5 < estimate["stages"][name.split("/")[0]]["memory"] / measured < 2


def test_what_is_finished_costs_nothing(planned):
    workspace, _, _ = planned
    done = plan(workspace, "tiny.yaml", "--targets", "all")
    assert "nothing to be done" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    "words, name",
    [
        (["missing.yaml"], "missing.yaml"),
        (["tiny.yaml", "--targets", "figure99"], "figure99"),
        (["tiny.yaml", "--tflops", "100"], "--bandwidth"),
        (["wrong.yaml", "--targets", "all"], "langauges"),
    ],
)
def test_what_cannot_be_planned_is_one_line(planned, words, name):
    workspace, _, _ = planned
    (workspace.folder / "wrong.yaml").write_text("langauges: [fr]\n")
    done = plan(workspace, *words)
    check_refusal(done.returncode, done.stderr, "plan", name)


def test_a_model_of_unknown_shape_wants_one(planned):
    workspace, _, _ = planned
    catalogue = {"far": {"source": "gguf", "path": "far.gguf"}}
    (workspace.folder / "far.gguf.yaml").write_text(yaml.safe_dump({"models": ["far"], "catalogue": catalogue}))
    (workspace.folder / "far.gguf").touch()
    words = ("tiny.yaml", "far.gguf.yaml", "--targets", "all", "--tflops", "100", "--bandwidth", "1000")
    done = plan(workspace, *words)
    check_refusal(done.returncode, done.stderr, "plan", "catalogue.far", "shape")
