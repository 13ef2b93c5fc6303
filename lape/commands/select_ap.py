"""Find for every language as many FFN neurons as another method did, by their average precision."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import read_json

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--average-precision", type=Path, required=True, help="header of the units' average precision")
    parser.add_argument("--neurons", type=Path, required=True, help="header of the neurons whose numbers are taken")
    parser.add_argument("--output", type=Path, required=True, help="ap.tsv; ap.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.neurons.by_precision import ap_neurons

    neurons = ap_neurons(arguments.average_precision, arguments.neurons)
    header, like = read_json(arguments.average_precision), read_json(arguments.neurons)
    inputs = [arguments.average_precision, arguments.average_precision.with_suffix(".npy")]
    neurons.save(
        arguments.output,
        method="ap",
        model=header["model"],
        model_revision=header["model_revision"],
        checkpoint=like.get("checkpoint"),
        languages=like["languages"],
        parameters={},
        inputs=[*inputs, arguments.neurons, arguments.neurons.with_suffix(".tsv")],
    )
    logger.info("neurons %s: %d by average precision, %s", header["model"], len(neurons.table), neurons.counts())
