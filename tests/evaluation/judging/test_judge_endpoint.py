"""The judge's endpoint: faults, stalls and nonsense, runs that are killed, and a real server of the interface."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from judge_server import (  # noqa: F401 (used by their names)
    KEY,
    Reply,
    answer,
    as_json,
    cached,
    completion,
    files_with,
    generations_fixture,
    rated_by_length,
    refusal,
    serve_fixture,
    table,
    words,
    write_generations,
)
from stages import check_refusal
from tiny_data import ROOT, make_model
from waiting import wait_until

from lape.artifacts.files import read_json, write_json
from lape.audit.evaluation import check_judgements
from lape.errors import LapeError
from lape.evaluation.judging.cache import VerdictCache
from lape.evaluation.judging.endpoint import ask
from lape.evaluation.judging.judge import Judge

# An endpoint that misbehaves.


def test_a_passing_fault_is_tried_again(serve, generations, lape):
    """Every answer's first attempt meets another fault."""
    faults = [refusal(500), refusal(429), refusal(408), refusal(409), Reply(200, None), completion("[[9]]", delay=60)]
    server = serve(lambda body, attempt: faults.pop() if attempt == 1 else completion("[[5]]"))
    status, messages = lape(*words(server, concurrency=6, timeout=1))
    assert status == 0, messages
    assert len(server.bodies) == 12
    assert set(table()["rating"]) == {5}


def test_retry_after_is_honoured(serve, generations, lape):
    """Without the header, the second attempt follows within half a second."""
    server = serve(lambda body, attempt: refusal(429, Retry_After="2") if attempt == 1 else completion("[[5]]"))
    assert lape(*words(server, concurrency=6))[0] == 0
    starts: dict[str, list[float]] = {}
    for body, moment in zip(server.bodies, server.times, strict=True):
        starts.setdefault(json.dumps(body), []).append(moment)
    assert len(starts) == 6
    for first, second in starts.values():
        assert 2 <= second - first < 3.5


def test_pauses_grow(serve, generations, lape):
    server = serve(lambda body, attempt: refusal(500))
    assert lape(*words(server, concurrency=1, retries=2))[0] == 1
    first, second, third = server.times
    assert 0.3 < second - first < third - second


def test_an_endpoint_that_is_down_is_given_up(serve, tmp_path, monkeypatch, lape):
    monkeypatch.chdir(tmp_path)
    write_generations(Path("generations/normal.json"), {("en", "en"): [str(number) for number in range(50)]})
    server = serve(lambda body, attempt: refusal(500, "out of memory"))
    line = check_refusal(*lape(*words(server, concurrency=4)), "judge", server.url, "of 50 answers failed")
    assert "out of memory" in line and "judge.allowed_failures" in line
    assert len(server.bodies) < 20
    assert not Path("out").exists() and not cached()


def test_nobody_listens(generations, lape, serve):
    server = serve()
    server.close()
    check_refusal(*lape(*words(server, retries=0)), "judge", server.url, "APIConnectionError")


def test_an_answer_that_fails_costs_no_other_verdict(serve, generations, lape):
    """Two of six answers stall; what was rated is kept, and a run that may lack a third is written."""
    server = serve(lambda body, attempt: completion("[[5]]", delay=60 * (answer(body) in ("", "x"))))
    settings = {"timeout": 1, "retries": 0, "concurrency": 3}
    line = check_refusal(*lape(*words(server, **settings)), "judge", "2 of 6 answers failed", "cache", "timed out")
    assert "judge.timeout" in line
    assert len(cached()) == 4 and not Path("out").exists()
    status, messages = lape(*words(server, **settings, allowed_failures=0.34))
    assert status == 0, messages
    assert table()["status"].tolist() == ["rated", "failed", "rated", "rated", "rated", "failed"]
    header = read_json("out/normal.json")
    assert [row["failed"] for row in header["rows"]] == [1, 1]
    assert [row["content_quality"] for row in header["rows"]] == [5, 5]
    assert list(check_judgements(Path("out/normal.json"), header)) == []
    assert len(server.bodies) == 4 + 2 * 2

    server.reply = lambda body, attempt: completion("[[6]]")
    assert lape(*words(server))[0] == 0
    assert table()["rating"].tolist() == [5, 6, 5, 5, 5, 6]


