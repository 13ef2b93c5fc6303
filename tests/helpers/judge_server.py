"""An OpenAI-compatible endpoint on the loopback interface that misbehaves on demand, and answers for it to judge."""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd
import pytest
from loopback import serving

from lape.artifacts.files import write_header
from lape.evaluation.judging.judge import read_judgements


class Reply(NamedTuple):
    """What the server sends, after `delay` seconds; body None breaks the connection."""

    status: int
    body: bytes | None
    headers: Mapping[str, str] = MappingProxyType({})
    delay: float = 0.0


def as_json(content: object, status: int = 200, delay: float = 0.0, **headers: str) -> Reply:
    """A JSON body; an underscore in a header's name stands for a hyphen."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(content).encode(), {"Content-Type": "application/json", **named}, delay)


def completion(text: object, delay: float = 0.0) -> Reply:
    """A chat completion with this text."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    content = {"id": "1", "object": "chat.completion", "created": 0, "model": "judge-0613", "choices": [choice]}
    return as_json(content, delay=delay)


def refusal(status: int, message: str = "no", **headers: str) -> Reply:
    """An error in the interface's form."""
    return as_json({"error": {"message": message, "type": "some_error"}}, status, **headers)


class JudgeServer:
    """The server; `reply` decides what it does.

    Attributes:
        reply: from (body of the request, how often this body has come) to what is sent.
        bodies, headers, times: of every request, in the order in which they came; headers have small letters.
        peak: most requests that were open at once.
    """

    def __init__(self, reply: Callable[[dict, int], Reply]):
        self.reply = reply
        self.bodies: list[dict] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.peak = 0
        self._open = 0
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                server._answer(self)

        self._http = ExitStack()
        self.url = f"{self._http.enter_context(serving(Handler))}/v1"

    def close(self) -> None:
        """Stop, and let go of requests that stall."""
        self._closing.set()
        self._http.close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        text = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        with self._lock:
            self._open += 1
            self.peak = max(self.peak, self._open)
            self._seen[text] += 1
            self.bodies.append(json.loads(text))
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
            self.times.append(time.monotonic())
            reply = self.reply(self.bodies[-1], self._seen[text])
        self._closing.wait(reply.delay)
        # Before the answer goes out: with it the client may open its next request.
        with self._lock:
            self._open -= 1
        handler.close_connection = reply.body is None
        if reply.body is None:
            return
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(reply.body)))
        handler.end_headers()
        handler.wfile.write(reply.body)


KEY = "sk-abc.DEF_123~secret"
QUESTION = 'Why is "the {answer}" blue?'
# "no" and "nan" are languages that a careless reader takes for missing values.
ANSWERS = {
    ("no", "no"): ["Fordi lys spres.", "", "Jeg vet ikke."],
    ("nan", "nan"): ["因為光。", "Tab\there, {question}", "x"],
}


def rated_by_length(body: dict, attempt: int) -> Reply:
    """A verdict whose rating is known: 1 and the answer's length modulo 10."""
    return completion(f"It is fine.\nRating: [[{1 + len(answer(body)) % 10}]]")


def answer(body: dict) -> str:
    """The answer that a request is about."""
    _, text = body["messages"][1]["content"].split("[The Start of Assistant's Answer]\n")
    return text.removesuffix("\n[The End of Assistant's Answer]")


@pytest.fixture(name="serve")
def serve_fixture(monkeypatch):
    """Start servers of the interface; keys of whoever runs the tests stay out of them."""
    for name in [name for name in os.environ if name.startswith("OPENAI_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    servers = []

    def start(reply=rated_by_length) -> JudgeServer:
        servers.append(JudgeServer(reply))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(name="generations")
def generations_fixture(tmp_path, monkeypatch) -> Path:
    """The header of six answers in two languages; its folder is the working directory."""
    monkeypatch.chdir(tmp_path)
    return write_generations(Path("generations/normal.json"), ANSWERS)


def write_generations(path: Path, answers: dict[tuple[str, str], list[str]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with open(path.with_suffix(".jsonl"), "w", encoding="utf-8") as file:
        for (language, target), outputs in answers.items():
            for number, output in enumerate(outputs, 1):
                row = {"language": language, "target": target, "number": number, "question": f"{number} {QUESTION}"}
                file.write(json.dumps({**row, "output": output}, ensure_ascii=False) + "\n")
    same = dict.fromkeys(("deactivated", "activated", "method", "steering"))
    write_header(
        path,
        "generations",
        **same,
        model="tiny",
        model_revision="0" * 40,
        prompt="plain",
        setting="normal",
        kind="normal",
        languages=list(dict.fromkeys(language for language, _ in answers)),
        parameters={},
        inputs=[],
        outputs=[path.with_suffix(".jsonl")],
    )
    return path


def words(server: JudgeServer | str, *more: str, **settings) -> list[str]:
    """The command line of `lape judge` in the working directory."""
    url = getattr(server, "url", server)
    settings = {"base_url": url, "model": "judge", "concurrency": 4, "retries": 1, "timeout": 10, **settings}
    paths = ["--generations", "generations/normal.json", "--cache", "cache", "--output", "out/normal.tsv"]
    return ["judge", *paths, "--settings", json.dumps(settings), *more]


def table() -> pd.DataFrame:
    return read_judgements("out/normal.tsv")


def cached() -> list[Path]:
    return list(Path("cache").rglob("*.json"))


def files_with(text: str) -> list[Path]:
    return [path for path in Path().rglob("*") if path.is_file() and text.encode() in path.read_bytes()]
