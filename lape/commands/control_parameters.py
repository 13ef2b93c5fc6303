"""Draw a control of language-specific parameters: as many in every matrix, none of them any language's own."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import write_header
from lape.errors import LapeError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parameters", type=Path, required=True, help="header of the selected parameters")
    parser.add_argument("--model", type=Path, help="with --finetuned: model.json of the model before fine-tuning")
    parser.add_argument(
        "--finetuned",
        type=Path,
        nargs="+",
        default=[],
        help="LANGUAGE.json of every copy: draw parameters whose weights and changes are about as large",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw")
    parser.add_argument("--output", type=Path, required=True, help="active_pv.safetensors; its header beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.neurons.controls import ACTIVITY_MATCHED, LAYER_MATCHED
    from lape.parameter_variation.controls import control_parameters, magnitude_matched_controls
    from lape.parameter_variation.parameters import Parameters
    from lape.parameter_variation.reading import read_copies

    if bool(arguments.finetuned) != bool(arguments.model):
        raise LapeError("--model, --finetuned: a control of the same magnitude takes both; pass both or neither")
    selected = Parameters.load(arguments.parameters)
    inputs = [arguments.parameters, arguments.parameters.with_suffix(".safetensors")]
    if arguments.finetuned:
        _, base, finetuned = read_copies(arguments.model, arguments.finetuned)
        (control,), prefix = magnitude_matched_controls(selected, base, finetuned, [arguments.seed]), ACTIVITY_MATCHED
        copies = [path.with_suffix(end) for path in arguments.finetuned for end in (".json", ".safetensors")]
        inputs += [arguments.model, *copies]
        if any(control.summary["unmatched"].values()):
            counts = ", ".join(f"{name} {count}" for name, count in control.summary["unmatched"].items() if count)
            logger.warning("control_parameters: random ones of the matrix, as none outside all sets match: %s", counts)
    else:
        control, prefix = control_parameters(selected, arguments.seed), LAYER_MATCHED
    control.save(arguments.output)
    write_header(
        arguments.output.with_suffix(".json"),
        "parameters",
        method=f"{prefix}{selected.summary['method']}",
        model=selected.summary["model"],
        model_revision=selected.summary["model_revision"],
        languages=selected.summary["languages"],
        training=selected.summary["training"],
        **control.description(),
        parameters={"seed": arguments.seed},
        inputs=inputs,
        outputs=[arguments.output],
    )
