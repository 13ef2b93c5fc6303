"""Write neurons as the authors release theirs: a .pth file of list[language][layer] of indices.

The file names neither its languages nor its model. FILE.json beside it does, and `lape import neurons` reads both. In
a mixture of experts an index is the place in the layer, expert * width + index.
"""

import argparse
from pathlib import Path

from lape.artifacts.files import write_header


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=["neurons"], metavar="neurons", help="what is written")
    parser.add_argument("neurons", type=Path, metavar="HEADER.json", help="of the neurons")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.pth", help="FILE.pth.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.neurons.released import write_neurons
    from lape.neurons.table import Neurons

    neurons = Neurons.load(arguments.neurons)
    write_neurons(neurons, arguments.output)
    write_header(
        # Not .json alone: an export beside its source would take the name of the source's header.
        arguments.output.with_name(f"{arguments.output.name}.json"),
        "export",
        **{key: neurons.summary.get(key) for key in ("method", "model", "model_revision", "checkpoint")},
        languages=list(neurons.sets),
        **neurons.sites.description(),
        parameters={},
        inputs=[arguments.neurons, arguments.neurons.with_suffix(".tsv")],
        outputs=[arguments.output],
    )
