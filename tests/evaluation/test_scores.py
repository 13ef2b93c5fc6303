"""Scores of answers: fluency against the model's own loss, the other scores and their means against plain Python."""

import json
import math
import shutil
import sys
from collections import Counter
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from lape.artifacts.files import read_json, write_header, write_json
from lape.artifacts.manifest import build_manifest
from lape.audit.run import audit
from lape.cli import main
from lape.errors import LapeError
from lape.evaluation.confusion import RATES, confusion
from lape.evaluation.perplexity import chunk_nll
from lape.evaluation.references import held_out_sentences
from lape.evaluation.scores import bleu_tokenizer, distinct, fluency, score_table, similarity, summary
from lape.generation.answers import KEYS, read_answers, read_scores
from lape.model.tokenizer import load_tokenizer
from lape.text import identification

FRENCH = "La petite maison est près de la rivière, et chaque fenêtre s'ouvre sur une lumière très claire."
OTHER = "Chaque matin une lumière très claire coule sous la fenêtre de cette petite maison."
JAPANESE = "家の近くを小さな川が流れていて、朝の明るい光の下ですべての窓が開きます。"
MODEL = Path("models/model.json")
ANSWERS = ([5, 9, 40, 7, 300, 12, 5], [8], [], [17, 17, 17, 17], list(range(20, 60)))


