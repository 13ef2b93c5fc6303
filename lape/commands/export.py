"""Write what a run found for others: the authors' file of neurons, a checkpoint, a set, a task, or an RO-Crate.

A checkpoint has languages switched off, or on, in its own weights. A neuron set is a dataset of the hub.
"""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import write_header
from lape.commands.arguments import add_run, add_switching
from lape.errors import LapeError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="neurons | checkpoint | set | task | rocrate")
    neurons = kinds.add_parser(
        "neurons",
        help="list[language][layer] of indices",
        description="Neurons as a .pth file of list[language][layer] of indices, as the authors release theirs. The "
        "file names neither its languages nor its model. FILE.json beside it does, and `lape import neurons` reads "
        "both. In a mixture of experts an index is the place in the layer, expert * width + index. The form `kinit` is "
        "that of github.com/kinit-sk/language-neuron-detection.",
        formatter_class=parser.formatter_class,
    )
    neurons.add_argument("neurons", type=Path, metavar="HEADER.json", help="of the neurons")
    neurons.add_argument("--form", choices=("lape", "kinit"), default="lape", help="of the file")
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
    task = kinds.add_parser(
        "task",
        help="a run's questions for lm-evaluation-harness",
        description="A run's questions in the format of lm-evaluation-harness: JSON lines and a YAML file per "
        "language. Give the folder to its --include_path, and name TASK_<language>, or TASK for all languages, in its "
        "--tasks.",
        formatter_class=parser.formatter_class,
    )
    task.add_argument(
        "run_folder", metavar="RUN", type=Path, help="run that has the questions, such as results/default"
    )
    task.add_argument("task", metavar="TASK", help="of the run, such as next_passage")
    task.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="new folder")
    task.set_defaults(run=_task)
    _add_set(kinds, parser)
    _add_rocrate(kinds, parser)


def _add_set(kinds, parser: argparse.ArgumentParser) -> None:
    folder = kinds.add_parser(
        "set",
        help="a dataset of the hub: neurons, steering values, expert units, a card",
        description="What a run found on a model, as a folder in the hub's format of datasets: a Parquet file for the "
        "neurons of each method, their steering values, expert units, and how often each neuron was selected where the "
        "run measured it. A card, README.md, says the rest. `lape push` uploads the folder.",
        formatter_class=parser.formatter_class,
    )
    add_run(folder)
    folder.add_argument("--method", nargs="+", default=[], metavar="METHOD", help="instead of all that the run has")
    folder.add_argument("--contexts", action="store_true", help="with the texts that neurons fire on")
    folder.add_argument("--text-licence", metavar="LICENCE", help="of the text, where lape does not know it")
    folder.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="new folder")
    folder.set_defaults(run=_set)


def _add_rocrate(kinds, parser: argparse.ArgumentParser) -> None:
    rocrate = kinds.add_parser(
        "rocrate",
        help="a run's manifest as linked data (Process Run Crate)",
        description="The manifest of a run as an RO-Crate, in the profile Process Run Crate: ro-crate-metadata.json "
        "in the run's folder, which thereby is the crate. Every artifact is an action with its command, inputs, "
        "results, software and times.",
        formatter_class=parser.formatter_class,
    )
    rocrate.add_argument("manifest", type=Path, metavar="MANIFEST.json", help="such as results/default/manifest.json")
    rocrate.set_defaults(run=_rocrate)


def run(arguments: argparse.Namespace) -> None:
    arguments.run(arguments)


def _neurons(arguments: argparse.Namespace) -> None:
    from lape.neurons.released import write_neurons
    from lape.neurons.table import Neurons

    neurons = Neurons.load(arguments.neurons)
    write_neurons(neurons, arguments.output, arguments.form)
    write_header(
        # Not .json alone: an export beside its source would take the name of the source's header.
        arguments.output.with_name(f"{arguments.output.name}.json"),
        "export",
        **{key: neurons.summary.get(key) for key in ("method", "model", "model_revision", "checkpoint")},
        languages=list(neurons.sets),
        **neurons.sites.description(),
        parameters={"form": arguments.form},
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


def _task(arguments: argparse.Namespace) -> None:
    from lape.export.task import export_task

    names = export_task(arguments.run_folder, arguments.task, arguments.output)
    logger.info("%s: %s", arguments.output, ", ".join(names))


def _set(arguments: argparse.Namespace) -> None:
    from lape.export.set_files import export_set
    from lape.playground.finished_run import FinishedRun

    finished = FinishedRun.open(arguments.run_folder)
    rows = export_set(
        finished,
        arguments.model or finished.models[0],
        arguments.output,
        methods=arguments.method,
        contexts=arguments.contexts,
        text_licence=arguments.text_licence,
    )
    logger.info("%s: %s", arguments.output, ", ".join(f"{name} {number}" for name, number in rows.items()))


def _rocrate(arguments: argparse.Namespace) -> None:
    from lape.artifacts import rocrate
    from lape.artifacts.files import read_json, write_json

    manifest = read_json(arguments.manifest, "manifest")
    folder = next((folder for folder in arguments.manifest.parents if (folder / "config.json").is_file()), None)
    if folder is None:
        raise LapeError(f"{arguments.manifest}: lies in no run's folder (no config.json); name a run's manifest")
    content = rocrate.crate(manifest)
    write_json(folder / rocrate.NAME, content)
    logger.info("%s: %d entities", folder / rocrate.NAME, len(content["@graph"]))


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
