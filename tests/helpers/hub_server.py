"""A stand-in of the model and dataset hub on the loopback interface: its API as far as it is used, and its faults.

A repository is a folder. Those who show `TOKEN` may write. `huggingface_hub`, `transformers` and `datasets` use it by
the code that uses the hub: `Hub.lape` points them here.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from loopback import serving
from tiny_data import ROOT
from warm import WITHOUT_HUB, warm_programs

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# Ends of names of files that travel apart from the commit.
LARGE = (".parquet", ".safetensors")
TOKEN = "hf_secretsecretsecretsecretsecretsecret"


@dataclass
class Repository:
    """What the hub has under a name.

    Attributes:
        folder: its files, now.
        revisions: branch, tag or commit -> commit.
        gated: whether only requests with `TOKEN` get files.
        private: what it was made as.
    """

    folder: Path
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    gated: bool = False
    private: bool = False

    def files(self) -> dict[str, Path]:
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in paths}


class Hub:
    """The hub.

    Attributes:
        python: the Python that runs `lape`; it reads the hub's address when it starts.
        repositories: "models/<name>" or "datasets/<name>" -> what is there.
        uploads: folder of repositories that are made.
        objects: SHA-256 -> large files that wait for their commit.
        stalled: ends of files' names whose contents never come; `cut`: whose contents break off in the middle.
        requests: method and path of every request, and for contents how many bytes were sent.
        tokens: Authorization headers that came.
    """

    def __init__(self, python: Path):
        self.python = python
        self.repositories: dict[str, Repository] = {}
        self.uploads = Path()
        self.objects: dict[str, bytes] = {}
        self.stalled: set[str] = set()
        self.cut: dict[str, int] = {}  # name's end -> so many answers are cut, counted down
        self.requests: list[tuple[str, str, int]] = []
        self.tokens: set[str | None] = set()
        self.stop = threading.Event()

    def sent(self, end: str = "") -> int:
        """Bytes of contents that were sent of files whose name ends so."""
        return sum(size for _, path, size in self.requests if "/resolve/" in path and path.endswith(end))

    def lape(
        self, folder: Path, *commands: list[str], patience: bool = True, **variables: str
    ) -> subprocess.CompletedProcess:
        """Run command lines of `lape`, one after another, in one process that takes this for the hub.

        Args:
            folder: its working directory, in which the hub's cache is.
            commands: words of each.
            patience: whether it pauses and tries again as often as it would; if not, only as often as the protocol's
                client does, and without a pause.
            variables: more of its environment.
        """
        code = "import json, sys; from lape.cli import main; sys.exit(max(map(main, json.loads(sys.argv[1]))))"
        if not patience:
            code = (
                "import time, datasets; time.sleep = lambda seconds: None; "
                f"datasets.config.STREAMING_READ_MAX_RETRIES = datasets.config.STREAMING_OPEN_MAX_RETRIES = 1; {code}"
            )
        ours = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        ours |= {"HF_ENDPOINT": self.url, "HF_HOME": str(folder / "cache"), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
        return subprocess.run(
            [self.python, "-c", code, json.dumps(commands)],
            cwd=folder,
            env={**ours, "PYTHONPATH": str(ROOT), **variables},
            capture_output=True,
            text=True,
            timeout=300,
        )


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer()

    def do_HEAD(self):
        self._answer()

    def do_POST(self):
        self._answer()

    def do_PUT(self):
        self._answer()

    def _answer(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.tokens.add(self.headers["Authorization"])
        if written := re.fullmatch(r"/objects/(\w+)|/api/(.+)/(create|preupload/main|commit/main)|.+/(batch)", path):
            return self._write(written, content)
        if path == "/api/validate-yaml":
            return self._send_json({"errors": [], "warnings": []})
        body = content.decode()
        api = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/(.+))?", path)
        contents = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+|refs/pr/\d+)/(.+)", path)
        if api:
            kind, name, action, rest = api.groups()
        elif contents:
            kind, name, rest = (contents[1] or "models/").rstrip("/"), contents[2], contents[3]
            action = "resolve"
        else:
            return self._refuse(404, "EntryNotFound")
        repository = self.hub.repositories.get(f"{kind}/{name}")
        if repository is None:
            return self._refuse(401, "RepoNotFound")
        revision, _, below = (rest or "main").partition("/") if action == "tree" else (rest or "main", "", "")
        commit = revision if revision in repository.revisions.values() else repository.revisions.get(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        if action == "resolve":
            if repository.gated and self.headers["Authorization"] != f"Bearer {TOKEN}":
                return self._refuse(403 if self.headers["Authorization"] else 401, "GatedRepo")
            return self._send_file(repository, commit, contents[4])
        if action == "tree":
            return self._send_json(_listing(repository, below))
        if action == "paths-info":
            wanted = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
            return self._send_json([entry for entry in _listing(repository) if entry["path"] in wanted])
        siblings = [{"rfilename": file} for file in repository.files()]
        gated = "manual" if repository.gated is not False else False
        info = {
            "_id": "1",
            "id": name,
            "sha": commit,
            "siblings": siblings,
            "private": repository.private,
            "gated": gated,
            "tags": [],
        }
        return self._send_json(info)

    def _write(self, written: re.Match, content: bytes) -> None:
        """One step of an upload: a repository, which files are large, a large file, and the commit."""
        if written[1]:  # its address is a secret of its own, so that no token comes with it
            self.hub.objects[written[1]] = content
            return self._send_json({})
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._refuse(401, "")
        lines = [json.loads(line) for line in content.splitlines()]
        if written[4]:
            oids = [one["oid"] for one in lines[0]["objects"]]
            places = {oid: {"upload": {"href": f"{self.hub.url}/objects/{oid}"}} for oid in oids}
            return self._send_json({"objects": [{"oid": oid, "size": 0, "actions": places[oid]} for oid in oids]})
        if written[3] == "create":
            made = lines[0]
            name = f"{made.get('type', 'model')}s/{made['organization']}/{made['name']}"
            private, known = made.get("visibility") == "private", name in self.hub.repositories
            self.hub.repositories.setdefault(name, Repository(self.hub.uploads / name, private=private))
            return self._send_json({"url": f"{self.hub.url}/{name.removeprefix('models/')}"}, 409 if known else 200)
        if written[3] == "preupload/main":
            files = [(one["path"], "lfs" if one["path"].endswith(LARGE) else "regular") for one in lines[0]["files"]]
            answer = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in files]
            return self._send_json({"files": answer})
        repository = self.hub.repositories[written[2]]
        for line in lines[1:]:
            value = line["value"]
            file = repository.folder / value["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            if line["key"] == "deletedFile":
                file.unlink()
                continue
            large = line["key"] == "lfsFile"
            file.write_bytes(self.hub.objects[value["oid"]] if large else base64.b64decode(value["content"]))
        commit = repository.revisions["main"] = hashlib.sha1(content).hexdigest()
        return self._send_json({"commitUrl": f"{self.hub.url}/{written[2]}/commit/{commit}", "commitOid": commit})

    def _send_json(self, content: object, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": f"{code}: access is restricted"})

    def _send_file(self, repository: Repository, commit: str, name: str) -> None:
        if name not in repository.files():
            return self._refuse(404, "EntryNotFound")
        body = repository.files()[name].read_bytes()
        headers = {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        status, size = 200, len(body)
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start, end = int(match[1]), min(int(match[2] or size - 1), size - 1)
            status, body = 206, body[start : end + 1]
            headers["Content-Range"] = f"bytes {start}-{end}/{size}"
        if self.command == "GET" and any(name.endswith(end) for end in self.hub.stalled):
            self.hub.stop.wait()
        keep = len(body)
        for end, left in self.hub.cut.items():
            if self.command == "GET" and name.endswith(end) and left:
                self.hub.cut[end], keep = left - 1, len(body) // 2
        self._send(status, body, headers, keep)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], keep: int | None = None) -> None:
        sent = 0 if self.command == "HEAD" else len(body[:keep])
        self.hub.requests.append((self.command, unquote(self.path), sent))
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:keep])
        if keep is not None and keep < len(body):
            self.close_connection = True


def _listing(repository: Repository, below: str = "") -> list[dict]:
    files = {name: path for name, path in repository.files().items() if name.startswith(below)}
    folders = {parent.as_posix() for name in files for parent in Path(name).parents} - {".", below}
    entries = [{"type": "directory", "path": folder, "size": 0, "oid": "0" * 40} for folder in sorted(folders)]
    for name, path in files.items():
        digest = hashlib.sha1(path.read_bytes()).hexdigest()
        entries.append({"type": "file", "path": name, "size": path.stat().st_size, "oid": digest})
    return entries


@pytest.fixture(scope="module")
def python():
    """A warm Python that has not read the hub's address yet."""
    with warm_programs(WITHOUT_HUB) as folder:
        yield folder / "python"


@pytest.fixture
def hub(python):
    """An empty hub."""
    hub = Hub(python)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with serving(handler) as hub.url:
        yield hub
        hub.stop.set()
