"""How stable selected neurons are: selected anew from other shards, fewer tokens, or without one of the languages."""

import argparse
import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from lape.artifacts.files import read_json, sha256, write_header, writing
from lape.errors import LapeError
from lape.neurons.selection import SELECTIONS

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--statistics", type=Path, nargs="+", required=True, help="LANGUAGE.json of every language")
    parser.add_argument(
        "--neurons", type=Path, required=True, help="METHOD.json of the neurons selected from these statistics"
    )
    parser.add_argument("--resamples", type=int, default=200, help="random draws of shards")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws")
    parser.add_argument("--output", type=Path, required=True, help="MODEL.json; MODEL.PART.tsv beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.machine.progress import progress
    from lape.neurons import stability
    from lape.neurons.table import Neurons
    from lape.statistics.sums import ActivationStatistics

    if arguments.resamples < 1:
        raise LapeError(f"stability.resamples: {arguments.resamples} is no draw; raise it")
    neurons = Neurons.load(arguments.neurons)
    header = neurons.summary
    method, languages = header["method"], header["languages"]
    if method not in SELECTIONS:
        raise LapeError(
            f"{arguments.neurons}: {method} does not select from statistics; pass neurons of {', '.join(SELECTIONS)}"
        )
    sources = _sources(arguments.statistics, arguments.neurons, header)
    files = {language: _shard_files(*sources[language]) for language in languages}
    shards = {
        language: stability.Shards.of(map(ActivationStatistics.load, files[language]), means=method == "lave")
        for language in languages
    }

    number = stability.selections(shards, arguments.resamples)
    with _quiet(), progress(number, f"stability {header['model']}", "selection") as bar:

        def select(statistics):
            bar.update()
            return SELECTIONS[method](statistics, **header["parameters"])

        parts = stability.parts(shards, select, arguments.resamples, arguments.seed)

    written = []
    for name, frame in parts.items():
        written.append(arguments.output.with_suffix(f".{name}.tsv"))
        with writing(written[-1]) as temporary:
            frame.to_csv(temporary, sep="\t", index=False, lineterminator="\n")
    write_header(
        arguments.output,
        "stability",
        method=method,
        model=header["model"],
        model_revision=header["model_revision"],
        languages=languages,
        **neurons.sites.description(),
        selected=len(neurons.table),
        counts=neurons.counts(),
        shards={language: shards[language].tokens.tolist() for language in languages},
        selection=header["parameters"],
        parameters={"resamples": arguments.resamples, "seed": arguments.seed},
        inputs=[
            arguments.neurons,
            arguments.neurons.with_suffix(".tsv"),
            *arguments.statistics,
            *(file for language in languages for file in files[language]),
        ],
        outputs=written,
    )
    logger.info("stability %s: %d selections from %d languages' shards", header["model"], number, len(languages))


def _sources(paths: Sequence[Path], neurons: Path, header: dict) -> dict[str, tuple[Path, dict]]:
    """Path and header of every language's statistics, those that the neurons were selected from and no other."""
    sources = {}
    for path in paths:
        statistics = read_json(path, "statistics")
        if sha256(path) not in header["inputs"].values():
            raise LapeError(f"{neurons}: was not selected from {path}; run `lape select` on these statistics")
        sources[statistics["language"]] = path, statistics
    for language in header["languages"]:
        if language not in sources:
            raise LapeError(f"--statistics: {language} of {neurons} is missing; name the statistics of every language")
    return sources


def _shard_files(path: Path, header: dict) -> list[Path]:
    """The shards of a language that hold tokens, once their hashes are those that its header names."""
    if not header["shards"]:
        raise LapeError(f"{path}: imported counts have no shards to compare; count with `lape statistics`")
    names = [shard["file"] for shard in header["shards"] if shard["tokens"]]  # empty where batches are fewer
    if len(names) < 2:
        raise LapeError(
            f"{path}: {len(names)} of its {len(header['shards'])} shards hold tokens and stability compares shards; "
            "raise statistics.shards, or lower statistics.batch_size where few batches hold all tokens"
        )
    for name in names:
        if sha256(path.parent / name) != header["outputs"][name]:
            raise LapeError(f"{path.parent / name}: is not the file that {path} was written for; run the step again")
    return [path.parent / name for name in names]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """That fewer neurons than wanted pass is worth a line when they are selected, not at every draw."""
    selection = logging.getLogger("lape.neurons.selection")
    level = selection.level
    selection.setLevel(logging.ERROR)
    try:
        yield
    finally:
        selection.setLevel(level)
