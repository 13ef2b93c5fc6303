"""A small package index, and a server of plain files, on the loopback interface."""

import hashlib
import io
import tarfile
import threading
import time
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler

import pytest
from loopback import serving

from lape.artifacts import download as module

TEXT = "Où vas-tu ?\n".encode() * 500


def wheel(members):
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return body.getvalue()


def sdist(members):
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return body.getvalue()


def digest(content):
    return hashlib.sha256(content).hexdigest()


class Index:
    """A simple index: add distributions, say how the server misbehaves."""

    def __init__(self):
        self.pages: dict[str, list[str]] = {}
        self.bodies: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()
        self.failures: dict[str, int] = {}  # path -> so many requests are answered with `fault`
        self.fault = 503
        self.cut: dict[str, tuple[int, int]] = {}  # path -> (bytes sent, so many requests)
        self.stall: dict[str, float] = {}  # path -> seconds of silence amid the body, on the first request
        self.mute: set[str] = set()  # silent amid the body on every request
        self.changes: dict[str, bytes] = {}  # path -> the body from the second request on
        self.more: dict[str, bytes] = {}  # path -> what comes behind the announced length
        self.redirects: dict[str, str] = {}  # path -> path
        self.passwords: dict[str, str] = {}  # path -> Authorization header that it wants
        self.closing = threading.Event()

    def add(self, project, filename, body, sha256=None):
        path = f"/files/{filename}"
        self.bodies[path] = body
        link = f'<a href="{path}#sha256={sha256 or digest(body)}">{filename}</a>'
        self.pages.setdefault(project, []).append(link)
        self.bodies[f"/simple/{project}/"] = f"<html><body>{''.join(self.pages[project])}</body></html>".encode()
        return path

    def answer(self, handler):
        path = handler.path
        if path in self.changes and self.requests[path] == 1:
            self.bodies[path] = self.changes[path]
        self.requests[path] += 1
        if path in self.redirects:
            handler.send_response(302)
            handler.send_header("Location", self.redirects[path])
            return handler.end_headers()
        if path not in self.bodies:
            return handler.send_error(404)
        if self.requests[path] <= self.failures.get(path, 0):
            return handler.send_error(self.fault)
        if self.passwords.get(path) != handler.headers["Authorization"]:
            return handler.send_error(401)
        body = self.bodies[path]
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html" if path.startswith("/simple") else "application/octet-stream")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if path in self.mute:
            handler.wfile.write(body[:9])
            handler.wfile.flush()
            self.closing.wait(30)
            return
        if path in self.stall and self.requests[path] == 1:
            handler.wfile.write(body[:9])
            time.sleep(self.stall[path])
            body = body[9:]
        size, times = self.cut.get(path, (len(body), 0))
        handler.wfile.write(body[:size] if self.requests[path] <= times else body + self.more.get(path, b""))


@pytest.fixture
def index(monkeypatch):
    index = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            index.answer(self)

    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(module, "_PAUSE", 0.001)
    with serving(Handler) as url:
        index.url = f"{url}/simple/"
        yield index
        index.closing.set()
