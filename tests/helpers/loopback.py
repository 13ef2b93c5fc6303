"""HTTP servers of the tests, on the loopback interface."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Server(ThreadingHTTPServer):
    def handle_error(self, request, address):
        # A client that goes is no fault of the server's, and no traceback may come among the messages of a test.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, address)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server that answers by a handler within the block and logs nothing; its address, without a slash at the end."""
    silent = type(handler.__name__, (handler,), {"log_message": lambda *arguments: None})
    server = _Server(("127.0.0.1", 0), silent)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
