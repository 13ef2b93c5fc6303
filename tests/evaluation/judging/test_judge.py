"""The judge of content quality: what is asked, how verdicts are read, what it costs, and what is written."""

import hashlib
from pathlib import Path

import pytest
from judge_server import (  # noqa: F401 (used by their names)
    ANSWERS,
    KEY,
    QUESTION,
    answer,
    completion,
    files_with,
    generations_fixture,
    serve_fixture,
    table,
    words,
    write_generations,
)
from stages import check_refusal
from tiny_data import ROOT

from lape.artifacts.files import read_json, sha256
from lape.audit.evaluation import check_judgements
from lape.evaluation.judging.judge import Judge, rating

# What is asked, and how a verdict is read.


def test_the_prompt_is_the_published_one():
    """Hash of the prompt_template of "single-v1" in FastChat's judge_prompts.jsonl."""
    judge = Judge("http://localhost/v1", "judge")
    published = "0935c7ff79f38d3f9b135e14b2cf3bc05ddfbcb96cfd4094b1681a8044e9ccd0"
    assert hashlib.sha256(judge.prompt.encode()).hexdigest() == published
    request = judge.request("Who said {answer}?", "I: {question} {0} \\1")
    assert request["model"] == "judge" and request["temperature"] == 0
    system, user = request["messages"]
    assert system == {"role": "system", "content": "You are a helpful assistant."}
    assert user["role"] == "user"
    assert user["content"].endswith(
        "[Question]\nWho said {answer}?\n\n[The Start of Assistant's Answer]\nI: {question} {0} \\1\n"
        "[The End of Assistant's Answer]"
    )


@pytest.mark.parametrize(
    ("verdict", "value"),
    [
        ("Good. Rating: [[7]]", 7),
        ("Good.\n\n**Rating: [[7.5]]**", 7.5),
        ("[[10]]", 10),
        ("Rating: [[1]] and again: [[1]]", 1),
        ("Rating: [[3]]\nThe answer cites [1] and [12].", 3),
        ("Rating: [[4]] or [[6]]", None),
        ("Rating: [[11]]", None),
        ("Rating: [[0]]", None),
        ("Rating: [[-5]]", None),
        ("Rating: [[8]], as a source says: [[2024]]", None),
        ("Rating: [[rating]]", None),
        ("Rating: [8]", None),
        ("Rating: 8/10", None),
        ("Rating: [[8/10]]", None),
        ('You asked for "[[rating]]", for example: "Rating: [[5]]".', None),
        ('You asked for "[[rating]]", for example: "Rating: [[5]]". Rating: [[2]]', 2),
        ("", None),
    ],
)
def test_a_rating_is_read_and_never_guessed(verdict, value):
    assert rating(verdict) == value


# An endpoint that behaves.


