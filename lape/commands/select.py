"""Find language-specific neurons: the lowest language activation probability entropy (LAPE)."""

import argparse
import logging
from pathlib import Path

from lape.artifact import checked, read_json, write_header
from lape.errors import LapeError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--statistics", type=Path, nargs="+", required=True, help="LANGUAGE.json of every language")
    parser.add_argument("--ratio", type=float, default=0.01, help="share of all neurons that is selected")
    parser.add_argument("--quantile", type=float, default=0.95, help="of all activation probabilities: the threshold")
    parser.add_argument("--output", type=Path, required=True, help="METHOD.tsv; METHOD.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.selection import select_lape
    from lape.statistics import ActivationStatistics

    headers = [read_json(path, "statistics") for path in arguments.statistics]
    model, revision = headers[0]["model"], headers[0]["model_revision"]
    for path, header in zip(arguments.statistics, headers, strict=True):
        if (header["model"], header["model_revision"]) != (model, revision):
            raise LapeError(f"{path}: counted on another model than {arguments.statistics[0]}; count them on one")
    languages = [header["language"] for header in headers]
    if len(set(languages)) != len(languages):
        raise LapeError(f"--statistics: a language is named twice ({', '.join(languages)}); name each once")

    data = [checked(path, header, ".npz") for path, header in zip(arguments.statistics, headers, strict=True)]
    statistics = {language: ActivationStatistics.load(path) for language, path in zip(languages, data, strict=True)}
    parameters = {"ratio": arguments.ratio, "quantile": arguments.quantile}
    neurons = select_lape(statistics, **parameters)
    neurons.save(arguments.output)
    write_header(
        arguments.output.with_suffix(".json"),
        "neurons",
        method="lape",
        model=model,
        model_revision=revision,
        languages=languages,
        tokens={language: value.tokens for language, value in statistics.items()},
        **neurons.description(),
        parameters=parameters,
        inputs=[*arguments.statistics, *data],
        outputs=[arguments.output],
    )
    logger.info("neurons %s: %d selected, %s", model, neurons.summary["selected"], neurons.counts())