NONSENSE = {
    "page": Reply(200, b"<html>Welcome</html>", {"Content-Type": "text/html"}),
    "page as JSON": Reply(200, b"<html>Welcome</html>", {"Content-Type": "application/json"}),
    "cut": Reply(200, b'{"choices": [{"mess', {"Content-Type": "application/json"}),
    "nothing": Reply(200, b"", {"Content-Type": "application/json"}),
    "no choices": as_json({"choices": []}),
    "null choices": as_json({"choices": None}),
    "error": as_json({"error": {"message": "overloaded"}}),
    "list": as_json([1, 2]),
    "null": as_json(None),
    "message": as_json({"choices": [{"message": "text"}]}),
    "number": completion(5),
    "parts": completion([{"type": "text", "text": "[[5]]"}]),
}


def test_nonsense_is_counted_as_failed(serve, tmp_path, monkeypatch, lape):
    """One answer a kind of nonsense, and one that is rated."""
    monkeypatch.chdir(tmp_path)
    write_generations(Path("generations/normal.json"), {("en", "en"): [*NONSENSE, "good"]})
    server = serve(lambda body, attempt: NONSENSE.get(answer(body), completion("[[5]]")))
    check_refusal(*lape(*words(server, concurrency=20)), "judge", "12 of 13 answers failed")
    assert len(cached()) == 1
    assert lape(*words(server, allowed_failures=0.92))[0] == 1
    status, messages = lape(*words(server, allowed_failures=0.93))
    assert status == 0, messages
    assert dict(zip([*NONSENSE, "good"], table()["status"], strict=True)) == {
        **dict.fromkeys(NONSENSE, "failed"),
        "good": "rated",
    }
    assert "Welcome" in messages and "overloaded" in messages


def test_a_verdict_without_a_clear_rating_is_counted_and_kept(serve, generations, lape):
    texts = {"x": "I cannot rate this.", "因為光。": "Rating: [[11]]", "Jeg vet ikke.": "[[2]] no, [[3]]", "": None}
    server = serve(lambda body, attempt: completion(texts.get(answer(body), "[[5]]")))
    assert lape(*words(server))[0] == 0
    found = table()
    assert found["status"].tolist() == ["rated", *["unparsed"] * 3, "rated", "unparsed"]
    assert found["rating"].isna().tolist() == [False, *[True] * 3, False, True]
    assert found["verdict"].tolist() == [
        "[[5]]",
        "",
        "[[2]] no, [[3]]",
        "Rating: [[11]]",
        "[[5]]",
        "I cannot rate this.",
    ]
    assert [
        (row["content_quality"], row["rated"], row["unparsed"]) for row in read_json("out/normal.json")["rows"]
    ] == [
        (5, 1, 2),
        (5, 1, 2),
    ]
    assert lape(*words(server))[0] == 0
    assert len(server.bodies) == 6


def test_no_rating_at_all(serve, generations, lape):
    assert lape(*words(serve(lambda body, attempt: completion("?"))))[0] == 0
    assert [row["content_quality"] for row in read_json("out/normal.json")["rows"]] == [None, None]


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(401, "judge.key_variable"), (403, "judge.key_variable"), (404, "judge.model"), (400, "judge.sampling")],
)
def test_a_refused_request_ends_the_run(serve, generations, lape, monkeypatch, status, remedy):
    """The endpoint repeats the key, as some do."""
    monkeypatch.setenv("JUDGE_KEY", KEY)
    server = serve(lambda body, attempt: refusal(status, f"Incorrect API key: {KEY}.\nSee <page>."))
    settings = {"key_variable": "JUDGE_KEY", "concurrency": 2, "retries": 5, "allowed_failures": 1}
    done, messages = lape(*words(server, **settings), "--log", "log.txt")
    check_refusal(done, messages, "judge", server.url, str(status), remedy)
    assert KEY not in messages and not files_with(KEY)
    assert len(server.bodies) <= 2
    assert not Path("out").exists() and not cached()


