"""Draw a random control: as many neurons as the largest language-specific set, from all layers alike."""

import argparse
from pathlib import Path

from lape.artifact import write_header


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--neurons", type=Path, required=True, help="header of the selected neurons")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="random.tsv; random.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.neurons import Neurons
    from lape.selection import random_control

    selected = Neurons.load(arguments.neurons)
    control = random_control(selected, arguments.seed)
    control.save(arguments.output)
    write_header(
        arguments.output.with_suffix(".json"),
        "neurons",
        method="random",
        model=selected.summary["model"],
        model_revision=selected.summary["model_revision"],
        languages=selected.summary["languages"],
        **control.description(),
        parameters={"seed": arguments.seed},
        inputs=[arguments.neurons, arguments.neurons.with_suffix(".tsv")],
        outputs=[arguments.output],
    )
