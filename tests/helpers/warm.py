"""`lape` without the seconds of its imports, for tests that run hundreds of jobs.

A server imports the libraries, not `lape`, once, and forks for every call. The child takes the caller's files,
environment and folder, so that it imports the `lape` of the workspace and does what a new process would.
"""

import array
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

# What the commands spend their first seconds on.
LIBRARIES = ("torch", "pandas", "scipy.stats", "matplotlib.pyplot", "transformers.models.llama.modeling_llama")
# Sends its command line and its files, and ends as the child does.
CLIENT = f"""\
#!{sys.executable} -IS
import array, json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({{address!r}})
call = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
server.sendmsg([len(call).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
server.sendall(call)
sys.exit(int(server.recv(3)))
"""


@contextlib.contextmanager
def warm_lape(folder: Path) -> Iterator[Path]:
    """A folder with the program `lape`, for the front of PATH; it works within the block."""
    folder.mkdir()
    address, program = folder / "socket", folder / "lape"
    program.write_text(CLIENT.format(address=str(address)))
    program.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(64)
        server = subprocess.Popen([sys.executable, __file__, str(listener.fileno())], pass_fds=[listener.fileno()])
        try:
            yield folder
        finally:
            server.kill()
            server.wait()


def _serve(listener: socket.socket) -> None:
    for library in LIBRARIES:
        __import__(library)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _answer(connection)
        connection.close()


def _answer(connection: socket.socket) -> None:
    """Do in this process what the call asks for; does not return."""
    length, ((_, _, files),), *_ = connection.recvmsg(4, socket.CMSG_SPACE(12))
    call, length = bytearray(), int.from_bytes(length, "big")
    while len(call) < length:
        call += connection.recv(length - len(call))
    arguments, folder, variables = json.loads(call)
    for number, file in enumerate(array.array("i", files)):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[:] = [*filter(None, variables.get("PYTHONPATH", "").split(os.pathsep)), *sys.path[1:]]
    worker = os.fork()
    if worker == 0:
        _work(arguments)
    # A caller that is killed takes its worker with it.
    threading.Thread(target=lambda: connection.recv(1) or os.kill(worker, signal.SIGKILL), daemon=True).start()
    status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    connection.sendall(str(status if status >= 0 else 128 - status).encode())
    os._exit(0)


def _work(arguments: list[str]) -> None:
    """Run `lape` in this process, which ends or becomes another program; does not return."""
    status = 1
    try:
        from lape.cli import main

        status = main(arguments)
    except SystemExit as error:
        status = error.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status or 0)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