def loss(model, ids) -> float:
    """Mean NLL of a sequence after its first token, by the model's own logits in float64."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    chosen = logits.log_softmax(-1)[range(len(ids) - 1), ids[1:]]
    return -chosen.mean().item()


@pytest.mark.parametrize("batch_size", [1, 2, 16])
@pytest.mark.parametrize("backend", ["extension", "reference"])
def test_fluency_is_the_models_own_loss_of_the_answer_alone(tiny_model, backend, batch_size):
    seen = []
    found = fluency(tiny_model, ANSWERS, 0, batch_size, backend, on_batch=seen.append)
    expected = [loss(tiny_model, [0, *ids]) if ids else math.nan for ids in ANSWERS]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert sum(seen) == sum(len(ids) + 1 for ids in ANSWERS if ids)


def test_without_bos_the_first_token_is_given(tiny_model):
    expected = [loss(tiny_model, ids) if len(ids) > 1 else math.nan for ids in ANSWERS]
    np.testing.assert_allclose(fluency(tiny_model, ANSWERS, None, 3), expected, rtol=1e-5)


def test_an_answer_is_cut_where_the_model_ends(tiny_model):
    long = [3, 4, 5, 6] * 50
    np.testing.assert_allclose(
        fluency(tiny_model, [long], 0, longest=64), [loss(tiny_model, [0, *long[:63]])], rtol=1e-5
    )


def test_no_answers(tiny_model):
    assert np.isnan(fluency(tiny_model, [[], []], 0)).all()


def test_padding_is_not_seen(tiny_model):
    chunks = np.array([[0, 9, 4, 300], [0, 7, 5, 5]], np.int32)
    lengths = np.array([4, 2])
    found = chunk_nll(tiny_model, chunks, lengths=lengths)
    chunks[1, 2:] = 123
    np.testing.assert_array_equal(chunk_nll(tiny_model, chunks, lengths=lengths), found)
    assert found[1] == pytest.approx(loss(tiny_model, [0, 7]), rel=1e-5)


@pytest.mark.parametrize(
    ("ids", "first", "second"),
    [([], math.nan, math.nan), ([7], 1, math.nan), ([7, 7, 7, 7], 1 / 4, 1 / 3), ([1, 2, 1, 2, 3], 3 / 5, 3 / 4)],
)
def test_distinct(ids, first, second):
    assert [distinct(ids, 1), distinct(ids, 2)] == pytest.approx([first, second], nan_ok=True)


def chrf(answer: str, reference: str) -> float:
    """chrF2 of character 1- to 6-grams without white space (Popović 2015)."""
    scores = []
    for n in range(1, 7):
        said, wanted = (
            Counter(text[start : start + n] for start in range(len(text) - n + 1))
            for text in ("".join(answer.split()), "".join(reference.split()))
        )
        if said and wanted:
            scores.append(((said & wanted).total() / said.total(), (said & wanted).total() / wanted.total()))
    precision, recall = (fmean(column) for column in zip(*scores, strict=True))
    return 100 * 5 * precision * recall / (4 * precision + recall)


@pytest.mark.parametrize(("answer", "reference"), [(FRENCH, OTHER), (OTHER, FRENCH), (JAPANESE[:20], JAPANESE)])
def test_chrf(answer, reference):
    assert similarity(answer, [reference], "fr")["chrf"] == pytest.approx(chrf(answer, reference), rel=1e-6)


def test_similarity_at_its_ends():
    assert similarity(FRENCH, [FRENCH], "fr") == {"chrf": 100, "bleu": 100}
    assert similarity("", [FRENCH], "fr") == {"chrf": 0, "bleu": 0}
    assert similarity(JAPANESE, [FRENCH], "fr") == {"chrf": 0, "bleu": 0}
    assert all(map(math.isnan, similarity(FRENCH, [""], "fr").values()))


def test_bleu_counts_characters_where_no_spaces_part_words():
    assert [bleu_tokenizer(code) for code in ("zh-tw", "ja", "th", "fr", "ko")] == ["zh", "char", "char", "13a", "13a"]
    for language, text in (("zh", "我们今天去学校看书。"), ("ja", JAPANESE)):
        assert 50 < similarity(text[:-3] + "了", [text], language)["bleu"] < 100
    # Clipped n-gram precisions 3/4, 2/3, 1/2 and, smoothed, 1/2 of 1, of lengths that are equal.
    expected = 100 * math.exp(fmean(map(math.log, (3 / 4, 2 / 3, 1 / 2, 1 / 2))))
    assert similarity("one two three five", ["one two three four"], "en")["bleu"] == pytest.approx(expected)


def block(target: str, **columns) -> pd.DataFrame:
    """Answers to questions of French; the values of a column stand beside one another."""
    size = len(columns["langdetect"])
    rest = {name: [math.nan] * size for name in ("nll", "distinct_1", "distinct_2", "chrf", "bleu")}
    rest |= {"line_languages": [""] * size, "latin_words": [0] * size}
    where = {"language": ["fr"] * size, "target": [target] * size, "number": range(size)}
    return pd.DataFrame(where | rest | columns)


def test_means_of_a_block():
    first = block(
        "zh",
        langdetect=["zh", "short", "ko", "unknown", "zh"],
        lingua=["zh", "short", "zh", "zh", "en"],
        line_languages=["zh zh", "", "zh ko", "zh", "zh"],
        latin_words=[0, 0, 0, 0, 2],
        nll=[1.0, math.nan, 2.0, 4.0, 5.0],
        chrf=[0.0, 0.0, 10.0, 20.0, 30.0],
    )
    # No identifier of ours knows Navajo, and langdetect does not know Xhosa.
    second, third = block("nv", langdetect=["so"], lingua=["zu"]), block("xh", langdetect=["so"], lingua=["xh"])
    found, unknown, half = summary(pd.concat([first, second, third], ignore_index=True))
    assert found == {
        "language": "fr", "target": "zh", "answers": 5, "language_accuracy": 2 / 5, "lingua_accuracy": 3 / 5,
        "line_pass_rate": 3 / 4, "word_pass_rate": 2 / 3, "confusion_pass_rate": 12 / 17,
        "disagreement": 2 / 3, "short": 1 / 5, "unknown": 1 / 5, "nll": 3.0, "distinct_1": None, "distinct_2": None,
        "chrf": 12.0, "bleu": None,
    }  # fmt: skip
    assert [unknown[key] for key in ("language_accuracy", "lingua_accuracy", "disagreement")] == [None, None, None]
    assert [half[key] for key in ("language_accuracy", "lingua_accuracy", "disagreement")] == [None, 1, None]
    # Nothing passes by line; French has Latin letters; fastText does not know Xhosa.
    none = block("ja", langdetect=["ja"], lingua=["ja"], line_languages=["zh"])
    french = block("fr", langdetect=["fr"], lingua=["fr"], line_languages=["fr"], latin_words=[9])
    unknown = block("xh", langdetect=["so"], lingua=["zu"], line_languages=["so"])
    passed = [[row[key] for key in RATES] for row in summary(pd.concat([none, french, unknown], ignore_index=True))]
    assert passed == [[0.0, None, 0.0], [1.0, None, None], [None, None, None]]


@pytest.mark.parametrize(
    ("text", "languages", "words"),
    [
        # A line of four words does not count, whatever its language, and its words do not either.
        (f"{FRENCH}\nYes, that is right!\n\nDas Haus steht nahe an dem kleinen Fluss.", "fr de", 13),
        # No spaces, but letters enough: seven of three bytes. Six are too few.
        ("家の近くに川がある\n家の近くに川", "ja", 0),
        # Capitals do not count, nor fewer than four letters.
        ("Мой новый iPhone и старый COMPUTER это не то же самое, что code или bit", "ru", 1),
        ("1 2 3 4 5 6 7", "unknown", 0),
        ("", "", 0),
    ],
)
def test_lines_that_count_and_words_of_latin_script(text, languages, words):
    assert confusion(text) == {"line_languages": languages, "latin_words": words}


def test_a_region_and_written_norwegian_are_the_language():
    table = pd.concat(
        [block("zh-tw", langdetect=["zh", "ja"], lingua=["zh", "zh"]), block("nb", langdetect=["no"], lingua=["no"])]
    )
    assert [(row["language_accuracy"], row["lingua_accuracy"]) for row in summary(table)] == [(0.5, 1), (1, 1)]


def test_every_answer_has_its_row():
    answers = [
        {"language": "fr", "target": "ja", "number": 4, "output": JAPANESE},
        {"language": "fr", "target": "ja", "number": 9, "output": ""},
    ]
    first, second = score_table(answers, [[FRENCH], [""]], [[1, 2, 2], []], np.array([2.5, math.nan])).to_dict(
        "records"
    )
    assert first == {
        "language": "fr", "target": "ja", "number": 4, "langdetect": "ja", "lingua": "ja", "fasttext": "ja",
        "line_languages": "ja", "latin_words": 0,
        "letters": 34, "tokens": 3, "nll": 2.5, "distinct_1": 2 / 3, "distinct_2": 1.0, "chrf": 0.0, "bleu": 0.0,
    }  # fmt: skip
    assert [second[key] for key in (*KEYS, "langdetect", "lingua", "letters", "tokens")] == [
        *("fr", "ja", 9, "short", "short", 0, 0)
    ]
    assert all(math.isnan(second[key]) for key in ("nll", "distinct_1", "distinct_2", "chrf", "bleu"))


# The command.

# "no" and "nan" are languages that a careless reader takes for missing values; no identifier knows the latter.
LANGUAGES = ("fr", "no", "nan")
NORMAL = {
    ("fr", 3): FRENCH,
    ("fr", 7): OTHER,
    ("no", 3): "Huset ligger ved elven, og hvert vindu åpner seg mot et klart lys om morgenen.",
    ("no", 7): "",
    ("nan", 3): "Chit-keng chhù tī khe-á piⁿ-á, thang-á lóng khui--khì.",
    ("nan", 7): "nan",
}
CROSS = {
    ("no", 3): f"{FRENCH}\u2028\x85Q",
    ("no", 7): "Lyset er klart om morgenen, og alle vinduene er åpne.",
    ("nan", 3): "",
    ("nan", 7): "x",
}
COMMAND = [
    *("score", "--model", MODEL, "--generations", "generations/cross-fr.json"),
    *("--reference", "generations/normal.json", "--batch-size", 2, "--output", "scores/cross-fr.tsv"),
]


def write_answers(setting: str, outputs: dict, language: str | None = None, **fields) -> Path:
    """A generations artifact by hand: (target, number) -> output, to questions of `language` or the target's."""
    header, model = Path(f"generations/{setting}.json"), read_json(MODEL)
    header.parent.mkdir(exist_ok=True)
    data = header.with_suffix(".jsonl")
    with open(data, "w", encoding="utf-8") as file:
        for (target, number), output in outputs.items():
            row = {"language": language or target, "target": target, "number": number, "output": output}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    fields = {"model": model["name"], "model_revision": model["revision"], "prompt": "plain"} | fields
    fields |= {"setting": setting, "kind": setting.partition("-")[0], "languages": LANGUAGES}
    fields |= {"deactivated": language, "activated": language and "target", "method": "lape", "steering": None}
    write_header(header, "generations", **fields, parameters={}, inputs=[MODEL], outputs=[data])
    return header


