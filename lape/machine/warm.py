"""`lape` without the seconds that its libraries take to load, for a workflow of hundreds of jobs.

A server loads the libraries once, but nothing of `lape`, and forks for every call. The child takes the caller's
arguments, files, environment and folder, and imports `lape` as a new process would. Callers find the server by a folder
of programs that stands first on their PATH. The server runs this file by its path, so this file imports nothing of
`lape`.
"""

import array
import contextlib
import ctypes
import gc
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

# What the commands load in their first seconds.
LIBRARIES = (
    "torch",
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
    "langcodes.data_dicts",
)
# Fewer jobs than this end sooner if each loads what it needs by itself.
JOBS = 6
# Sends its command line and its files, and ends as the child does. A job with another number of threads, which the
# libraries read while they load, is a process of its own.
_CLIENT = """\
#!{python} -IS
import array, json, os, signal, socket, sys
if {threads!r} not in (None, os.environ.get("OMP_NUM_THREADS")):
    os.execv({own!r}, [{own!r}, *sys.argv[1:]])
signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends without a traceback, and the child with it
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
call = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
server.sendmsg([len(call).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
server.sendall(call)
status = int(server.recv(4) or 1)
if status < 0:
    os.kill(os.getpid(), -status)
sys.exit(status)
"""
# The variables in which Snakemake tells a job its number of threads.
_THREADS = ("OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_THREADS += ("VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS")
# Characters of a folder of temporary files below which a socket can have an address; Linux allows it 107 in all.
_LONGEST = 80
_FOLDER = "lape-warm-"
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15


def starts_warm() -> bool:
    """Whether jobs on this machine can start warm.

    They cannot on a machine with GPUs, which a forked process cannot initialise after its parent; and on other systems
    than Linux, where nothing tells the server that its parent has ended.
    """
    return sys.platform == "linux" and shutil.which("nvidia-smi") is None


@contextlib.contextmanager
def warm_lape(jobs: int, threads: int, identifies: bool = False) -> Iterator[None]:
    """Put a warm `lape` first on the PATH during the block.

    Nothing is put there for a few jobs, where `lape` is warm already, or without `starts_warm`.

    Args:
        jobs: how many are to run.
        threads: of a job. A job with another number of threads starts by itself.
        identifies: whether jobs identify languages: lingua's models, some seconds and 1 GB, are loaded once then.
    """
    own, path = shutil.which("lape"), os.environ.get("PATH", "")
    warm = own is not None and Path(own).parent.name.startswith(_FOLDER)
    if jobs < JOBS or own is None or warm or not starts_warm():
        yield
        return
    environment = os.environ | dict.fromkeys(_THREADS, str(threads))
    libraries = (*LIBRARIES, "lingua") if identifies else LIBRARIES
    with serving(__file__, {"lape": own}, libraries, environment, str(threads)) as folder:
        os.environ["PATH"] = os.pathsep.join([str(folder), path])
        try:
            yield
        finally:
            os.environ["PATH"] = path


@contextlib.contextmanager
def serving(
    server: str,
    programs: dict[str, str],
    libraries: Iterable[str],
    environment: dict[str, str] | None = None,
    threads: str | None = None,
) -> Iterator[Path]:
    """A folder with warm programs, which work within the block. The server dies with this process, however that ends.

    Args:
        server: the file that is run as the server; it calls `serve`.
        programs: name of each -> the program that runs in its place where the number of threads is another.
        libraries: what the server loads, in this order.
        environment: of the server, while it loads them.
        threads: OMP_NUM_THREADS of the callers that are served; None: any.
    """
    place = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(prefix=_FOLDER, dir=place if len(place) < _LONGEST else "/tmp") as name:
        folder, address = Path(name), f"{name}/socket"
        for program, own in programs.items():
            text = _CLIENT.format(python=sys.executable, threads=threads, own=own, address=address)
            (folder / program).write_text(text)
            (folder / program).chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(64)
            command = [sys.executable, "-P", server, str(listener.fileno()), str(os.getpid()), *libraries]
            process = subprocess.Popen(command, pass_fds=[listener.fileno()], env=environment)
        try:
            yield folder
        finally:
            process.terminate()
            process.wait()


def serve(
    arguments: Sequence[str],
    work: Callable[[Path, list[str]], object],
    prepare: Callable[[Sequence[str]], object] = lambda libraries: None,
) -> None:
    """Load the libraries, then answer calls until the parent ends.

    Args:
        arguments: that `serving` passes to the server.
        work: takes the path of a program and its arguments, and returns the program's exit status.
        prepare: is called once the libraries are loaded, with their names.
    """
    listener, parent, libraries = socket.socket(fileno=int(arguments[0])), int(arguments[1]), arguments[2:]
    folder, server = os.path.dirname(listener.getsockname()), os.getpid()

    def end(*_) -> None:
        if os.getpid() == server:  # not a child that has just been forked
            shutil.rmtree(folder, ignore_errors=True)  # a parent that was killed could not
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    _die_with(parent, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the parent, which ends the server
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    _load(libraries)
    prepare(libraries)
    gc.freeze()  # a collection in a child would copy the memory that it shares with the server
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            _die_with(server)
            listener.close()
            for number in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            _answer(connection, work)
        connection.close()


def _die_with(parent: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Get a signal when the parent ends, which may have happened already."""
    _prctl(_PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:
        os.kill(os.getpid(), how)


def _prctl(option: int, value: int | bytes) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def _load(libraries: Sequence[str]) -> None:
    """Import the libraries, and make what they would make in every process."""
    for library in libraries:
        importlib.import_module(library)
    if "transformers.conversion_mapping" in libraries:
        # transformers makes its table, a third of a second, at its first load of a model.
        sys.modules["transformers.conversion_mapping"].get_checkpoint_conversion_mapping("llama")
    if "lingua" in libraries:
        # One text in the Latin alphabet loads nearly all models. No thread is started, which a fork would not copy.
        sys.modules["lingua"].LanguageDetectorBuilder.from_all_languages().build().detect_language_of("a text")


def _answer(connection: socket.socket, work: Callable[[Path, list[str]], object]) -> None:
    """Do in a process of its own what the call asks for; does not return."""
    length, passed, *_ = connection.recvmsg(4, socket.CMSG_SPACE(12))
    call, length = bytearray(), int.from_bytes(length, "big")
    while len(call) < length and (part := connection.recv(length - len(call))):
        call += part
    if not passed or len(call) < length:
        os._exit(0)  # the caller was killed before it had called
    ((_, _, files),) = passed
    (program, *arguments), folder, variables = json.loads(call)
    for number, file in enumerate(array.array("i", files)):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[:0] = filter(None, variables.get("PYTHONPATH", "").split(os.pathsep))
    parent = os.getpid()
    worker = os.fork()
    if worker == 0:
        _die_with(parent)
        connection.close()
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _work(work, Path(program), arguments)
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


def _work(work: Callable[[Path, list[str]], object], program: Path, arguments: list[str]) -> None:
    """Run a program in this process, which ends or becomes another one; does not return."""
    status = 1
    try:
        sys.argv = [str(program), *arguments]
        _prctl(_PR_SET_NAME, " ".join([program.name, *arguments[:1]]).encode())  # what `top` calls it
        status = work(program, arguments)
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


def _lape(program: Path, arguments: list[str]) -> object:
    return importlib.import_module("lape.cli").main(arguments)


if __name__ == "__main__":
    serve(sys.argv[1:], _lape)
