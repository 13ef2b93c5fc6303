"""Draw a control: for every language as many neurons as were selected for it, which were selected for none."""

import argparse
from pathlib import Path

from lape.errors import LapeError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--neurons", type=Path, required=True, help="header of the selected neurons")
    parser.add_argument(
        "--layer-matched", action="store_true", help="draw as many neurons in each layer as were selected there"
    )
    parser.add_argument(
        "--statistics",
        type=Path,
        nargs="+",
        default=[],
        help="statistics header of every language: draw neurons of the same layer that are as active in the language",
    )
    parser.add_argument("--nearest", type=int, default=3, help="with --statistics: a match is one of so many nearest")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw")
    parser.add_argument("--output", type=Path, required=True, help="METHOD.tsv; METHOD.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.neurons.controls import ACTIVITY_MATCHED, LAYER_MATCHED, activity_matched_control, random_control
    from lape.neurons.table import Neurons
    from lape.statistics.sums import read_statistics

    if arguments.layer_matched and arguments.statistics:
        raise LapeError("--statistics: neurons of the same layers are drawn in any case; leave --layer-matched out")
    selected = Neurons.load(arguments.neurons)
    method, data = selected.summary["method"], [path.with_suffix(".npz") for path in arguments.statistics]
    if arguments.statistics:
        statistics = read_statistics(arguments.statistics, selected.summary.get("model_revision"))
        parameters = {"seed": arguments.seed, "nearest": arguments.nearest}
        name, control = f"{ACTIVITY_MATCHED}{method}", activity_matched_control(selected, statistics, **parameters)
    else:
        parameters = {"seed": arguments.seed, "layer_matched": arguments.layer_matched}
        name = f"{LAYER_MATCHED}{method}" if arguments.layer_matched else "random"
        control = random_control(selected, **parameters)
    control.save(
        arguments.output,
        method=name,
        model=selected.summary["model"],
        model_revision=selected.summary["model_revision"],
        checkpoint=selected.summary.get("checkpoint"),
        languages=selected.summary["languages"],
        parameters=parameters,
        inputs=[arguments.neurons, arguments.neurons.with_suffix(".tsv"), *arguments.statistics, *data],
    )
