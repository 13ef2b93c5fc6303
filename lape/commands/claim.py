"""Run a command, such as torchrun or accelerate, on GPUs that no other job of lape on this machine has."""

import argparse
import os

from lape.errors import LapeError
from lape.machine import gpus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", type=int, help="number of GPUs; the command sees no others")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="what is run")


def run(arguments: argparse.Namespace) -> None:
    words = arguments.words[arguments.words[:1] == ["--"] :]
    if not words:
        raise LapeError("claim: no command is named; put it behind --")
    gpus.claim(arguments.number)
    try:
        os.execvp(words[0], words)
    except OSError as error:
        raise LapeError(f"{words[0]}: cannot be run ({error.strerror}); name a command that is there") from error
