"""Read the files of others as artifacts that every later command takes like our own: released files, neuron sets.

Files are loaded without running code that they may carry.
"""
# ruff: noqa: N999  (a command and its module have one name, which no statement imports)

import argparse
import dataclasses
import logging
import re
from pathlib import Path

from lape.artifacts.files import write_header
from lape.config import RESERVED
from lape.errors import LapeError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="neurons | counts | set")
    neurons = kinds.add_parser(
        "neurons",
        help="list[language][layer] of indices",
        description="A released or exported neuron file, as a neurons artifact. The header of an exported file, "
        "FILE.json, says its languages and its model. The name of a released file says its model.",
        formatter_class=parser.formatter_class,
    )
    neurons.add_argument("file", type=Path, metavar="FILE", help="such as LLaMA-2-7B.neuron.pth")
    neurons.add_argument(
        "--languages",
        type=_languages,
        help="languages of the file, in its order: en,zh,... (default: those of its header, or of the paper's model)",
    )
    _add_model(neurons, "the file's")
    neurons.add_argument(
        "--neurons-per-layer",
        type=int,
        help="neurons in each layer, for a model that is not the paper's (without --model)",
    )
    neurons.add_argument("--output", type=Path, required=True, metavar="NAME.tsv", help="NAME.json beside it")
    neurons.set_defaults(run=_neurons)
    counts = kinds.add_parser(
        "counts",
        help="how often neurons fired, one file per language",
        description="The authors' count files, as statistics artifacts.",
        formatter_class=parser.formatter_class,
    )
    counts.add_argument(
        "files", type=_counted, nargs="+", metavar="LANGUAGE=FILE", help="a language and its count file"
    )
    _add_model(counts, "the folder's")
    counts.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="for LANGUAGE.npz, LANGUAGE.json")
    counts.set_defaults(run=_counts)
    from_set = kinds.add_parser(
        "set",
        help="neurons of a neuron set, from a folder or the hub",
        description="The neurons of one method of a neuron set (`lape export set`), as a neurons artifact.",
        formatter_class=parser.formatter_class,
    )
    from_set.add_argument("source", metavar="SET", help="folder, or dataset of the hub: owner/name")
    from_set.add_argument("--method", default="lape", help="that found the neurons")
    from_set.add_argument("--revision", help="of the dataset on the hub: commit, tag or branch")
    from_set.add_argument("--output", type=Path, required=True, metavar="NAME.tsv", help="NAME.json beside it")
    from_set.set_defaults(run=_set)


def run(arguments: argparse.Namespace) -> None:
    arguments.run(arguments)


def _add_model(parser: argparse.ArgumentParser, default: str) -> None:
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", type=Path, help="model.json: name, revision and shape are taken from it")
    model.add_argument("--name", help=f"of the model in tables (default: {default})")


def _neurons(arguments: argparse.Namespace) -> None:
    from lape.neurons.released import Export, Source, read_neurons

    file, output = arguments.file, arguments.output
    file = file.with_suffix("") if file.suffix == ".json" else file  # the header of an export is as good as its file
    if output.suffix != ".tsv":
        raise LapeError(f"{output}: neurons are written as TSV; give --output a name that ends in .tsv")
    if arguments.neurons_per_layer is not None and arguments.neurons_per_layer < 1:
        raise LapeError(f"--neurons-per-layer: {arguments.neurons_per_layer} is no number of neurons; raise it")
    if arguments.model and arguments.neurons_per_layer:
        raise LapeError(f"--neurons-per-layer: {arguments.model} says how many there are; leave one of the two out")
    exported = Export.beside(file)
    if exported is not None:
        source = _exported_source(arguments, exported)
    elif arguments.model:
        source = Source.described(arguments.model)
    else:  # "LLaMA-2-7B.neuron.pth" is of LLaMA-2-7B
        name = arguments.name or re.sub(r"(\.neurons?)?\.\w+$", "", file.name)
        source = Source.named(name, arguments.neurons_per_layer)
    neurons = read_neurons(file, exported.languages if exported else arguments.languages, source)
    neurons.save(
        output,
        method=exported.method if exported else "lape",
        **_identity(source),
        languages=list(neurons.sets),
        parameters={"languages": list(neurons.sets)},
        inputs=[file, *([exported.header] if exported else []), *([arguments.model] if arguments.model else [])],
    )
    logger.info("neurons %s: %d imported, %s", source.name, len(neurons.table), neurons.counts())


def _exported_source(arguments: argparse.Namespace, exported):
    """The model of an exported file. Options may rename or describe it, and must not contradict the file's header."""
    from lape.neurons.released import Source

    header, source = exported.header, exported.source
    if arguments.languages not in (None, exported.languages):
        raise LapeError(f"--languages: {header} names {', '.join(exported.languages)}; leave --languages out")
    if arguments.neurons_per_layer not in (None, source.sites.shape[-1]):
        raise LapeError(f"--neurons-per-layer: {header} has {source.sites}; leave --neurons-per-layer out")
    if arguments.model is None:
        return dataclasses.replace(source, name=arguments.name or source.name)
    described = Source.described(arguments.model)
    if described.sites != source.sites:
        raise LapeError(f"{arguments.model}: has {described.sites}, but {header} {source.sites}; leave --model out")
    return described


def _counts(arguments: argparse.Namespace) -> None:
    from lape.neurons.released import Source, read_counts

    files = dict(arguments.files)
    if len(files) != len(arguments.files):
        named = ", ".join(language for language, _ in arguments.files)
        raise LapeError(f"LANGUAGE=FILE: a language is named twice ({named}); name each once")
    folder = arguments.output
    name = arguments.name or folder.resolve().name
    source = Source.described(arguments.model) if arguments.model else Source.named(name)
    for language, statistics in read_counts(files, source).items():
        output = folder / f"{language}.npz"
        statistics.save(output)
        write_header(
            output.with_name(f"{language}.json"),
            "statistics",
            language=language,
            **_identity(source),
            **statistics.sites.description(),
            tokens=statistics.tokens,
            shards=[],
            parameters={"thresholds": []},
            inputs=[files[language], *([arguments.model] if arguments.model else [])],
            outputs=[output],
        )
        logger.info("statistics %s %s: %d tokens imported", source.name, language, statistics.tokens)


def _set(arguments: argparse.Namespace) -> None:
    from lape.export.neuron_set import NeuronSet

    found = NeuronSet.open(arguments.source, f"neurons_{arguments.method}", arguments.revision)
    neurons = found.neurons(arguments.method)
    neurons.save(arguments.output, inputs=found.files(arguments.method))
    logger.info("neurons %s: %d imported, %s", found.header["model"], len(neurons), neurons.counts())


def _identity(source) -> dict[str, str | None]:
    """What a header says of the model; `checkpoint` is its repository of the hub."""
    return {"model": source.name, "model_revision": source.revision, "checkpoint": source.checkpoint}


def _language(text: str) -> str:
    """A language's name, fit for a file name and a cell."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text) or text in RESERVED:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of a language; use letters, digits, . _ and -, none of {', '.join(RESERVED)}"
        )
    return text


def _languages(text: str) -> list[str]:
    return [_language(name) for name in text.split(",")]


def _counted(text: str) -> tuple[str, Path]:
    language, equals, path = text.partition("=")
    if not (equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not LANGUAGE=FILE; write en=FILE")
    return _language(language), Path(path)
