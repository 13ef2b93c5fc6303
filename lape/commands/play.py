"""Ask a finished run's model, with languages switched off and on, on a page of this machine or in the terminal.

The page shows the answer of the model as it is beside the answer with languages switched, and on which tokens the
neurons of which languages fire. It needs gradio: pip install "lape[play]". With --ask the answers are printed, and
nothing more is needed.
"""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lape.commands.arguments import positive
from lape.errors import require

if TYPE_CHECKING:
    from lape.playground.answering import Playground
    from lape.playground.asking import Request
    from lape.playground.finished_run import FinishedRun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a finished run, such as results/default")
    parser.add_argument("--port", type=positive(int), help="of the page, instead of the first free one from 7860")
    parser.add_argument("--share", action="store_true", help="let gradio's servers give the page a public address")
    parser.add_argument("--threads", type=positive(int), help="CPU threads of torch, instead of the run's")
    asked = parser.add_argument_group("an answer in the terminal")
    asked.add_argument("--ask", metavar="PROMPT", help="print the answers to this prompt, and open no page")
    asked.add_argument("--model", help="of the run, instead of its first")
    asked.add_argument("--method", default="lape", help="that found the neurons: lape, ap, ..., or expert_units")
    asked.add_argument("--off", nargs="+", default=[], metavar="LANGUAGE", help="languages that are switched off")
    asked.add_argument("--on", metavar="LANGUAGE", help="language that is switched on")
    asked.add_argument("--dose", default="set-all-1-1", help="mode-positions-strength-share of the language that is on")
    asked.add_argument(
        "--continue", dest="goes_on", action="store_true", help="go on with the prompt, which is no question"
    )
    asked.add_argument("--max-new-tokens", type=positive(int), help="tokens of an answer, instead of the run's")


def run(arguments: argparse.Namespace) -> None:
    from lape.playground.finished_run import FinishedRun

    finished = FinishedRun.open(arguments.run)
    if arguments.ask is None:
        require("gradio", "gradio", "play")
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # read when the library is imported
    from lape.playground.answering import Playground

    playground = Playground(finished, arguments.threads)
    if arguments.ask is None:
        _serve(playground, arguments)
    else:
        _print(playground, _request(finished, arguments))


def _serve(playground: "Playground", arguments: argparse.Namespace) -> None:
    from lape.playground.page import launched

    playground.load(playground.run.models[0])
    page, address = launched(playground, arguments.port, arguments.share)
    print(f"open {address} (Ctrl-C ends it)", flush=True)
    try:
        page.block_thread()
    finally:
        page.close(verbose=False)


def _request(finished: "FinishedRun", arguments: argparse.Namespace) -> "Request":
    from lape.interventions.dose import Dose
    from lape.playground.asking import Request
    from lape.playground.change import Change

    return Request(
        arguments.model or finished.models[0],
        arguments.method,
        arguments.ask,
        Change(tuple(arguments.off), arguments.on, Dose.parse(arguments.dose)),
        not arguments.goes_on,
        arguments.max_new_tokens or finished.config["generation"]["max_new_tokens"],
    )


def _print(playground: "Playground", request: "Request") -> None:
    *_, found = playground.answers(request)
    for name, side in (("as it is", found.normal), (str(request.change), found.switched)):
        codes = ", ".join(f"{identifier}: {code}" for identifier, code in side.languages.items())
        print(f"{name} ({codes})\n{side.text}\n")
    print(found.done)
