"""Evaluate a finished run's model by EleutherAI's lm-evaluation-harness, with languages switched off or on.

What follows `--` goes to the harness, such as --tasks xnli_fr,belebele_fra_Latn. Its results and their files are the
harness's own. Without a language the model is evaluated as it is. It needs lm-eval: pip install "lape[harness]".
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lape.commands.arguments import add_switching, keep_words_behind_dashes
from lape.errors import LapeError, first_line, require

if TYPE_CHECKING:
    from lape.playground.finished_run import Method


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s RUN [--deactivate LANGUAGE ...] [--steer LANGUAGE] -- FLAGS OF LM-EVAL"
    add_switching(parser)
    keep_words_behind_dashes(parser, "flags")


def run(arguments: argparse.Namespace) -> None:
    from lape.machine.device import resolve_device
    from lape.playground.finished_run import FinishedRun

    require("lm_eval", "lm-eval", "harness")
    if not arguments.flags:
        raise LapeError("lm_eval: the harness is told nothing; name its flags, such as -- --tasks xnli_fr")
    finished = FinishedRun.open(arguments.run_folder)
    model = arguments.model or finished.models[0]
    method = finished.method(model, arguments.method)
    loading, device = _loading(finished.model_json(model))
    switching = _switching(arguments, method, finished.units)
    from lape.integrations.lm_eval import cli_evaluate

    settings = json.dumps(loading | switching)
    words = ["--model", "lape" if switching else "hf", "--model_args", settings, "--device", resolve_device(device)]
    sys.argv = ["lm-eval", "run", *words, *arguments.flags]
    try:
        cli_evaluate()
    except LapeError:
        raise
    except Exception as error:  # the harness has no exceptions of its own
        raise LapeError(f"lm-eval: ended with {first_line(error)!r}; correct the flags behind --") from error


def _loading(model_json: Path) -> tuple[dict, str]:
    """How the harness loads the model as the run does, and the device."""
    from lape.artifacts.files import read_json
    from lape.model.loading import location

    header = read_json(model_json, "model")
    path, revision = location(model_json, header)
    parameters = header["parameters"]
    names = ("attn_implementation", "device_map", "trust_remote_code")
    if parameters["quantization"] is not None:
        raise LapeError(
            f"{model_json}: its weights are quantised as they are loaded, which the harness does not do; use a "
            "checkpoint that is quantised, or leave `quantization` out"
        )
    own = {name: parameters[name] for name in names if parameters[name]}
    return {
        "pretrained": path,
        "dtype": header["dtype"],
        **({"revision": revision} if revision else {}),
        **own,
    }, parameters["device"]


def _switching(arguments: argparse.Namespace, method: "Method", size: int) -> dict:
    """What the harness's model `lape` is told to switch; empty for nothing."""
    if not (arguments.deactivate or arguments.steer):
        return {}
    found = {"units": method.units, "size": size} if method.units else {"neurons": method.neurons}
    if arguments.steer and not method.units:
        counted = next((path.parent for path in method.statistics.values()), None)
        found |= {"values": method.values} if method.values else {"statistics": counted}
    if arguments.steer:
        found |= {"steer": arguments.steer, "dose": arguments.dose}
    told = {"deactivate": arguments.deactivate} | found
    return {name: value if isinstance(value, list | int) else str(value) for name, value in told.items() if value}
