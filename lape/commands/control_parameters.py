"""Draw a random control of language-specific parameters: as many in every matrix, none of them the language's own."""

import argparse
from pathlib import Path

from lape.artifacts.files import write_header


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parameters", type=Path, required=True, help="header of the selected parameters")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw")
    parser.add_argument("--output", type=Path, required=True, help="matched_pv.safetensors; its header beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.parameter_variation.parameters import Parameters
    from lape.parameter_variation.selection import control_parameters

    selected = Parameters.load(arguments.parameters)
    control = control_parameters(selected, arguments.seed)
    control.save(arguments.output)
    write_header(
        arguments.output.with_suffix(".json"),
        "parameters",
        method=f"matched_{selected.summary['method']}",
        model=selected.summary["model"],
        model_revision=selected.summary["model_revision"],
        languages=selected.summary["languages"],
        **control.description(),
        parameters={"seed": arguments.seed},
        inputs=[arguments.parameters, arguments.parameters.with_suffix(".safetensors")],
        outputs=[arguments.output],
    )
