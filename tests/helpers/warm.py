"""`lape`, `snakemake`, `torchrun` and `python` without the seconds of their imports, for tests of hundreds of jobs."""

import contextlib
import importlib
import os
import runpy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

from lape.machine import warm

# What the commands and Snakemake spend their first seconds on.
LIBRARIES = (
    *warm.LIBRARIES,
    "jsonschema",
    "torch.distributed.run",
    "snakemake.cli",
    "snakemake.api",
    "snakemake.report",
    "snakemake.storage",
    "smart_open",
)
# Without what reads the hub's address from the environment while it is imported.
WITHOUT_HUB = (
    "torch.distributed.tensor",
    "torch._dynamo",
    "torch.nn.attention.flex_attention",
    "pandas",
    "scipy.stats",
    "pyarrow.parquet",
    "httpx2",
    "tokenizers",
    "safetensors.torch",
    "fsspec",
    "multiprocess.pool",
)
PROGRAMS = ("lape", "snakemake", "torchrun", "python")


@contextlib.contextmanager
def warm_programs(libraries: Sequence[str] = LIBRARIES) -> Iterator[Path]:
    """A folder with the programs `lape`, `snakemake`, `torchrun` and `python`; they work within the block.

    `python` knows `-c CODE`, `-m MODULE` and a file. The server dies with this process, however that ends.

    Args:
        libraries: what the server loads.
    """
    with warm.serving(__file__, dict.fromkeys(PROGRAMS, ""), libraries) as folder:
        yield folder


def _prepare(libraries: Sequence[str]) -> None:
    """Let Snakemake look for its plugins, as it does at its first command line."""
    if "snakemake.cli" in libraries:
        sys.modules["snakemake.cli"].parse_args([])


def _work(program: Path, arguments: list[str]) -> object:
    """Run one of the programs in this process."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "lape"]:
        del sys.modules[name]  # the workspace has its own
    if program.name != "lape":
        # Snakemake runs some of its jobs as `python -m snakemake`, torchrun its ranks as `python FILE`.
        sys.executable = str(program.with_name("python"))
    if program.name == "python":
        return _python(*arguments)
    if program.name == "torchrun":
        return importlib.import_module("torch.distributed.run").main(arguments)
    return importlib.import_module(f"{program.name}.cli").main(arguments)


def _python(option: str, *arguments: str) -> None:
    if option == "-u":
        option, *arguments = arguments
    if option in ("-m", "-c"):
        code, *arguments = arguments
    sys.argv = [option, *arguments]
    sys.path.insert(0, os.getcwd() if option in ("-m", "-c") else str(Path(option).parent))
    if option == "-m":
        runpy.run_module(code, run_name="__main__", alter_sys=True)
    elif option == "-c":
        exec(code, {"__name__": "__main__"})
    else:
        runpy.run_path(option, run_name="__main__")


if __name__ == "__main__":
    warm.serve(sys.argv[1:], _work, _prepare)