@pytest.fixture(scope="module")
def scored(tmp_path_factory, tiny_folder) -> Path:
    """A folder in which answers lie and are scored; for reading only."""
    folder = tmp_path_factory.mktemp("scored")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shutil.copytree(tiny_folder, "tiny")
        words = ["model", "--name", "tiny", "--path", "tiny", "--device", "cpu", "--dtype", "float32"]
        assert main([*words, "--output", str(MODEL)]) == 0
        write_answers("normal", NORMAL)
        write_answers("cross-fr", CROSS, "fr")
        assert main([str(word) for word in COMMAND]) == 0
    return folder


@pytest.fixture
def stages(scored, tmp_path, monkeypatch) -> Path:
    """A copy of it, to break; the working directory."""
    folder = shutil.copytree(scored, tmp_path / "scored")
    monkeypatch.chdir(folder)
    return folder


def faults() -> list[str]:
    """What an audit of the scores says, under hashes that are all as they should be."""
    header = read_json("scores/cross-fr.json")
    outputs = [Path("scores/cross-fr.tsv")]
    fields = {key: value for key, value in header.items() if key not in ("artifact", "rule", "command", "versions")}
    write_header("scores/cross-fr.json", "scores", **fields | {"outputs": outputs})
    write_json("config.json", {"run": "scored", "models": [], "languages": []})
    found = audit(build_manifest(["scores/cross-fr.json"], "results/scored", "config.json"))
    return [fault for path, fault in found if path.startswith("scores/")]  # the answers themselves were made by hand


