"""What to steer with: the mean activation of every language's neurons on that language, from the statistics."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import checked

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--neurons", type=Path, required=True, help="header of the neurons, or of a control")
    parser.add_argument("--statistics", type=Path, nargs="+", required=True, help="statistics header of every language")
    parser.add_argument("--output", type=Path, required=True, help="METHOD.tsv; METHOD.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.interventions.steering import steering_values
    from lape.neurons.table import Neurons
    from lape.statistics.sums import read_statistics

    neurons = Neurons.load(arguments.neurons)
    revision = neurons.summary.get("model_revision")  # a released file names none
    statistics = read_statistics(arguments.statistics, revision)
    values = steering_values(neurons, statistics)
    values.save(
        arguments.output,
        model=neurons.summary["model"],
        model_revision=revision,
        method=neurons.summary["method"],
        values="mean activation",
        tokens={language: counted.tokens for language, counted in statistics.items()},
        inputs=[
            *(arguments.neurons, checked(arguments.neurons, neurons.summary, ".tsv"), *arguments.statistics),
            *(path.with_suffix(".npz") for path in arguments.statistics),
        ],
    )
    logger.info("steering %s %s: %d values", neurons.summary["model"], neurons.summary["method"], len(values.table))
