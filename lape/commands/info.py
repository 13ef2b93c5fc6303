"""Print versions, how the compiled extension was built, and what runs on each device."""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> None:
    from lape.artifacts.files import versions
    from lape.kernels import ops

    report = {"versions": versions(), "extension": ops.build_info(), "devices": _devices()}
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    print("versions")
    _print_table(report["versions"])
    print("extension")
    _print_table(report["extension"] or {"built": False})
    for name, facts in report["devices"].items():
        print(f"device {name}")
        _print_table(facts)


def _devices() -> dict[str, dict]:
    """What torch sees: the processor, then every CUDA device."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    devices = {
        "cpu": {
            "name": capabilities.get("cpu_name", "unknown"),
            "threads": torch.get_num_threads(),
            # Every processor computes in bfloat16; without these instructions it is slower than float32.
            "bfloat16": "native" if any(capabilities[key] for key in capabilities if "bf16" in key) else "emulated",
            **_backend("cpu"),
        }
    }
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        devices[f"cuda:{index}"] = {
            "name": facts.name,
            "memory": f"{facts.total_memory / 2**30:.1f} GiB",
            "capability": f"{facts.major}.{facts.minor}",
            "bfloat16": "native" if (facts.major, facts.minor) >= (8, 0) else "emulated",
            **_backend("cuda"),
        }
    return devices


def _backend(device: str) -> dict[str, str | None]:
    """The implementation that runs with the default setting, or the remedy where none does."""
    from lape.errors import LapeError
    from lape.kernels import ops

    try:
        return {"backend": ops.active_backend(device)}
    except LapeError as error:
        return {"backend": None, "remedy": str(error)}


def _print_table(facts: dict) -> None:
    for key, value in facts.items():
        print(f"  {key:<13} {'none' if value is None else value}")
