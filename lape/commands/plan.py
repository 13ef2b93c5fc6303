"""Price a run before anything runs: tokens, model FLOPs, disk, memory and time of every stage that is not finished.

Sizes of files are in units of 1000 bytes (GB), memory in units of 1024 bytes (GiB). FLOPs are counted, one for a
multiplication and one for an addition.
"""

import argparse
from pathlib import Path

from lape.commands.arguments import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "configs",
        nargs="*",
        type=Path,
        help="YAML files that override config/config.yaml, in order",
    )
    parser.add_argument(
        "--targets",
        nargs="+",
        default=[],
        help="targets (default: the first of `all paper`, `all expert_units` and `all` that the run can make)",
    )
    parser.add_argument("--everything", action="store_true", help="include what is finished already")
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], help="device of this machine (default: a GPU where there is one)"
    )
    parser.add_argument(
        "--devices",
        type=positive(int),
        help="devices, or on a CPU jobs, that work side by side (default: all that this machine has)",
    )
    parser.add_argument(
        "--tflops",
        type=positive(float),
        help="TFLOP/s that a GPU elsewhere sustains in 16 bits; take half of its data sheet's number",
    )
    parser.add_argument("--bandwidth", type=positive(float), help="GB/s of that GPU's memory (with --tflops)")
    parser.add_argument(
        "--device-memory", type=positive(float), help="GiB of memory of a device (default: this machine's)"
    )
    parser.add_argument("--network", type=positive(float), default=50, help="MB/s of downloads")
    parser.add_argument("--price", type=positive(float), help="price of a device per hour")
    parser.add_argument("--brief", action="store_true", help="print the time of the whole alone, in one line")
    parser.add_argument("--output", type=Path, help="write the plan as JSON to this file too")


def run(arguments: argparse.Namespace) -> None:
    from lape.artifacts.files import write_json
    from lape.errors import LapeError, counted
    from lape.plan.bill import as_json, as_text, bill, in_memory, in_time, price, too_large, two_digits
    from lape.plan.costs import ASSUMPTIONS
    from lape.plan.jobs import buildable_jobs

    if (arguments.tflops is None) != (arguments.bandwidth is None):
        raise LapeError("--tflops and --bandwidth: both say how fast a GPU elsewhere is; give both or neither")
    config, jobs, targets = buildable_jobs(arguments.configs, arguments.targets, arguments.everything)
    if not jobs:
        print(f"{' '.join(targets)}: nothing to be done")
        return
    machine = _machine(arguments, config)
    priced = price(config, jobs, machine)
    sums = bill(priced, machine, arguments.price)
    total = sums["total"]
    where = counted(machine.devices, "GPU" if machine.device == "cuda" else "job") + " side by side"
    hours = f"at least {in_time(total['hours_at_least'])} with {where}"
    if arguments.output:
        write_json(arguments.output, {"targets": targets, "assumptions": ASSUMPTIONS, **as_json(sums, priced, machine)})
    if arguments.brief:
        print(f"{' '.join(targets)} of run {config['run']}: {hours}; `lape plan` says it by stage")
        return
    print(f"What {' '.join(targets)} of run {config['run']} takes\n")
    print(as_text(sums))
    print(f"\n{in_time(total['device_hours'])} of device time in all; {hours}")
    if total["price"] is not None:
        print(f"About {two_digits(total['price']):,g}, at {arguments.price:g} per device and hour")
    origin = "measured here" if machine.measured else "as given"
    print(f"Speeds are {origin}. Assumed: {ASSUMPTIONS}.")
    for model, stages in too_large(priced, machine).items():
        remedy = f"catalogue.{model}.device_map or tensor_parallel"
        if stages == ["finetune"]:
            remedy = "parameter_variation.launcher"
        print(f"{model} does not fit a device of {in_memory(machine.memory)} in {', '.join(stages)}; set {remedy}")


def _machine(arguments: argparse.Namespace, config: dict):
    """The machine that is given, or this one."""
    import os

    import torch

    from lape.plan.machine import given, measured

    memory = arguments.device_memory and arguments.device_memory * 2**30
    network = arguments.network * 1e6
    if arguments.tflops:
        return given(arguments.tflops, arguments.bandwidth, arguments.devices or 1, network, memory)
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    found = torch.cuda.device_count() if device == "cuda" else max(1, (os.cpu_count() or 1) // config["threads"])
    return measured(device, arguments.devices or found, config["threads"], network, memory)
