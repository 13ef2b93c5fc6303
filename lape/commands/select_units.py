"""Find the expert units of every language by average precision: the top, the bottom and random ones."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import checked, read_array, read_json, sha256, write_header
from lape.errors import LapeError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--average-precision", type=Path, required=True, help="header of the units' average precision")
    parser.add_argument("--responses", type=Path, required=True, help="header of the responses, for the medians")
    parser.add_argument("--number", type=int, default=1000, help="units in the top; random ones are twice as many")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random ranking")
    parser.add_argument(
        "--bottom",
        choices=["negated", "ascending"],
        default="negated",
        help="how the bottom is ranked: by the negated response, or from the lowest on, as the authors do",
    )
    parser.add_argument("--output", type=Path, required=True, help="units.tsv; units.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.expert_units.blocks import Responses
    from lape.expert_units.selection import select_units
    from lape.machine.progress import progress

    header = read_json(arguments.average_precision, "average_precision")
    if sha256(arguments.responses) not in header["inputs"].values():
        raise LapeError(
            f"{arguments.average_precision}: was not computed from {arguments.responses}; compute it from them again"
        )
    values = checked(arguments.average_precision, header, ".npy")
    responses = Responses.load(arguments.responses)
    parameters = {name: getattr(arguments, name) for name in ("number", "seed", "bottom")}
    label = f"select_units {header['model']}"
    with progress(responses.units, label, "unit") as bar:
        units = select_units(
            read_array(values, mmap=True),
            responses,
            neuron_part=header["neuron_part"],
            **parameters,
            on_chunk=bar.update,
        )
    units.save(arguments.output)
    write_header(
        arguments.output.with_suffix(".json"),
        "expert_units",
        method="expert_units",
        model=header["model"],
        model_revision=header["model_revision"],
        languages=list(units.languages),
        number=min(arguments.number, units.units),
        units=units.units,
        linear_layers=header["linear_layers"],
        neuron_part=units.neuron_part,
        parameters=parameters,
        inputs=[arguments.average_precision, values, arguments.responses],
        outputs=[arguments.output],
    )
    mean = units.table[units.table["ranking"] == "top"].groupby("language", sort=False)["average_precision"].mean()
    text = ", ".join(f"{language} {value:.3f}" for language, value in mean.items())
    logger.info("%s: mean average precision of the top %s", label, text)
