"""What a whole run costs: the costs of its jobs on a machine, summed by stage and by model."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from lape.cli import COMMANDS
from lape.errors import LapeError
from lape.model.loading import resolve_dtype
from lape.plan.costs import COSTS, ON_DEVICE, Cost, Loaded, Sizes
from lape.plan.jobs import Job
from lape.plan.machine import Machine
from lape.plan.shape import read_config, shape_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_ITEMSIZE = {"float32": 4, "bfloat16": 2, "float16": 2}
_QUANTIZED = {"bitsandbytes-8bit": 1.0, "bitsandbytes-4bit": 0.5}
# Bytes/s at which a checkpoint is read from a disk or from the disk's cache.
_LOADING = 1e9


@dataclass(frozen=True)
class Priced:
    """A job and what it takes on one machine.

    Attributes:
        job: the job.
        cost: its cost on any machine.
        devices: number of devices that the job holds; 0 where it needs none.
        memory: peak bytes of each device; for a job without devices, of its process.
        seconds: time from the start of the job to its end.
    """

    job: Job
    cost: Cost
    devices: int
    memory: float
    seconds: float

    @property
    def stage(self) -> str:
        """The command that the job calls; for a job that calls none, its rule."""
        return self.job.command or self.job.rule


class Models:
    """The models of a run, as its jobs load them."""

    def __init__(self, config: dict, machine: Machine):
        self._config, self._machine = config, machine
        self._found: dict[str, tuple[PreTrainedConfig, Loaded, str]] = {}

    def __getitem__(self, name: str) -> tuple["PreTrainedConfig", Loaded, str]:
        """The configuration of a model, how it is loaded, and its dtype.

        Raises:
            LapeError: the shape of the model is not known.
        """
        if name not in self._found:
            try:
                self._found[name] = self._read(name)
            except LapeError as error:
                raise LapeError(f"config catalogue.{name}: {error}") from error
        return self._found[name]

    def entry(self, name: str) -> dict:
        """The model's entry in the catalogue."""
        return self._config["catalogue"][name]

    def _read(self, name: str) -> tuple["PreTrainedConfig", Loaded, str]:
        entry, machine = self.entry(name), self._machine
        model_json = Path("results", self._config["run"], "models", name, "model.json")
        gguf = None
        if entry["source"] == "gguf":
            gguf = Path(entry["path"])
        elif entry["source"] == "embedded":
            gguf = Path("results/downloads", entry["download"], self._config["downloads"][entry["download"]]["save_as"])
        config = read_config(entry, model_json, gguf)
        dtype = entry.get("dtype", "auto")
        if dtype == "auto":
            dtype = str(resolve_dtype(dtype, machine.device)).removeprefix("torch.") if machine.measured else "bfloat16"
        itemsize = _ITEMSIZE[dtype]
        loaded = Loaded(
            shape=shape_of(config),
            weight_bytes=_QUANTIZED.get(entry.get("quantization"), itemsize),
            itemsize=itemsize,
            eager=entry.get("attn_implementation") == "eager",
            device=machine.device,
        )
        return config, loaded, dtype


def price(config: dict, jobs: Sequence[Job], machine: Machine) -> list[Priced]:
    """The cost of every job.

    Raises:
        LapeError: the shape of a model is not known.
    """
    models, sizes = Models(config, machine), Sizes(jobs)
    return [_priced(job, models, sizes, machine) for job in jobs]


def _priced(job: Job, models: Models, sizes: Sizes, machine: Machine) -> Priced:
    cost = Cost()
    if job.command in COSTS:
        model = models[job.model][1] if job.model else None
        cost = COSTS[job.command](job.arguments, model, sizes)
    if job.command not in ON_DEVICE:
        seconds = machine.light + cost.loaded / _LOADING + cost.cpu + cost.network / machine.network
        return Priced(job, cost, 0, machine.light_base + cost.weights + cost.activations, seconds)
    description, _, dtype = models[job.model]
    entry = models.entry(job.model)
    ranks = entry.get("tensor_parallel") or 1
    devices = ranks
    if entry.get("device_map") and machine.memory is not None:
        free = machine.memory - machine.base - cost.activations
        devices = max(1, math.ceil(cost.weights / free)) if free > 0 else 1
    rate = machine.rate(description, dtype, entry.get("attn_implementation"))
    computing = max(cost.flops / rate, cost.traffic / machine.bandwidth) / ranks
    seconds = machine.start + cost.loaded / _LOADING + computing + cost.layers * machine.step + cost.cpu
    memory = machine.base + cost.weights / devices + cost.activations
    return Priced(job, cost, devices, memory, seconds)


