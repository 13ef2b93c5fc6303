"""`lape generate`: what it writes, what an interrupted run keeps, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
from stages import arguments

from lape.artifacts.files import read_json, write_header
from lape.generation import decoding
from lape.neurons.table import Neurons
from lape.text.questions import load_questions

NEURONS = ["--neurons", "neurons/lape.json"]
VALUES = ["--values", "steering/lape.json"]
SETTINGS = {
    "normal": [],
    "random": ["--neurons", "neurons/active_lape.json"],
    "deactivated-fr": NEURONS,
    "steered": [*NEURONS, *VALUES],
    "cross-fr": [*NEURONS, *VALUES],
    "diffmean-fr@0.5-8": ["--directions", "directions/tiny.json"],
    "prompted-fr": ["--template", "{question}{suffix}", "--suffixes", '{"fr": " Oui ?", "ja": "日本"}'],
}


def generate(lape, setting: str, *more: str, status: int = 0, folder: str = "out") -> str:
    words = arguments("normal", setting=setting, output=f"{folder}/{setting}.jsonl")
    done, messages = lape(*words, *SETTINGS[setting], *more)
    assert done == status, messages
    return messages


def rows(setting: str, folder: str = "out") -> list[dict]:
    with open(f"{folder}/{setting}.jsonl", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_a_setting_writes(stages, lape, setting):
    generate(lape, setting)
    header, answers = read_json(f"out/{setting}.json", "generations"), rows(setting)
    crosses = setting.startswith(("cross", "diffmean", "prompted"))
    pairs = [("fr", "ja")] if crosses else [("fr", "fr"), ("ja", "ja")]
    asked = {language: load_questions(f"questions/{language}.json") for language in ("fr", "ja")}
    expected = [(a, b, n, text) for a, b in pairs for n, text in asked[a].items()]
    assert [(r["language"], r["target"], r["number"], r["question"]) for r in answers] == expected
    asks = "日本" if setting == "prompted-fr" else ""
    assert all(r["prompt"] == r["question"] + asks and len(r["tokens"]) <= 4 for r in answers)
    assert [(block["language"], block["target"]) for block in header["rows"]] == pairs
    for block in header["rows"]:
        own = [r for r in answers if (r["language"], r["target"]) == (block["language"], block["target"])]
        assert block["answers"] == len(own) and block["tokens"] == sum(len(r["tokens"]) for r in own)
        for reason in ("stop", "eos", "length"):
            assert block[reason] == sum(r["finish_reason"] == reason for r in own)
    assert (header["prompt"], header["setting"], header["languages"]) == ("plain", setting, ["fr", "ja"])
    if setting in ("normal", "prompted-fr"):
        assert header["hooks"] == [] and header["method"] is None and header["steering"] is None
        return
    assert header["kind"] == setting.partition("@")[0].removesuffix("-fr")
    for hook in header["hooks"]:
        assert hook["neurons"] > 0 and hook["fed"] > 0
    sizes = Neurons.load("neurons/lape.json").counts()
    if setting in ("random", "steered"):  # a control is as large as the set
        assert [hook["neurons"] for hook in header["hooks"]] == [sizes["fr"], sizes["ja"]]
    if setting.startswith("diffmean"):
        assert header["steering"] == {"depth": 0.5, "strength": 8.0, "values": "difference of mean hidden states"}
        generate(lape, "prompted-fr", "--suffixes", '{"ja": ""}')
        assert [r["tokens"] for r in rows("prompted-fr")] != [r["tokens"] for r in answers]
    if setting == "steered":
        assert header["steering"] == {
            "mode": "set",
            "strength": 1.0,
            "positions": "all",
            "share": 1.0,
            "values": "mean activation",
        }
        generate(lape, "normal")
        assert [r["tokens"] for r in rows("normal")] != [r["tokens"] for r in answers]


def test_no_strength_changes_no_token(stages, lape):
    generate(lape, "normal")
    for dose in ("set-all-0-1", "max-all-0-1", "add-prompt-0-1", "scale-generated-0-1"):
        generate(lape, "steered", "--dose", dose)
        assert [r["tokens"] for r in rows("steered")] == [r["tokens"] for r in rows("normal")]
    values = Path("steering/lape.tsv")
    header = read_json("steering/lape.json")
    values.write_text(values.read_text().splitlines(keepends=True)[0])  # no language has a neuron
    write_header(
        "steering/lape.json",
        "steering",
        **{
            key: header[key]
            for key in ("model", "model_revision", "method", "sets", "layers", "neurons_per_layer", "experts")
        },
        parameters={},
        inputs=[],
        outputs=[values],
    )
    generate(lape, "steered")
    assert [r["tokens"] for r in rows("steered")] == [r["tokens"] for r in rows("normal")]


def test_languages_are_answered_together_as_one_by_one(stages, lape):
    for setting in SETTINGS:
        generate(lape, setting, folder="together")
        generate(lape, setting, "--batch-size", "3")  # there are as many questions in each language
        assert rows(setting) == rows(setting, "together")
        one, other = (read_json(f"{folder}/{setting}.json") for folder in ("out", "together"))
        for hook, joined in zip(one["hooks"], other["hooks"], strict=True):
            for key in ("language", "target", "layers", "neurons"):
                assert hook[key] == joined[key]
            # Rows that fill a batch are fed and changed, too, and together there are fewer of them.
            assert 0 < joined["fed"] <= hook["fed"] and 0 < joined["changed"] <= hook["changed"]


def test_an_interrupted_run_goes_on_behind_what_it_finished(stages, lape, monkeypatch):
    generate(lape, "steered", folder="whole")
    answers, calls = decoding.greedy_answers, []

    def interrupted(*words, **settings):
        calls.append(words)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return answers(*words, **settings)

    monkeypatch.setattr(decoding, "greedy_answers", interrupted)
    one_by_one = ["--batch-size", "3"]
    generate(lape, "steered", *one_by_one, status=130)
    parts = Path("out/steered.parts")
    assert not Path("out/steered.jsonl").exists() and not (parts / "ja-ja.jsonl").exists()
    generate(lape, "steered", *one_by_one)
    assert len(calls) == 3  # the part of fr was not asked again
    assert Path("out/steered.jsonl").read_bytes() == Path("whole/steered.jsonl").read_bytes()
    assert rows("steered")[0]["language"] == "fr" and not parts.exists()
    # Other settings, or a part that was cut, are asked anew.
    for change in ("settings", "cut"):
        calls[:] = []
        shutil.rmtree("out")
        generate(lape, "steered", *one_by_one, status=130)
        if change == "cut":
            (parts / "fr-fr.jsonl").write_text("{}\n")
        generate(lape, "steered", *one_by_one, *(["--max-new-tokens", "3"] if change == "settings" else []))
        assert len(calls) == 4


def another_model(header: str) -> None:
    content = read_json(header)
    Path(header).write_text(json.dumps(content | {"model": "other", "model_revision": "0" * 64}))


@pytest.mark.parametrize(
    ("setting", "more", "names"),
    [
        ("usual", [], ["setting 'usual'", "use one as normal"]),
        ("deactivated-de", NEURONS, ["'de' is not among the languages"]),
        ("steered", NEURONS, ["--values is missing"]),
        ("random", [], ["--neurons is missing"]),
        ("normal", NEURONS, ["--neurons is not used"]),
        ("random", NEURONS, ["neurons/lape.json", "wants active_lape"]),
        ("normal", ["--suffixes", '{"fr": "?"}'], ["has no {suffix}"]),
        ("normal", ["--template", "{question}{suffix}", "--suffixes", '{"fr": "?"}'], ["in 'ja'; add it"]),
        ("normal", ["--chat"], ["no chat template"]),
        ("steered", [*NEURONS, *VALUES, "--dose", "clamp-all-1-1"], ["mode: 'clamp' is unknown"]),
    ],
)
def test_what_is_refused(refused, setting, more, names):
    refused([*arguments("normal", setting=setting, output="out/answers.jsonl"), *more], *names)


def test_questions_that_are_not_aligned_are_refused(stages, lape):
    Path("asked/ja.txt").write_text("家の 川は ?\n" * 5, encoding="utf-8")
    words = arguments("questions", language="ja", output="questions/ja.jsonl")
    assert lape(*words)[0] == 0
    assert "questions/ja.json: lacks the questions" in generate(lape, "normal", status=1)


@pytest.mark.parametrize("header", ["neurons/lape.json", "steering/lape.json"])
def test_what_was_found_on_another_model_is_refused(refused, header):
    another_model(header)
    words = [*arguments("normal", setting="steered", output="out/steered.jsonl"), *NEURONS, *VALUES]
    refused(words, header, "found on other, not on tiny")
