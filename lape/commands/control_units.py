"""Draw the activity-matched control of expert units: units of the same linear layers that respond about as much."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lape.artifacts.files import checked, read_array, read_json, sha256, write_header
from lape.errors import LapeError


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--units", type=Path, required=True, help="header of the expert units")
    parser.add_argument("--average-precision", type=Path, required=True, help="header of the units' average precision")
    parser.add_argument("--responses", type=Path, required=True, help="header of the responses")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw")
    parser.add_argument("--output", type=Path, required=True, help="active_units.tsv; active_units.json beside it")


def run(arguments: Namespace) -> None:
    from lape.expert_units.blocks import Responses
    from lape.expert_units.controls import activity_matched_units
    from lape.expert_units.selection import ExpertUnits
    from lape.machine.progress import progress
    from lape.neurons.controls import ACTIVITY_MATCHED

    units = ExpertUnits.load(arguments.units)
    for path in (arguments.average_precision, arguments.responses):
        if sha256(path) not in units.summary["inputs"].values():
            raise LapeError(f"{arguments.units}: were not selected by {path}; select them again")
    values = checked(arguments.average_precision, read_json(arguments.average_precision, "average_precision"), ".npy")
    responses, precision = Responses.load(arguments.responses), read_array(values, mmap=True)
    label = f"control_units {units.summary['model']}"
    with progress(2 * responses.units, label, "unit") as bar:
        control = activity_matched_units(units, precision, responses, arguments.seed, on_chunk=bar.update)
    control.save(arguments.output)
    kept = ("model", "model_revision", "languages", "units", "linear_layers", "neuron_part")
    write_header(
        arguments.output.with_suffix(".json"),
        "expert_units",
        method=f"{ACTIVITY_MATCHED}{units.summary['method']}",
        **{name: units.summary[name] for name in kept},
        parameters={"seed": arguments.seed},
        inputs=[
            *(arguments.units, arguments.units.with_suffix(".tsv")),
            *(arguments.average_precision, values, arguments.responses),
        ],
        outputs=[arguments.output],
    )
