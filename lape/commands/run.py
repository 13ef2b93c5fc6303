"""Run the workflow on a model and languages in one command: write the configuration, say how long it takes, and run it.

MODEL is what `lape init` takes, or a configuration that `lape init` has written. The same command goes on with a run
that ended early. What follows `--` goes to Snakemake, such as a target or --dry-run.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from lape.commands import init
from lape.commands.arguments import keep_words_behind_dashes
from lape.errors import LapeError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s MODEL --languages fr,de,sw [--text FOLDER] [--cores N] [-- FLAGS OF SNAKEMAKE]"
    parser.add_argument(
        "model", metavar="MODEL", help="folder, GGUF file, OWNER/NAME of the hub, name, or a .yaml file"
    )
    init.add_text_arguments(parser)
    parser.add_argument("--cores", default="all", metavar="N", help="CPU cores")
    keep_words_behind_dashes(parser, "flags")


def run(arguments: argparse.Namespace) -> None:
    from lape.artifacts.shipped import snakefile
    from lape.config import read_config
    from lape.workflow.console import PLAN

    workflow = snakefile()
    path = Path(arguments.model)
    if path.suffix not in (".yaml", ".yml"):
        if arguments.languages is None:
            raise LapeError("--languages is missing; name two or more, such as --languages fr,de,sw")
        path = init.write(arguments, None, newly=False)
        print(f"configuration: {path}", file=sys.stderr)
    elif arguments.languages or arguments.text:
        raise LapeError(f"{path}: a configuration names languages and text itself; leave out --languages and --text")
    config = read_config(path)
    flags = ["--snakefile", str(workflow), "--cores", arguments.cores, *arguments.flags, "--configfile", str(path)]
    if status := _snakemake(flags, {PLAN: "1"}):
        sys.exit(status)
    results = Path("results", config.get("run", "default"))
    if (results / "manifest.json").is_file():
        print("\n".join(_next(config, results)), file=sys.stderr)


def _snakemake(flags: list[str], variables: dict[str, str]) -> int:
    """Run the Snakemake that is installed beside this Python; returns its exit status."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    program = shutil.which("snakemake", path=path)
    if program is None:
        raise LapeError(f'snakemake: is not installed for {sys.executable}; install it: pip install "lape[workflow]"')
    signal.signal(signal.SIGINT, lambda *_: None)  # the terminal's Ctrl-C is for Snakemake, which ends its jobs
    return subprocess.run([program, *flags], env={**os.environ, "PATH": path, **variables}).returncode


def _next(config: dict, results: Path) -> list[str]:
    """What can be done with a finished run: by example on the language with most neurons."""
    from lape.artifacts.files import read_json

    model = config.get("models", ["gemma3-270m"])[0]
    neurons = results / "neurons" / model / "lape"
    counts = read_json(neurons.with_name("lape.json"), "neurons")["counts"]
    language = max(counts, key=counts.get)
    load = f'neurons = lape.Neurons.load("{neurons}.json")'
    return [
        f"  open    {results / 'report.html'}",
        f"  play    lape play {results}",
        f'  code    in a notebook: {load}; lape.deactivate(model, neurons, "{language}")',
        f"  export  lape export neurons {neurons}.json --output {model}.pth",
        f"  share   lape audit {results / 'manifest.json'}, then the folder {results}",
    ]