def bill(priced: Sequence[Priced], machine: Machine, price_per_hour: float | None = None) -> dict:
    """The sums by stage, by model and in all, as plain values for JSON."""
    order = [*COMMANDS]
    stages = sorted({job.stage for job in priced}, key=lambda stage: order.index(stage) if stage in order else -1)
    models = dict.fromkeys(job.job.model for job in priced if job.job.model and job.devices)
    device_hours = sum(job.seconds * job.devices for job in priced) / 3600
    total = {
        **_sum(priced),
        "device_hours": device_hours,
        "hours_at_least": max(_longest_chain(priced), _busy(priced, machine)) / 3600,
        "price": None if price_per_hour is None else device_hours * price_per_hour,
    }
    return {
        "stages": {stage: _sum([job for job in priced if job.stage == stage]) for stage in stages},
        "models": {model: _sum([job for job in priced if job.job.model == model]) for model in models},
        "total": total,
    }


def _sum(priced: Iterable[Priced]) -> dict:
    priced = list(priced)
    added = {key: sum(getattr(job.cost, key) for job in priced) for key in ("tokens", "flops", "network", "disk")}
    return {
        "jobs": len(priced),
        **added,
        "memory": max((job.memory for job in priced), default=0),
        "devices": max((job.devices for job in priced), default=0),
        "hours": sum(job.seconds for job in priced) / 3600,
    }


def _longest_chain(priced: Sequence[Priced]) -> float:
    """Seconds of the longest chain of jobs that wait for one another."""
    ends: list[float] = []
    for job in priced:
        ends.append(job.seconds + max((ends[number] for number in job.job.after), default=0.0))
    return max(ends, default=0.0)


def _busy(priced: Sequence[Priced], machine: Machine) -> float:
    """Seconds that all devices together need for all jobs. On a CPU every job takes a share of it."""
    taken = [job.seconds * (job.devices or machine.device == "cpu") for job in priced]
    return sum(taken) / machine.devices


def too_large(priced: Sequence[Priced], machine: Machine) -> dict[str, list[str]]:
    """Model -> the stages that need more memory than a device has."""
    found: dict[str, list[str]] = {}
    for job in priced:
        if job.devices and machine.memory is not None and job.memory > machine.memory:
            stages = found.setdefault(job.job.model, [])
            stages += [job.stage] * (job.stage not in stages)
    return found


def as_text(sums: dict) -> str:
    """Two tables, stages and models, and the whole bill."""
    columns = ["jobs", "tokens", "FLOPs", "disk", "download", "memory", "devices", "time"]
    tables = []
    for heading, rows in (("stage", sums["stages"]), ("model", sums["models"])):
        body = [[name, *_cells(row)] for name, row in rows.items()]
        if heading == "stage":
            body.append(["all", *_cells(sums["total"])])
        aligned = ("left", *["right"] * len(columns))
        tables.append(tabulate(body, [heading, *columns], tablefmt="simple", colalign=aligned, disable_numparse=True))
    return "\n\n".join(tables)


def _cells(row: dict) -> list[str]:
    devices = str(row["devices"]) if row["devices"] else ""
    sizes = [in_bytes(row["disk"]), in_bytes(row["network"]), in_memory(row["memory"])]
    return [str(row["jobs"]), _rounded(row["tokens"]), _rounded(row["flops"]), *sizes, devices, in_time(row["hours"])]


def _rounded(value: float) -> str:
    """A number with two significant digits; a count below a million as it is."""
    return "" if not value else f"{value:.2g}" if value >= 1e6 else f"{value:.0f}"


def two_digits(value: float) -> float:
    """Round a value to two significant digits, which is as exact as an estimate is."""
    return float(f"{value:.2g}")


def in_bytes(value: float) -> str:
    """A size of files with two significant digits and a unit of 1000 bytes or a power of it."""
    return _sized(value, 1000, ("B", "kB", "MB", "GB", "TB"))


def in_memory(value: float) -> str:
    """A size of memory with two significant digits and a unit of 1024 bytes or a power of it, as devices are named."""
    return _sized(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def _sized(value: float, step: int, units: Sequence[str]) -> str:
    power = 0
    while power < len(units) - 1 and two_digits(value / step ** (power + 1)) >= 1:
        power += 1
    return f"{two_digits(value / step**power):g} {units[power]}" if value else ""


def in_time(hours: float) -> str:
    """A time with two significant digits and a unit."""
    for unit, size in (("h", 1), ("min", 60)):
        if hours * size >= 1:
            return f"{two_digits(hours * size):g} {unit}"
    return f"{two_digits(hours * 3600):g} s"


def as_json(sums: dict, priced: Sequence[Priced], machine: Machine) -> dict:
    """All sums and one entry per job, as plain values for JSON."""
    facts = {key: value for key, value in asdict(machine).items() if key != "rate"}
    jobs = [
        {"rule": job.job.rule, "model": job.job.model, "outputs": list(job.job.outputs[:1]), **asdict(job.cost)}
        | {"devices": job.devices, "memory": job.memory, "seconds": job.seconds}
        for job in priced
    ]
    return {"machine": facts, **sums, "jobs": jobs}