def test_sentences_of_one_language_come_once(tmp_path):
    headers = [tmp_path / f"{name}.json" for name in ("fr", "ja", "fr-again")]
    for path in headers:
        path.with_suffix(".jsonl").write_text(json.dumps({"split": "held_out", "text": path.stem}) + "\n")
        write_header(path, "sentences", language=path.stem[:2], parameters={}, inputs=[], outputs=[])
    with pytest.raises(LapeError, match=r"fr-again\.json: second sentences in fr; pass each language's once$"):
        held_out_sentences(headers, [])


def test_command(stages, tiny_model):
    table = pd.read_csv("scores/cross-fr.tsv", sep="\t", keep_default_na=False, dtype=str).to_dict("records")
    assert [(row["language"], row["target"], row["number"]) for row in table] == [
        *(("fr", target, str(number)) for target, number in CROSS)
    ]
    assert [row["langdetect"] for row in table] == ["fr", "no", "short", "short"]
    assert [row["letters"] for row in table] == ["77", "42", "0", "1"]
    tokenizer = load_tokenizer(MODEL.with_name("tokenizer.json"))
    for row, output in zip(table, CROSS.values(), strict=True):
        ids = tokenizer.encode(output).ids
        assert row["tokens"] == str(len(ids))
        assert (float(row["nll"]) if ids else row["nll"]) == (
            pytest.approx(loss(tiny_model, [0, *ids][:64]), rel=1e-5) if ids else ""
        )
        # The normal answer to the same question in the language that was wanted.
        reference = NORMAL[row["target"], int(row["number"])]
        expected = similarity(output, [reference], row["target"])["chrf"]
        assert row["chrf"] == ("" if not reference else str(expected))
    header = read_json("scores/cross-fr.json", "scores")
    generations = read_json("generations/cross-fr.json")
    for key in ("model", "model_revision", "prompt", "setting", "kind", "deactivated", "activated", "languages"):
        assert header[key] == generations[key]
    norwegian, minnan = header["rows"]
    assert (norwegian["language"], norwegian["target"], norwegian["answers"]) == ("fr", "no", 2)
    assert norwegian["language_accuracy"] == norwegian["lingua_accuracy"] == 0.5
    assert norwegian["nll"] == pytest.approx(fmean(float(row["nll"]) for row in table[:2]), rel=1e-12)
    assert (minnan["language_accuracy"], minnan["short"], minnan["chrf"]) == (None, 1.0, 0.0)
    assert header["parameters"]["bleu_tokenizers"] == {"no": "13a", "nan": "13a"}
    assert faults() == []


