"""`lape`, `snakemake`, `torchrun` and `python` without the seconds of their imports, for tests of hundreds of jobs.

A server imports the libraries, not `lape`, once, and forks for every call. The child takes the caller's files,
environment and folder, so that it imports the `lape` of the workspace and does what a new process would.
"""

import array
import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

# What the commands and Snakemake spend their first seconds on.
LIBRARIES = (
    "torch",
    "jsonschema",
    "pandas",
    "pandas.io.formats.csvs",
    "scipy.stats",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf",
    "matplotlib.backends.backend_svg",
    "matplotlib.pyplot",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "safetensors.torch",
    "transformers.models.llama.modeling_llama",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.encoder_decoder.configuration_encoder_decoder",
    "transformers.convert_slow_tokenizer",
    "transformers.conversion_mapping",
    "sacrebleu.tokenizers.tokenizer_13a",
    "sacrebleu.tokenizers.tokenizer_char",
    "langdetect",
    "lingua",
    "torch.distributed.run",
    "snakemake.cli",
    "snakemake.api",
    "snakemake.report",
    "snakemake.storage",
    "smart_open",
    "langcodes.data_dicts",
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
# Sends its command line and its files, and ends as the child does.
CLIENT = f"""\
#!{sys.executable} -IS
import array, json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({{!r}})
call = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
server.sendmsg([len(call).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
server.sendall(call)
status = int(server.recv(4) or 1)
if status < 0:
    os.kill(os.getpid(), -status)
sys.exit(status)
"""
_PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def warm_programs(libraries: Sequence[str] = LIBRARIES) -> Iterator[Path]:
    """A folder with the programs `lape`, `snakemake`, `torchrun` and `python`; they work within the block.

    `python` knows `-c CODE`, `-m MODULE` and a file. The server dies with this process, however that ends.

    Args:
        libraries: what the server loads at the first call.
    """
    with tempfile.TemporaryDirectory(prefix="lape-warm-") as name:
        folder, address = Path(name), f"{name}/socket"
        for program in PROGRAMS:
            (folder / program).write_text(CLIENT.format(address))
            (folder / program).chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(64)
            command = [sys.executable, __file__, str(listener.fileno()), str(os.getpid()), *libraries]
            server = subprocess.Popen(command, pass_fds=[listener.fileno()])
        try:
            yield folder
        finally:
            server.kill()
            server.wait()


def _die_with(parent: int) -> None:
    """Be killed when the parent ends, which may have happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _serve(listener: socket.socket, parent: int, libraries: Sequence[str]) -> None:
    _die_with(parent)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    server, loaded = os.getpid(), False
    while True:
        connection, _ = listener.accept()
        if not loaded:
            _load(libraries)
            loaded = True
        if os.fork() == 0:
            _die_with(server)
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _answer(connection)
        connection.close()


def _load(libraries: Sequence[str]) -> None:
    """Import the libraries, and what they make or look for in every process."""
    for library in libraries:
        importlib.import_module(library)
    if "snakemake.cli" in libraries:
        sys.modules["snakemake.cli"].parse_args([])
    if "transformers.conversion_mapping" in libraries:
        # transformers makes its table, a third of a second, at its first load of a model.
        sys.modules["transformers.conversion_mapping"].get_checkpoint_conversion_mapping("llama")
    gc.freeze()  # a collection in a child would copy the memory that it shares with the server


def _answer(connection: socket.socket) -> None:
    """Do in a process of its own what the call asks for; does not return."""
    length, ((_, _, files),), *_ = connection.recvmsg(4, socket.CMSG_SPACE(12))
    call, length = bytearray(), int.from_bytes(length, "big")
    while len(call) < length:
        call += connection.recv(length - len(call))
    (program, *arguments), folder, variables = json.loads(call)
    for number, file in enumerate(array.array("i", files)):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[:] = [*filter(None, variables.get("PYTHONPATH", "").split(os.pathsep)), *sys.path[1:]]
    parent = os.getpid()
    worker = os.fork()
    if worker == 0:
        _die_with(parent)
        connection.close()
        os.setpgid(0, 0)
        _work(Path(program), arguments)
    # A caller that is killed takes its worker with it, and what the worker has started.
    threading.Thread(target=lambda: connection.recv(1) or _kill(worker), daemon=True).start()
    status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    with contextlib.suppress(OSError):  # the caller may be gone
        connection.sendall(str(status).encode())
    os._exit(0)


def _kill(worker: int) -> None:
    for kill in (os.killpg, os.kill):  # it may have no group of its own yet
        with contextlib.suppress(ProcessLookupError):
            kill(worker, signal.SIGKILL)


def _work(program: Path, arguments: list[str]) -> None:
    """Run a program in this process, which ends or becomes another one; does not return."""
    status = 1
    try:
        sys.argv = [str(program), *arguments]
        if program.name != "lape":
            # Snakemake runs some of its jobs as `python -m snakemake`, torchrun its ranks as `python FILE`.
            sys.executable = str(program.with_name("python"))
        if program.name == "python":
            _python(*arguments)
            status = 0
        elif program.name == "torchrun":
            status = importlib.import_module("torch.distributed.run").main(arguments)
        else:
            status = importlib.import_module(f"{program.name}.cli").main(arguments)
    except SystemExit as error:
        status = error.code
        if isinstance(status, str):  # sys.exit("why") is a message and a failure
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(status or 0))


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
    _serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), sys.argv[3:])