# A run that is killed, and runs at the same time.


def test_a_killed_run_goes_on(serve, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_generations(Path("generations/normal.json"), {("en", "en"): [str(number) for number in range(12)]})
    server = serve(lambda body, attempt: completion("[[5]]", delay=60 * (len(server.bodies) > 5)))
    command = [sys.executable, "-m", "lape", *words(server, concurrency=2, timeout=30)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: (len(cached()), len(server.bodies)) == (5, 7), "five verdicts and two requests in flight")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path("out").exists()

    before = len(server.bodies)
    server.reply = rated_by_length
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert len(server.bodies) - before == 12 - 5
    assert sorted(table()["number"]) == list(range(1, 13))


def test_runs_may_keep_the_same_verdict_at_once(tmp_path):
    cache, request = VerdictCache(tmp_path), {"model": "judge", "messages": []}
    faults = []

    def keep():
        try:
            for _ in range(50):
                cache.write(request, "[[5]]", "judge")
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=keep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert cache.read(request) == {"request": request, "verdict": "[[5]]", "served": "judge"}
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_a_damaged_verdict_is_refused(serve, generations, lape):
    server = serve()
    assert lape(*words(server))[0] == 0
    path = cached()[0]
    entry = read_json(path)
    for damage in ({**entry, "verdict": 5}, {**entry, "request": {}}, {"verdict": "[[5]]"}):
        write_json(path, damage)
        check_refusal(*lape(*words(server)), "judge", str(path), "delete it")
    path.write_text(path.read_text()[:9])
    check_refusal(*lape(*words(server)), "judge", str(path), "delete it")


def test_in_a_running_loop(serve, tmp_path):
    server = serve()
    judge, cache = Judge(server.url, "judge"), VerdictCache(tmp_path)
    requests = [judge.request("Why?", "Because.")] * 2

    async def notebook():
        await ask(judge, requests, cache)
        server.reply = lambda body, attempt: refusal(401)
        with pytest.raises(LapeError, match="refuses a request"):
            await ask(judge, [judge.request("Who?", "I.")], cache)
        return len(asyncio.all_tasks())

    assert asyncio.run(notebook()) == 1
    assert len(server.bodies) == 2
    assert cache.read(requests[0])["verdict"] == "It is fine.\nRating: [[9]]"


# A real server of the interface.

CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


@contextmanager
def transformers_serve(folder: Path):
    """The base URL of `transformers serve`, which runs while the context is open."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("transformers")
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with open(folder / "serve.log", "w") as log:
        process = subprocess.Popen(
            [program, "serve", *options, folder],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def answers() -> bool:
        assert process.poll() is None, (folder / "serve.log").read_text()
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).status == 200
        except OSError:
            return False

    try:
        wait_until(answers, "the endpoint's answer")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def test_a_real_server(serve, generations, lape, tmp_path):
    """A random model rates nothing; its words come back whole, and a second run needs no server."""
    pytest.importorskip("fastapi", reason="needs the extra transformers[serving]")
    pytest.importorskip("uvicorn", reason="needs the extra transformers[serving]")
    folder = make_model(tmp_path / "chat")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": CHAT_TEMPLATE}))
    options = {"model": str(folder), "concurrency": 2, "max_tokens": 12}
    with transformers_serve(folder) as url:
        status, messages = lape(*words(url, **options, timeout=60))
        assert status == 0, messages
        check_refusal(*lape(*words(url, **options | {"model": "nowhere", "retries": 0})), "judge", url)
    found = table()
    assert set(found["status"]) == {"unparsed"} and found["verdict"].str.len().min() > 0
    assert lape(*words(url, **options))[0] == 0
    assert table().equals(found)