def test_the_same_bytes_again_and_one_warning_of_what_no_identifier_knows(stages, lape):
    before = [Path(f"scores/cross-fr{suffix}").read_bytes() for suffix in (".tsv", ".json")]
    status, messages = lape(*COMMAND)
    assert status == 0
    warning = "scores tiny plain cross-fr: langdetect does not know nan and lingua does not know nan"
    assert messages.count("does not know") == 3 and warning in messages
    assert [Path(f"scores/cross-fr{suffix}").read_bytes() for suffix in (".tsv", ".json")] == before


def test_normal_answers_are_like_themselves(stages, lape):
    words = [*COMMAND[:4], "generations/normal.json", *COMMAND[5:-1], "scores/normal.tsv"]
    assert lape(*words)[0] == 0
    rows = {row["target"]: row for row in read_json("scores/normal.json")["rows"]}
    assert [rows[language]["chrf"] for language in LANGUAGES] == [100.0, 100.0, 100.0]


def test_minimum_bytes(stages, lape):
    status, _ = lape(*COMMAND[:-2], "--minimum-bytes", 1000, *COMMAND[-2:])
    assert status == 0
    assert [row["short"] for row in read_json("scores/cross-fr.json")["rows"]] == [1.0, 1.0]
    assert faults() == []


def test_another_model_of_a_third_identifier(stages, lape, monkeypatch):
    """Of a package that takes every text for Norwegian, and knows that and French."""

    def predict(line: str, number: int, threshold: float, errors: str):
        return [(1.0, "__label__nn"), (0.0, "__label__fr")][: None if number == -1 else number]

    model = SimpleNamespace(f=SimpleNamespace(predict=predict))
    monkeypatch.setitem(sys.modules, "fasttext", SimpleNamespace(load_model=lambda path: model))
    Path("tiny.bin").write_text("a model")
    identification.known_languages.cache_clear()
    shipped = read_json("scores/cross-fr.json")["rows"]
    status, messages = lape(*COMMAND[:-2], "--fasttext", "tiny.bin", *COMMAND[-2:])
    assert status == 0 and "and fasttext does not know nan" in messages
    table = read_scores("scores/cross-fr.tsv")
    assert table["fasttext"].tolist() == ["no", "no", "short", "short"]
    assert [*table.columns[3:6]] == ["langdetect", "lingua", "fasttext"]
    header = read_json("scores/cross-fr.json")
    assert [row["fasttext_accuracy"] for row in header["rows"]] == [1.0, None]
    assert [row["disagreement"] for row in header["rows"]] == [0.0, None]
    assert header["parameters"]["identifiers"] == {"fasttext": ["fr", "no"]} and "tiny.bin" in header["inputs"]
    assert faults() == []
    # The shipped model knows Norwegian from French, and the language nan neither.
    assert [row["fasttext_accuracy"] for row in shipped] == [0.5, None]
    # Without one nothing is left of it.
    assert lape(*COMMAND[:-2], "--identifiers", *COMMAND[-2:])[0] == 0
    assert faults() == [] and "fasttext_accuracy" not in read_json("scores/cross-fr.json")["rows"][0]
    assert "fasttext" not in read_scores("scores/cross-fr.tsv")


