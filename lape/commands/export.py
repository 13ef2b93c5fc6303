"""Write what a run found for tools that know nothing of lape: neurons as the authors release theirs, or a checkpoint.

A checkpoint has languages switched off, or on, in its own weights.
"""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import write_header
from lape.commands.arguments import add_switching
from lape.errors import LapeError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="neurons | checkpoint")
    neurons = kinds.add_parser(
        "neurons",
        help="list[language][layer] of indices",
        description="Neurons as a .pth file of list[language][layer] of indices, as the authors release theirs. The "
        "file names neither its languages nor its model. FILE.json beside it does, and `lape import neurons` reads "
        "both. In a mixture of experts an index is the place in the layer, expert * width + index.",
        formatter_class=parser.formatter_class,
    )
    neurons.add_argument("neurons", type=Path, metavar="HEADER.json", help="of the neurons")
    neurons.add_argument("--output", type=Path, required=True, metavar="FILE.pth", help="FILE.pth.json beside it")
    neurons.set_defaults(run=_neurons)
    checkpoint = kinds.add_parser(
        "checkpoint",
        help="a folder of transformers with languages switched off or on in the weights",
        description="A run's model with languages switched in its weights, as save_pretrained() writes a model. "
        "Switched off is a column of zeros in the down projection. Switched on wants a bias where the activation "
        "function reads, which many architectures lack. One file of weights is in memory at a time. A card, README.md, "
        "says what was done.",
        formatter_class=parser.formatter_class,
    )
    add_switching(checkpoint)
    checkpoint.add_argument(
        "--compare",
        type=int,
        default=256,
        metavar="TOKENS",
        help="of the run's text, on which the logits are compared with the perturbed model's; 0 loads no model",
    )
    checkpoint.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="new folder")
    checkpoint.set_defaults(run=_checkpoint)


def run(arguments: argparse.Namespace) -> None:
    arguments.run(arguments)


def _neurons(arguments: argparse.Namespace) -> None:
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


def _checkpoint(arguments: argparse.Namespace) -> None:
    from lape.export.checkpoint import export_checkpoint
    from lape.interventions.dose import Dose
    from lape.playground.change import Change
    from lape.playground.finished_run import FinishedRun

    finished = FinishedRun.open(arguments.run_folder)
    change = Change(tuple(arguments.deactivate), arguments.steer, Dose.parse(arguments.dose))
    if not (change.off or change.on):
        raise LapeError("export checkpoint: nothing is switched; give --deactivate or --steer a language")
    model = arguments.model or finished.models[0]
    method = finished.method(model, arguments.method)
    model_json = finished.model_json(model)
    perturbation = change.by(method, _reader(model_json), finished.units)
    compared = export_checkpoint(
        model_json,
        arguments.output,
        perturbation,
        title=str(change),
        found=method.units or method.neurons,
        inputs=method.files(bool(change.on)),
        chunks=_chunks(finished, model, [*change.off, *([change.on] if change.on else [])], arguments.compare),
        parameters={"method": method.name, "off": list(change.off), "on": change.on, "dose": str(change.dose)},
    )
    if compared is not None:
        logger.info(
            "%s: on %d tokens (%s) no logit is further than %.3g from the perturbed model's",
            arguments.output,
            compared.tokens,
            compared.dtype,
            compared.difference,
        )


def _reader(model_json: Path):
    """Reads an artifact of a kind, after a check that it was found on the model."""
    from lape.artifacts.files import read_json
    from lape.model.loading import check_found_on

    description = read_json(model_json, "model")

    def read(kind: type, path: Path):
        check_found_on(description, path, read_json(path))
        return kind.load(path)

    return read


def _chunks(finished, model: str, languages: list[str], tokens: int) -> list:
    """The first tokens of some languages' text that the run kept for evaluation, as many of each."""
    from lape.artifacts.files import read_array

    if tokens <= 0:
        return []
    share, chunks = -(-tokens // len(languages)), []
    for language in languages:
        valid = read_array(finished.folder / "tokens" / model / language / "valid.npy", mmap=True)
        rows = -(-share // valid.shape[1])
        chunks += [row[: share - number * valid.shape[1]].astype("int64") for number, row in enumerate(valid[:rows])]
    return chunks
