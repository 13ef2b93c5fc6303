"""Draw a random control: for every language as many neurons as were selected, by chance."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--neurons", type=Path, required=True, help="header of the selected neurons")
    parser.add_argument(
        "--layer-matched", action="store_true", help="draw as many neurons in each layer as were selected there"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw")
    parser.add_argument("--output", type=Path, required=True, help="METHOD.tsv; METHOD.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.neurons.controls import random_control
    from lape.neurons.table import Neurons

    selected = Neurons.load(arguments.neurons)
    parameters = {"seed": arguments.seed, "layer_matched": arguments.layer_matched}
    control = random_control(selected, **parameters)
    control.save(
        arguments.output,
        method=f"matched_{selected.summary['method']}" if arguments.layer_matched else "random",
        model=selected.summary["model"],
        model_revision=selected.summary["model_revision"],
        checkpoint=selected.summary.get("checkpoint"),
        languages=selected.summary["languages"],
        parameters=parameters,
        inputs=[arguments.neurons, arguments.neurons.with_suffix(".tsv")],
    )