def test_a_model_that_no_identifier_reads_is_refused(stages, refused):
    Path("tiny.bin").write_text("a model")
    refused([*COMMAND[:-2], "--identifiers", "--fasttext", "tiny.bin", *COMMAND[-2:]], "tiny.bin", "--identifiers")


def test_no_file_of_fasttext(stages, refused):
    refused([*COMMAND[:-2], "--fasttext", "none.bin", *COMMAND[-2:]], "none.bin")


def test_answers_of_another_model(stages, refused):
    write_answers("cross-fr", CROSS, "fr", model_revision="other")
    write_answers("normal", NORMAL, model_revision="other")
    refused(COMMAND, "generations/cross-fr.json", "other", "tiny")


@pytest.mark.parametrize("field", ["model_revision", "prompt"])
def test_normal_answers_to_something_else(stages, refused, field):
    write_answers("normal", NORMAL, **{field: "other"})
    refused(COMMAND, "generations/normal.json", field, "other")


def test_reference_of_another_setting(stages, refused):
    words = [*COMMAND[:5], "--reference", "generations/cross-fr.json", *COMMAND[7:]]
    refused(words, "generations/cross-fr.json", "setting", "normal")


def test_a_normal_answer_is_missing(stages, refused):
    write_answers("normal", {key: output for key, output in NORMAL.items() if key != ("nan", 7)})
    refused(COMMAND, "generations/normal.json", "question 7", "nan")


def test_answers_that_are_not_the_headers(stages, refused):
    with open("generations/cross-fr.jsonl", "a", encoding="utf-8") as file:
        file.write("{}\n")
    refused(COMMAND, "generations/cross-fr.jsonl")


def test_answers_that_are_none(stages):
    path = write_answers("cross-fr", CROSS, "fr")
    lines = path.with_suffix(".jsonl").read_bytes().split(b"\n")
    for content, message in (
        ([*lines[:2], lines[2][:9]], "cross-fr.jsonl: .*run the step that makes it again"),
        ([*lines[:2], b"[]"], "cross-fr.jsonl: .*run the step again"),
        ([*lines[:2], b'{"language": "fr"}'], "cross-fr.jsonl: .*run the step again"),
        ([*lines[:2], lines[0]], "comes twice"),
    ):
        path.with_suffix(".jsonl").write_bytes(b"\n".join(content))
        write_json(path, read_json(path) | {"outputs": {}})
        with pytest.raises(LapeError, match=message):
            read_answers(path)


@pytest.mark.parametrize(
    ("column", "row", "value", "fault"),
    [
        (
            "langdetect",
            0,
            "no",
            "identifying the language again gives {'langdetect': 'fr', 'lingua': 'fr', 'fasttext': 'fr', ",
        ),
        ("latin_words", 0, "0", "identifying the language again gives {"),
        ("chrf", 3, "50.0", "its means do not follow from its answers"),
        ("number", 1, "8", "its rows are not the answers of generations/cross-fr.json"),
    ],
)
def test_an_audit_finds_a_changed_score(stages, column, row, value, fault):
    table = pd.read_csv("scores/cross-fr.tsv", sep="\t", keep_default_na=False, dtype=str)
    table.loc[row, column] = value
    table.to_csv("scores/cross-fr.tsv", sep="\t", index=False)
    assert any(line.startswith(fault) for line in faults())


def test_an_audit_finds_another_setting(stages):
    write_json("scores/cross-fr.json", read_json("scores/cross-fr.json") | {"method": "active_lape"})
    assert faults() == ["has another setting, model or prompt than generations/cross-fr.json"]
