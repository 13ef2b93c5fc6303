"""Accuracy on a task in every language while neurons or parameters are deactivated or steered, or nothing is."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import read_json, write_header, writing
from lape.commands.arguments import add_backend, positive
from lape.errors import LapeError

PARAMETERS = ("template", "score", "batch_size", "threads", "backend")
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json")
    parser.add_argument("--task", type=Path, nargs="+", required=True, help="header of the task in every language")
    parser.add_argument("--neurons", type=Path, help="header of the neurons or parameters (default: the baseline)")
    parser.add_argument(
        "--deactivate", metavar="LANGUAGE", help="language whose neurons or parameters are deactivated (with --neurons)"
    )
    parser.add_argument("--values", type=Path, help="header of the steering values (with --steer)")
    parser.add_argument("--steer", metavar="LANGUAGE", help="language whose neurons are steered (with --values)")
    parser.add_argument("--dose", default="set-all-1-1", help="mode-positions-strength-share of the steering")
    parser.add_argument(
        "--template",
        required=True,
        metavar="TEXT",
        help="the prompt, with {question}, and at its end {choice}, whose likelihood is measured",
    )
    parser.add_argument(
        "--score",
        choices=("sum", "bytes", "calibrated"),
        default="calibrated",
        help="by which of the log-likelihoods a choice is picked: the choice's own, that by the choice's bytes, or it "
        "less the choice's after an empty question",
    )
    parser.add_argument("--batch-size", type=positive(int), default=16, help="rows per forward pass")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    add_backend(parser)
    parser.add_argument(
        "--output", type=Path, required=True, help="SET.tsv, by question and choice; SET.json beside it"
    )


def run(arguments: argparse.Namespace) -> None:
    import pandas as pd

    from lape.evaluation.choices import ChoiceTemplate, accuracies, asked_of, correct
    from lape.kernels import ops
    from lape.model.running import running
    from lape.text.tasks import load_aligned

    description = read_json(arguments.model, "model")
    off = _switched(arguments, description)
    template, asked = ChoiceTemplate(arguments.template), load_aligned(arguments.task)
    task, steered = read_json(arguments.task[0], "task")["task"], arguments.steer
    deactivated = None if steered else arguments.deactivate or "baseline"
    label = f"accuracy {description['name']} {task} {off.method} {steered or deactivated}"
    sizes = {name: getattr(arguments, name) for name in ("batch_size", "threads")}
    with running(arguments.model, label, sum(len(choices) for _, choices in asked_of(asked)), "row", **sizes) as run:
        tables, record, read, reading = _measured(run, off, template, asked, arguments)
    rows = [
        {
            "evaluated": language,
            "questions": table["id"].nunique(),
            "accuracy": float(correct(table, arguments.score).mean()),
            **accuracies(table),
        }
        for language, table in tables.items()
    ]
    with writing(arguments.output) as temporary:
        whole = pd.concat([table.assign(evaluated=language) for language, table in tables.items()])
        columns = ["evaluated", *(name for name in whole.columns if name != "evaluated")]
        whole[columns].to_csv(temporary, sep="\t", index=False, lineterminator="\n")
    files = [path for header in arguments.task for path in (header, header.with_suffix(".jsonl"))]
    write_header(
        arguments.output.with_suffix(".json"),
        "accuracy",
        model=description["name"],
        model_revision=description["revision"],
        method=off.method,
        deactivated=deactivated,
        steered=steered,
        dose=arguments.dose if steered else None,
        task=task,
        languages=list(asked),
        rows=rows,
        read=read,
        **reading,
        hooks=off.proof(record, read),
        batch_size=run.batches.size,
        device=str(run.device),
        backend=ops.active_backend(run.device, arguments.backend),
        dtype=description["dtype"],
        parameters={name: getattr(arguments, name) for name in PARAMETERS},
        inputs=[arguments.model, *files, *off.files],
        outputs=[arguments.output],
    )
    logger.info("%s: %s", label, ", ".join(f"{row['evaluated']} {row['accuracy']:.3f}" for row in rows))


def _switched(arguments, description: dict):
    """What is deactivated or steered."""
    from lape.evaluation.deactivation import Deactivation
    from lape.interventions.dose import Dose

    if (arguments.values is None) != (arguments.steer is None):
        raise LapeError("--values and --steer go together; leave both out to steer nothing")
    if arguments.steer is None:
        return Deactivation.load(arguments.neurons, arguments.deactivate, None, description)
    if arguments.neurons or arguments.deactivate:
        raise LapeError("--steer and --deactivate: one language is switched at a time; leave one of the two out")
    return Deactivation.steering(arguments.values, arguments.steer, Dose.parse(arguments.dose), description)


def _measured(run, off, template, asked, arguments):
    """The table of every language, the record of the deactivation, the positions read, and how they were read."""
    from lape.evaluation.choices import asked_of, choice_loglik, prefix_of, tables_of
    from lape.model.decoder import reads_on
    from lape.model.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(arguments.model.with_name("tokenizer.json"), arguments.threads)
    reading = {"prefix": prefix_of(run.model, run.description), "share_prompts": reads_on(run.model)}

    def work(size: int):
        with off.begin(run.model) as record:
            values, read = choice_loglik(
                run.model,
                tokenizer,
                template,
                asked_of(asked),
                size,
                arguments.backend,
                **reading,
                on_batch=run.bar.update,
            )
        return values, read, record

    values, read, record = run.batches(work)
    return tables_of(asked, values), record, read, reading