def test_judgements(serve, generations, lape, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", f"{KEY}\n")
    server = serve()
    status, messages = lape(*words(server, key_variable="JUDGE_KEY"), "--log", "log.txt")
    assert status == 0, messages

    expected = [
        {"language": language, "target": target, "number": number, "rating": 1.0 + len(output) % 10, "status": "rated"}
        for (language, target), outputs in ANSWERS.items()
        for number, output in enumerate(outputs, 1)
    ]
    found = table()
    assert found.drop(columns="verdict").to_dict("records") == expected
    assert set(found["verdict"]) == {f"It is fine.\nRating: [[{row['rating']:g}]]" for row in expected}
    header = read_json("out/normal.json", "judgements")
    assert header["rows"] == [
        {
            "language": code,
            "target": code,
            "answers": 3,
            "content_quality": mean,
            "rated": 3,
            "unparsed": 0,
            "failed": 0,
        }
        for code, mean in (("no", (7 + 1 + 4) / 3), ("nan", (5 + 1 + 2) / 3))
    ]
    assert (header["model"], header["setting"], header["languages"]) == ("tiny", "normal", ["no", "nan"])
    assert header["judge"]["model"] == "judge" and header["judge"]["served"] == ["judge-0613"]
    assert header["judge"]["template_sha256"] == sha256(ROOT / "lape/evaluation/judging/single_answer.txt")
    assert set(header["inputs"]) == {"generations/normal.json", "generations/normal.jsonl"}

    assert {body["seed"] for body in server.bodies} == {0} and {body["max_tokens"] for body in server.bodies} == {1024}
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert KEY not in messages and not files_with(KEY)
    assert list(check_judgements(Path("out/normal.json"), header)) == []


def test_a_second_run_makes_no_call_and_the_same_bytes(serve, generations, lape):
    server = serve()
    assert lape(*words(server))[0] == 0
    first = Path("out/normal.tsv").read_bytes(), Path("out/normal.json").read_bytes()
    server.close()
    status, messages = lape(*words(server))
    assert status == 0 and "0 calls" in messages
    assert (Path("out/normal.tsv").read_bytes(), Path("out/normal.json").read_bytes()) == first
    assert len(server.bodies) == 6


@pytest.mark.parametrize(
    "change", [{"model": "other"}, {"max_tokens": 99}, {"sampling": {"top_p": 0.9}}, {"template": "mine.txt"}]
)
def test_what_shapes_a_verdict_is_asked_anew(serve, generations, lape, change):
    Path("mine.txt").write_text("{question}\n---\n{answer}\nHow good, as [[1]] to [[10]]?\n", encoding="utf-8")
    server = serve(lambda body, attempt: completion("[[2]]"))
    assert lape(*words(server))[0] == lape(*words(server, **change))[0] == 0
    assert len(server.bodies) == 12
    if "template" in change:
        contents = {body["messages"][1]["content"] for body in server.bodies[6:]}
        assert f"1 {QUESTION}\n---\nFordi lys spres.\nHow good, as [[1]] to [[10]]?" in contents
        header = read_json("out/normal.json")
        assert header["judge"]["template_sha256"] == header["inputs"]["mine.txt"] == sha256("mine.txt")


def test_the_same_question_and_answer_is_asked_once(serve, tmp_path, monkeypatch, lape):
    """Steering that changes nothing gives the same answer for every target."""
    monkeypatch.chdir(tmp_path)
    write_generations(Path("generations/normal.json"), {("es", "fr"): ["a", "b"], ("es", "ja"): ["a", "c"]})
    server = serve()
    assert lape(*words(server))[0] == 0
    assert len(server.bodies) == 3
    assert [row["answers"] for row in read_json("out/normal.json")["rows"]] == [2, 2]


@pytest.mark.parametrize("settings", [{}, {"key_variable": "JUDGE_KEY"}], ids=["no variable", "not set"])
def test_an_endpoint_without_keys(serve, generations, lape, monkeypatch, settings):
    """The key of another endpoint is not sent."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = serve()
    assert lape(*words(server, **settings))[0] == 0
    assert not [headers for headers in server.headers if KEY in str(headers)]


def test_no_more_calls_at_once_than_configured(serve, tmp_path, monkeypatch, lape):
    monkeypatch.chdir(tmp_path)
    write_generations(Path("generations/normal.json"), {("en", "en"): [str(number) for number in range(20)]})
    server = serve(lambda body, attempt: completion("[[5]]", delay=0.1))
    assert lape(*words(server, concurrency=5))[0] == 0
    assert server.peak == 5


def test_verdicts_of_any_characters(serve, generations, lape):
    texts = [
        '"Quoted"\t[[3]]',
        "back\\slash\\n [[3]]",
        "\r\n[[3]]\u2028\x00",
        "half \ud800 [[3]]",
        "NaN [[3]]",
        '" [[3]]',
    ]
    remaining = list(texts)
    server = serve(lambda body, attempt: completion(remaining.pop()))
    assert lape(*words(server))[0] == 0
    assert sorted(table()["verdict"]) == sorted(text.replace("\ud800", "?") for text in texts)
    assert Path("out/normal.tsv").read_bytes().count(b"\n") == 7
    assert list(check_judgements(Path("out/normal.json"), read_json("out/normal.json"))) == []


# What it costs.


def test_estimate(serve, generations, lape):
    server = serve()
    sampling = {"temperature": None, "seed": 7, "max_completion_tokens": 500}
    prices = {"price_in": 30, "price_out": 60, "sampling": sampling}
    status, messages = lape(*words(server, **prices), "--estimate")
    template = (ROOT / "lape/evaluation/judging/single_answer.txt").read_text(encoding="utf-8").removesuffix("\n")
    tokens = 0
    for outputs in ANSWERS.values():
        for number, output in enumerate(outputs, 1):
            prompt = template.replace("{answer}", output).replace("{question}", f"{number} {QUESTION}", 1)
            # An answer may itself hold what looks like a place.
            tokens += -(-len(f"You are a helpful assistant.{prompt}".encode()) // 3)
    cost = (tokens * 30 + 6 * 500 * 60) / 1e6
    assert status == 0
    assert f"6 calls, about {tokens} tokens to send and at most 3000 back, about {cost:.2f} in" in messages
    assert not server.bodies and not Path("cache").exists() and not Path("out").exists()

    assert lape(*words(server, **prices), "--log", "log.txt")[0] == 0
    for body in server.bodies:
        assert body.keys() == {"model", "messages", "seed", "max_completion_tokens"}
        assert (body["seed"], body["max_completion_tokens"]) == (7, 500)
    assert "0 calls, about 0 tokens to send and at most 0 back" in lape(*words(server, **prices), "--estimate")[1]


def test_nothing_is_asked_above_the_budget(serve, generations, lape):
    server = serve()
    prices = {"price_in": 30, "price_out": 60}
    check_refusal(*lape(*words(server, budget=0.3, **prices)), "judge", "judge.budget", "more than 0.3;")
    assert not server.bodies and not Path("out").exists()
    assert lape(*words(server, budget=0.6, **prices))[0] == 0


# Settings.


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"base_url": "localhost:8000"}, ["judge.base_url"]),
        ({"base_url": "http://[::1/v1"}, ["judge.base_url"]),
        ({"base_url": "https://me:hunter2@localhost/v1"}, ["judge.base_url", "password"]),
        ({"base_url": "https://localhost/v1?key=hunter2"}, ["judge.base_url", "password"]),
        ({"key_variable": "hunter2"}, ["judge.key_variable"]),
        ({"concurrency": 0}, ["judge.concurrency"]),
        ({"retries": 1.5}, ["judge.retries"]),
        ({"timeout": "60"}, ["judge.timeout"]),
        ({"max_tokens": 0}, ["judge.max_tokens"]),
        ({"sampling": {"max_tokens": 9}}, ["judge.sampling"]),
        ({"sampling": {"max_completion_tokens": None}}, ["judge.sampling"]),
        ({"base_url": None}, ["judge.base_url"]),
        ({"model": None}, ["judge.model"]),
        ({"allowed_failures": 2}, ["judge.allowed_failures"]),
        ({"budget": 5}, ["judge.budget", "judge.price_in"]),
        ({"price_in": True}, ["judge.price_in"]),
        ({"template": "none.txt"}, ["none.txt", "judge.template"]),
        ({"template": "bare.txt"}, ["bare.txt", "{answer}"]),
        ({"modle": "judge"}, ["'modle'", "model"]),
    ],
)
def test_settings_that_cannot_be(serve, generations, lape, settings, names):
    Path("bare.txt").write_text("{question}", encoding="utf-8")
    server = serve()
    line = check_refusal(*lape(*words(server, **settings)), "judge", *names)
    assert "hunter2" not in line
    assert not server.bodies and not Path("out").exists()


def test_a_key_that_cannot_be_sent_is_not_repeated(serve, generations, lape, monkeypatch):
    for key in ("sk hunter2", "sk-hunter2\u2026"):
        monkeypatch.setenv("JUDGE_KEY", key)
        line = check_refusal(*lape(*words(serve(), key_variable="JUDGE_KEY")), "judge", "JUDGE_KEY")
        assert "hunter2" not in line


# The audit.


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("no\tno\t1\t7\t", "no\tno\t1\t8\t", "reading its verdicts again gives other ratings"),
        ("\trated\t", "\tfailed\t", "reading its verdicts again gives other ratings"),
        ("Rating: [[7]]", "Rating: [[6]]", "reading its verdicts again gives other ratings"),
        ("no\tno\t1\t7\t", "no\tno\t9\t7\t", "its answers are not those of generations/normal.json"),
        ("no\tno\t1\t7\trated\tIt is fine.\\nRating: [[7]]", "no\tno\t1\t6\trated\t[[6]]", "its rows do not follow"),
    ],
)
def test_audit_names_what_does_not_follow(serve, generations, lape, old, new, fault):
    assert lape(*words(serve()))[0] == 0
    path = Path("out/normal.tsv")
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    faults = list(check_judgements(Path("out/normal.json"), read_json("out/normal.json")))
    assert [found for found in faults if fault in found]


def test_audit_names_another_setting(serve, generations, lape):
    assert lape(*words(serve()))[0] == 0
    header = read_json("out/normal.json") | {"setting": "random"}
    assert list(check_judgements(Path("out/normal.json"), header)) == [
        "has another setting, model or prompt than generations/normal.json"
    ]
