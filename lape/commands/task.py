"""Questions with choices in one language, on which a model's accuracy is measured."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lape.commands.arguments import json_object, positive


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--task", required=True, metavar="NAME", help="what the task is called, such as multiemo")
    parser.add_argument("--language", required=True, metavar="CODE", help="ISO 639-1 code, such as fr")
    parser.add_argument(
        "--source",
        required=True,
        choices=("embedded", "files", "harness", "next_passage"),
        help="a downloaded file of BIG-bench's tasks; JSON lines with id, question, choices and answer; a task of "
        "lm-evaluation-harness; or the run's own text that is kept for evaluation",
    )
    parser.add_argument("--settings", type=json_object, default={}, metavar="JSON", help="settings of the source")
    parser.add_argument(
        "--number",
        type=positive(int),
        metavar="N",
        help="questions, the first of each answer in equal numbers (default: as many as the rarest answer allows)",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="PATH", help="<language>.jsonl")


def run(arguments: Namespace) -> None:
    from lape.text.tasks import build_task

    build_task(
        arguments.task,
        arguments.language,
        arguments.source,
        arguments.settings,
        arguments.output,
        number=arguments.number,
    )
