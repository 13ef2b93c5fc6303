"""Perplexity of one language under several draws of a control: what other sets of the same size do to it.

The model is loaded once for all draws. Each draw is made anew here, and is the one that `lape control` (for parameters
`lape control_parameters`) makes with its seed: as active as the neurons, or as large and as changed as the parameters.
"""

import argparse
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lape.artifacts.files import read_json, write_header, writing
from lape.commands.arguments import add_backend
from lape.errors import LapeError

if TYPE_CHECKING:
    from lape.evaluation.deactivation import Deactivation

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json")
    parser.add_argument("--tokens", type=Path, required=True, help="valid.json of the language")
    parser.add_argument("--selected", type=Path, required=True, help="header of the neurons or parameters")
    parser.add_argument("--statistics", type=Path, help="statistics header of the language, for neurons")
    parser.add_argument("--finetuned", type=Path, help="header of the language's fine-tuned copy, for parameters")
    parser.add_argument("--nearest", type=int, default=3, help="a neuron's match is one of so many nearest ones")
    parser.add_argument("--draws", type=int, default=20, help="number of draws")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first draw; each further draw has the next")
    parser.add_argument("--batch-size", type=int, default=4, help="chunks per forward pass")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    add_backend(parser)
    parser.add_argument(
        "--output", type=Path, required=True, help="LANGUAGE.tsv, by draw and chunk; its header beside it"
    )


def run(arguments: argparse.Namespace) -> None:
    import pandas as pd

    from lape.evaluation.held_out import HeldOutText, token_files
    from lape.evaluation.perplexity import chunk_nll
    from lape.kernels import ops
    from lape.model.running import running

    if arguments.draws < 1:
        raise LapeError(f"--draws {arguments.draws}: there is nothing to measure; give 1 or more")
    description, text = read_json(arguments.model, "model"), HeldOutText.load(arguments.tokens)
    summary, files, controls = _controls(arguments, text.language, description)
    tokens = text.chunks.size
    label = f"draws {description['name']} {summary['method']} {text.language}"
    sizes = {name: getattr(arguments, name) for name in ("batch_size", "threads")}
    rows, table = [], []
    with running(arguments.model, label, arguments.draws * tokens, **sizes) as run:
        for seed, off in controls:

            def work(size: int, off: "Deactivation" = off):
                with off.begin(run.model) as record:
                    return chunk_nll(run.model, text.chunks, size, arguments.backend, run.bar.update), record

            nll, record = run.batches(work)
            mean = float(nll.sum()) / (text.predicted * len(nll))
            rows.append({"seed": seed, "nll": mean, **off.proof(record, tokens)})
            table += [{"seed": seed, **row} for row in text.rows(nll)]
    with writing(arguments.output) as temporary:
        pd.DataFrame(table).to_csv(temporary, sep="\t", index=False, lineterminator="\n")
    write_header(
        arguments.output.with_suffix(".json"),
        "draws",
        model=description["name"],
        model_revision=description["revision"],
        method=summary["method"],
        language=text.language,
        rows=rows,
        batch_size=run.batches.size,
        device=str(run.device),
        backend=ops.active_backend(run.device, arguments.backend),
        dtype=description["dtype"],
        parameters={
            name: getattr(arguments, name) for name in ("nearest", "draws", "seed", "batch_size", "threads", "backend")
        },
        inputs=[arguments.model, *token_files(arguments.tokens), *files],
        outputs=[arguments.output],
    )
    logger.info("%s: mean NLL %s", label, ", ".join(f"{row['nll']:.3f}" for row in rows))


def _controls(
    arguments: argparse.Namespace, language: str, description: dict
) -> tuple[dict, list[Path], "Iterator[tuple[int, Deactivation]]"]:
    """The header of what was selected, the files that are read, and the draws, one after the other."""
    from lape.evaluation.deactivation import Deactivation
    from lape.interventions.perturbation import deactivate
    from lape.interventions.zeroing import zeroed
    from lape.model.loading import check_found_on
    from lape.neurons.controls import ACTIVITY_MATCHED, activity_matched_control
    from lape.neurons.set_names import known_sets
    from lape.neurons.table import Neurons
    from lape.parameter_variation.controls import magnitude_matched_controls
    from lape.parameter_variation.parameters import Parameters
    from lape.parameter_variation.reading import read_copies
    from lape.statistics.sums import read_statistics

    of_parameters = read_json(arguments.selected).get("artifact") == "parameters"
    options = {"finetuned": arguments.finetuned, "statistics": arguments.statistics}
    wanted, unwanted = options if of_parameters else reversed(options)
    if options[wanted] is None or options[unwanted] is not None:
        kind = "parameters" if of_parameters else "neurons"
        raise LapeError(f"{arguments.selected}: are {kind}; pass --{wanted} of the language, and no --{unwanted}")
    selected = (Parameters if of_parameters else Neurons).load(arguments.selected)
    summary = selected.summary
    check_found_on(description, arguments.selected, summary)
    known_sets(language, selected.sets, selected.origin)
    files = [arguments.selected, *(arguments.selected.with_name(name) for name in summary.get("outputs", ()))]
    seeds = range(arguments.seed, arguments.seed + arguments.draws)
    if of_parameters:
        files += [arguments.finetuned, arguments.finetuned.with_suffix(".safetensors")]
    else:
        statistics = read_statistics([arguments.statistics], summary.get("model_revision"))
        files += [arguments.statistics, arguments.statistics.with_suffix(".npz")]

    def controls() -> Iterator[tuple[partial, dict]]:
        if of_parameters:
            _, base, finetuned = read_copies(arguments.model, [arguments.finetuned])
            for control in magnitude_matched_controls(selected, base, finetuned, seeds, [language]):
                yield partial(zeroed, parameters=control, sets=language), control.summary
        else:
            for seed in seeds:
                control = activity_matched_control(selected, statistics, seed, arguments.nearest, [language])
                yield partial(deactivate, neurons=control, sets=language), control.summary

    def draws() -> Iterator[tuple[int, Deactivation]]:
        for seed, (begin, found) in zip(seeds, controls(), strict=True):
            yield seed, Deactivation(f"{ACTIVITY_MATCHED}{summary['method']}", begin, found)

    return summary, files, draws()
