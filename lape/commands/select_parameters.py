"""Find language-specific parameters from copies of the model that were fine-tuned on one language each (PV)."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import write_header

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json of the model before fine-tuning")
    parser.add_argument("--finetuned", type=Path, nargs="+", required=True, help="LANGUAGE.json of every copy")
    parser.add_argument("--ratio", type=float, default=0.01, help="share of all parameters of the matrices")
    parser.add_argument(
        "--change",
        choices=["absolute", "signed"],
        default="absolute",
        help="what is compared between languages: the sizes of relative changes, or the changes with their sign",
    )
    parser.add_argument("--output", type=Path, required=True, help="pv.safetensors; pv.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.parameter_variation.reading import read_copies, trainings
    from lape.parameter_variation.selection import select_parameters

    description, base, finetuned = read_copies(arguments.model, arguments.finetuned)
    parameters = select_parameters(base, finetuned, arguments.ratio, arguments.change)
    parameters.save(arguments.output)
    write_header(
        arguments.output.with_suffix(".json"),
        "parameters",
        method="pv",
        model=description["name"],
        model_revision=description["revision"],
        languages=list(finetuned),
        training=trainings(arguments.finetuned),
        **parameters.description(),
        parameters={"ratio": arguments.ratio, "change": arguments.change},
        inputs=[
            arguments.model,
            *(path.with_suffix(end) for path in arguments.finetuned for end in (".json", ".safetensors")),
        ],
        outputs=[arguments.output],
    )
    logger.info(
        "select_parameters: %d of %d parameters up to entropy %.4f (maximum %.4f): %s",
        *(parameters.summary[key] for key in ("selected", "wanted", "entropy_at_cut", "entropy_maximum")),
        ", ".join(f"{name} {count}" for name, count in parameters.counts().items()),
    )
