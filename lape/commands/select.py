"""Find language-specific neurons by one of the methods that need the statistics alone: LAPE, LAVE or LAP."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import checked, read_json
from lape.display.layers import ranges
from lape.errors import LapeError, counted
from lape.neurons.selection import ASSIGNMENTS, NEGATIVE, SELECTIONS

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--statistics", type=Path, nargs="+", required=True, help="LANGUAGE.json of every language")
    parser.add_argument("--method", choices=SELECTIONS, default="lape", help="how neurons are selected")
    parser.add_argument("--ratio", type=float, default=0.01, help="share of all neurons that is selected")
    parser.add_argument(
        "--quantile", type=float, default=0.95, help="quantile of all values that is the threshold (lape, lave)"
    )
    parser.add_argument("--negative", choices=NEGATIVE, default="zero", help="what a negative mean counts as (lave)")
    parser.add_argument(
        "--probability", type=float, default=0.95, help="activation probability that a neuron must exceed (lap)"
    )
    parser.add_argument(
        "--minimum-tokens", type=int, default=0, help="leave out neurons of experts that fewer tokens reached"
    )
    parser.add_argument("--entropy-ceiling", type=float, help="share of ln K above which a neuron is left out")
    parser.add_argument(
        "--assignment",
        choices=ASSIGNMENTS,
        default="threshold",
        help="languages that a neuron belongs to: all above the threshold, or the highest",
    )
    parser.add_argument("--quota", type=int, help="neurons per language, in place of --ratio")
    parser.add_argument("--output", type=Path, required=True, help="METHOD.tsv; METHOD.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.statistics.sums import ActivationStatistics

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
    own = {"lape": ("quantile",), "lave": ("quantile", "negative"), "lap": ("probability",)}[arguments.method]
    shared = ("minimum_tokens", "entropy_ceiling", "assignment", "quota")
    parameters = {name: getattr(arguments, name) for name in ("ratio", *own, *shared)}
    neurons = SELECTIONS[arguments.method](statistics, **parameters)
    neurons.save(
        arguments.output,
        method=arguments.method,
        model=model,
        model_revision=revision,
        checkpoint=headers[0].get("checkpoint"),
        languages=languages,
        tokens={language: value.tokens for language, value in statistics.items()},
        parameters=parameters,
        inputs=[*arguments.statistics, *data],
    )
    logger.info("neurons %s %s: %d selected", model, arguments.method, neurons.summary["selected"])
    for language, member in zip(neurons.sets, neurons.membership().T, strict=True):
        own = neurons.table["layer"][member]
        layers = f" in layer{'s' * (own.nunique() > 1)} {ranges(own)}" if len(own) else ""
        logger.info("  %s: %s%s", language, counted(len(own), "neuron"), layers)
