"""`lape corpus`: the three sources, what is kept of them and what the header says."""

import gzip
import json
import subprocess
import sys
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from lape import cli
from lape.errors import LapeError
from lape.text import cleaning
from lape.text.build import build_corpus, documents
from lape.text.cleaning import detect_language, script_shares
from lape.text.reading import Reading

FRENCH = "La bibliothèque ouvre ses portes à neuf heures tous les matins, sauf le dimanche."
GERMAN = "Die Bibliothek öffnet jeden Morgen um neun Uhr, außer am Sonntag und an Feiertagen."
CHINESE = "图书馆每天早上九点开门，星期天除外。读者可以在这里借书和看报纸。"
JAPANESE = "図書館は毎朝九時に開きますが、日曜日はお休みです。コーヒーも飲めます。"


def files(pattern, **settings):
    return {"pattern": str(pattern), "text_column": "text", "id_column": None, **settings}


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def build(folder, texts, language="fr", **options):
    """Build a corpus of these texts; the documents kept and the header."""
    write_lines(folder / "in.jsonl", [{"text": text} for text in texts])
    build_corpus(language, "files", files(folder / "in.jsonl"), folder / "out" / f"{language}.parquet", **options)
    header = json.loads((folder / "out" / f"{language}.json").read_text(encoding="utf-8"))
    return pq.read_table(folder / "out" / f"{language}.parquet").to_pydict(), header


# Sources


@pytest.fixture
def embedded(tmp_path):
    """Three languages, two examples each, laid out as WikiLingua."""
    examples = [
        {"input": text, "target": "x", "comment": str(i)}
        for i, text in enumerate([GERMAN, "Guten Tag", FRENCH, "Bonjour", JAPANESE, ""])
    ]
    (tmp_path / "task.json").write_text(json.dumps({"name": "task", "examples": examples}), encoding="utf-8")
    order = ["de", "fr", "ja"]
    return {"file": tmp_path / "task.json", "download": "wiki", "field": "input", "block": 2, "order": order}


def test_embedded_block(embedded):
    assert list(documents("de", "embedded", embedded)) == [("wiki-0", GERMAN), ("wiki-1", "Guten Tag")]
    assert list(documents("fr", "embedded", embedded)) == [("wiki-2", FRENCH), ("wiki-3", "Bonjour")]
    reading = Reading()
    assert list(documents("ja", "embedded", embedded, reading)) == [("wiki-4", JAPANESE)]
    assert reading.inputs == [embedded["file"]]
    assert (reading.bad, reading.examples) == (1, ["task.json:example 5: the text is empty"])


def test_embedded_faults(embedded, tmp_path):
    def fails(match, language="fr", **settings):
        with pytest.raises(LapeError, match=match):
            list(documents(language, "embedded", {**embedded, **settings}))

    fails("no block of language 'sw'; choose among de, fr, ja", language="sw")
    fails("has 6 examples, not 3 blocks of 3", block=3)
    fails("missing.json: cannot be read", file=tmp_path / "missing.json")
    (tmp_path / "list.json").write_text("[1]")
    fails("no list named 'examples'", file=tmp_path / "list.json")
    (tmp_path / "half.json").write_text('{"examples": [')
    fails("not valid JSON", file=tmp_path / "half.json")
    reading = Reading()
    assert list(documents("fr", "embedded", {**embedded, "field": "text"}, reading)) == []
    assert reading.examples[0] == "task.json:example 2: the text is NoneType, not a string"


def test_members_of_an_archive(tmp_path):
    members = {"fra/b.toml": f'question = "{FRENCH}"\nanswer = """\nDeux.\n"""', "fra/a.json": '{"question": "Un"}'}
    members |= {"fra/c.toml": "question =", "fra/d.pkl": "", "jpn/a.toml": f'question = "{JAPANESE}"\nanswer = "2"'}
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        for name, content in members.items():
            archive.writestr(f"data/{name}", content)
    settings = {"file": tmp_path / "a.whl", "download": "gsm", "members": "data/{code}/*", "codes": {"fr": "fra"}}
    settings["fields"] = ["question", "answer"]
    reading = Reading()
    assert list(documents("fr", "archive", settings, reading)) == [("gsm-data/fra/b.toml", f"{FRENCH}\nDeux.")]
    assert [each.partition(":")[0] for each in reading.examples] == [
        f"data/fra/{n}" for n in ("a.json", "c.toml", "d.pkl")
    ]
    (tmp_path / "no.whl").write_text("no")
    for fault, changed in {
        "no code of language 'ja'": {"language": "ja"},
        "no member matches data/xx/": {"codes": {"fr": "xx"}},
        "is no zip file": {"file": tmp_path / "no.whl"},
        "cannot be read": {"file": tmp_path / "missing.whl"},
    }.items():
        with pytest.raises(LapeError, match=fault):
            list(documents(changed.pop("language", "fr"), "archive", {**settings, **changed}))


def test_settings_are_checked(embedded):
    with pytest.raises(LapeError, match=r"source embedded: .*'colour'"):
        documents("fr", "embedded", {**embedded, "colour": 1})
    del embedded["block"]
    with pytest.raises(LapeError, match=r"source embedded: .*'block'"):
        documents("fr", "embedded", embedded)


def test_text_files_keep_every_character(tmp_path):
    (tmp_path / "fr").mkdir()
    decomposed = " Le cafe\u0301\r\nest ferme\u0301.\n"
    (tmp_path / "fr" / "b.txt").write_bytes(decomposed.encode())
    (tmp_path / "fr" / "a.TXT").write_bytes(b"\xef\xbb\xbf" + FRENCH.encode())
    (tmp_path / "fr" / "c.txt").write_bytes(b"caf\xe9")
    (tmp_path / "fr" / "d.txt").write_bytes(b" \n")
    reading = Reading()
    found = list(documents("fr", "files", files(tmp_path / "{language}" / "*"), reading))
    assert found == [("a.TXT", FRENCH), ("b.txt", decomposed)]
    assert [path.name for path in reading.inputs] == ["a.TXT", "b.txt", "c.txt", "d.txt"]
    assert reading.examples == ["c.txt: not UTF-8 (unexpected end of data at byte 3)", "d.txt: the text is empty"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("line", {"a.txt:1": "Un.", "a.txt:2": " Deux.", "a.txt:3": "Trois."}),
        ("paragraph", {"a.txt:1": "Un.\n Deux.", "a.txt:2": "Trois.\n"}),
    ],
)
def test_long_text_files_are_parted_where_a_setting_says_so(tmp_path, document, expected):
    (tmp_path / "a.txt").write_bytes(b"Un.\n Deux.\n \r\n\nTrois.\n")
    settings = files(tmp_path / "*.txt", document=document)
    assert dict(documents("fr", "files", settings)) == expected
    with pytest.raises(
        LapeError, match=r"corpus\.files\.document: 'page' is unknown; use one of file, line, paragraph"
    ):
        list(documents("fr", "files", {**settings, "document": "page"}))


BAD_LINES = [
    b'{"text": "un", "key": "k1"}',
    b"{not json",
    b"",
    b"[1]",
    b'{"body": "x", "key": "k2"}',
    b'{"text": 5, "key": "k3"}',
    b'{"text": " ", "key": "k4"}',
    b'{"text": "caf\xe9", "key": "k5"}',
    b'{"text": "\\ud83d", "key": "k6"}',
    b'{"text": "deux"}',
    b'{"text": "trois", "key": 7}',
]
BAD_REASONS = {
    2: "not JSON (",
    3: "not JSON (",
    4: "not a JSON object",
    5: "no column 'text'",
    6: "the text is int, not a string",
    7: "the text is empty",
    8: "not UTF-8 (",
    9: "it holds half a surrogate pair",
}


@pytest.mark.parametrize("extension", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_bad_lines_are_counted_and_named(tmp_path, extension):
    body = b"\n".join(BAD_LINES)
    body = {"jsonl": bytes, "jsonl.gz": gzip.compress, "jsonl.zst": zstandard.compress}[extension](body)
    (tmp_path / f"x.{extension}").write_bytes(body)
    reading = Reading()
    found = list(documents("fr", "files", files(tmp_path / "x.*"), reading))
    assert found == [(f"x.{extension}:{n}", text) for n, text in ((1, "un"), (10, "deux"), (11, "trois"))]
    assert reading.bad == len(BAD_REASONS)
    for example, (number, reason) in zip(reading.examples, BAD_REASONS.items(), strict=True):
        assert example.startswith(f"x.{extension}:{number}: {reason}")

    reading = Reading()
    found = list(documents("fr", "files", files(tmp_path / "x.*", id_column="key"), reading))
    assert found == [("k1", "un"), ("7", "trois")]
    assert f"x.{extension}:10: the id is NoneType, not a string or an integer" in reading.examples


def test_only_the_first_hundred_bad_lines_are_named(tmp_path, capsys):
    (tmp_path / "x.jsonl").write_text("oops\n" * 150 + json.dumps({"text": FRENCH}) + "\n")
    arguments = [
        "corpus",
        "--language",
        "fr",
        "--source",
        "files",
        "--settings",
        json.dumps(files(tmp_path / "x.jsonl")),
    ]
    assert cli.main([*arguments, "--output", str(tmp_path / "fr.parquet")]) == 0
    bad = json.loads((tmp_path / "fr.json").read_text())["bad_lines"]
    assert bad["count"] == 150
    assert len(bad["examples"]) == 100
    assert bad["examples"][99].startswith("x.jsonl:100: not JSON")
    warnings = [line for line in capsys.readouterr().err.splitlines() if "bad lines" in line]
    assert len(warnings) == 1 and "150" in warnings[0] and "x.jsonl:1:" in warnings[0]


def test_zst_of_several_frames(tmp_path):
    frames = [zstandard.compress(json.dumps({"text": text}).encode() + b"\n") for text in ("un", "deux")]
    (tmp_path / "x.jsonl.zst").write_bytes(b"".join(frames))
    assert [text for _, text in documents("fr", "files", files(tmp_path / "*.zst"))] == ["un", "deux"]


@pytest.mark.parametrize("extension", ["jsonl.gz", "jsonl.zst", "parquet"])
def test_damaged_file(tmp_path, extension):
    body = b"".join(json.dumps({"text": f"{n} {FRENCH}"}).encode() + b"\n" for n in range(500))
    body = {"jsonl.gz": gzip.compress, "jsonl.zst": zstandard.compress, "parquet": bytes}[extension](body)
    (tmp_path / f"x.{extension}").write_bytes(body[: len(body) // 2])
    with pytest.raises(LapeError, match=f"x.{extension}: .*mend it, or name"):
        list(documents("fr", "files", files(tmp_path / "x.*")))


def test_parquet_rows(tmp_path):
    values = pa.array([b"un", b"caf\xe9", b"", b"deux", None]).view(pa.string())
    keys = pa.array(["a", "b", "c", None, "e"])
    pq.write_table(pa.table({"text": values, "key": keys}), tmp_path / "x.parquet", row_group_size=2)
    reading = Reading()
    found = list(documents("fr", "files", files(tmp_path / "x.parquet"), reading))
    assert found == [("x.parquet:1", "un"), ("x.parquet:4", "deux")]
    assert [example.split(" (")[0] for example in reading.examples] == [
        "x.parquet:2: not UTF-8",
        "x.parquet:3: the text is empty",
        "x.parquet:5: the text is NoneType, not a string",
    ]
    assert list(documents("fr", "files", files(tmp_path / "x.parquet", id_column="key"))) == [("a", "un")]
    with pytest.raises(LapeError, match="no column 'body', but text, key"):
        list(documents("fr", "files", files(tmp_path / "x.parquet", text_column="body")))


def test_patterns(tmp_path, monkeypatch):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.txt").write_text(folder)
    monkeypatch.chdir(tmp_path)
    # The same ids whether the pattern is relative or absolute.
    for pattern in ("**/*.txt", str(tmp_path / "*" / "x.txt")):
        assert list(documents("fr", "files", files(pattern))) == [("a/x.txt", "a"), ("b/x.txt", "b")]
    monkeypatch.chdir(tmp_path / "a")
    assert list(documents("fr", "files", files("*.txt"))) == [("x.txt", "a")]
    mapping = {**files(""), "pattern": {"fr": str(tmp_path / "a" / "*.txt")}}
    assert list(documents("fr", "files", mapping)) == [("x.txt", "a")]
    with pytest.raises(LapeError, match="no glob for 'de', only for fr"):
        list(documents("de", "files", mapping))
    with pytest.raises(LapeError, match="texts-fr: no file matches"):
        list(documents("fr", "files", files("texts-{language}")))
    (tmp_path / "a" / "y.csv").write_text("x")
    with pytest.raises(LapeError, match=r"y.csv: unknown extension; .*\.jsonl"):
        list(documents("fr", "files", files("*")))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A dataset folder as the hub has it, with one configuration."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "dataset"
    (folder / "fr").mkdir(parents=True)
    texts = [FRENCH, None, *(f"{FRENCH} {n}" for n in range(4998))]
    table = pa.table({"key": [f"k{n}" for n in range(5000)], "text": texts})
    pq.write_table(table, folder / "fr" / "x.parquet", row_group_size=100)
    configs = "configs:\n- config_name: 2023.fr\n  data_files:\n  - split: train\n    path: fr/*.parquet\n"
    (folder / "README.md").write_text(f"---\n{configs}---\n")
    settings = {"path": str(folder), "config": "2023.{language}", "revision": None, "split": "train"}
    return {**settings, "text_column": "text", "id_column": None, "documents": 3}


def test_hub_from_a_local_folder(hub):
    reading = Reading()
    assert list(documents("fr", "hub", hub, reading)) == [("0", FRENCH), ("2", f"{FRENCH} 0"), ("3", f"{FRENCH} 1")]
    assert reading.examples == ["row 1: the text is NoneType, not a string"]
    assert [identity for identity, _ in documents("fr", "hub", {**hub, "id_column": "key"})] == ["k0", "k2", "k3"]
    assert len(list(documents("fr", "hub", {**hub, "documents": None}))) == 4999


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"config": "2022.{language}"}, "2022.fr"),
        ({"split": "test"}, "split"),
        ({"text_column": "body"}, "no column 'body', but key, text"),
        ({"id_column": "number"}, "no column 'number'"),
    ],
)
def test_hub_faults(hub, change, match):
    with pytest.raises(LapeError, match=match) as caught:
        list(documents("fr", "hub", {**hub, **change}))
    assert "\n" not in str(caught.value)


def test_hub_without_network(hub, monkeypatch):
    def load_dataset(*arguments, **options):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(LapeError, match=r"\(2023.fr\): cannot be read \(no route\)"):
        list(documents("fr", "hub", hub))


def test_command_leaves_a_stream_cleanly(hub, tmp_path):
    # A Parquet stream that is dropped half read has aborted interpreters at their end.
    command = [sys.executable, "-m", "lape", "corpus", "--language", "fr", "--source", "hub"]
    command += ["--settings", json.dumps(hub), "--output", str(tmp_path / "fr.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "fr.json").read_text())["documents"] == 3


# Cleaning


def test_short_and_duplicate_documents_are_dropped(tmp_path):
    corpus, header = build(tmp_path, [FRENCH, "Non.", FRENCH, FRENCH + " ", "Oui."], minimum_characters=10)
    assert corpus == {"id": ["in.jsonl:1", "in.jsonl:4"], "text": [FRENCH, FRENCH + " "]}
    assert header["dropped"] == {"short": 2, "excluded": 0, "duplicate": 1, "other_language": 0}
    assert header["documents"] == 2
    assert header["characters"] == 2 * len(FRENCH) + 1
    assert header["bytes"] == 2 * len(FRENCH.encode()) + 1


def test_documents_that_match_exclude_are_dropped(tmp_path):
    corpus, header = build(tmp_path, [FRENCH, FRENCH + ' {"smallUrl":"x"}'], exclude="small[A-Z]rl")
    assert corpus["text"] == [FRENCH]
    assert header["dropped"]["excluded"] == 1 and header["parameters"]["exclude"] == "small[A-Z]rl"
    with pytest.raises(LapeError, match="not a regular expression"):
        build(tmp_path, [FRENCH], exclude="(")


def test_other_languages_are_recorded_or_dropped(tmp_path):
    texts = [FRENCH, GERMAN, "1234 5678", CHINESE]
    corpus, header = build(tmp_path, texts, language_check="keep")
    assert corpus["text"] == texts
    assert header["detected_languages"] == {"de": 1, "fr": 1, "zh": 1}
    assert (header["undetected"], header["share_other_language"]) == (1, 0.5)

    corpus, header = build(tmp_path, texts, language_check="drop")
    assert corpus["text"] == [FRENCH, "1234 5678"]
    assert header["detected_languages"] == {"fr": 1}
    assert (header["undetected"], header["share_other_language"]) == (1, 0.5)  # of what the source held
    assert header["dropped"]["other_language"] == 2

    corpus, header = build(tmp_path, texts, language_check="off")
    assert corpus["text"] == texts
    assert header["detected_languages"] == {}
    assert (header["undetected"], header["share_other_language"]) == (0, None)


def test_text_in_another_language_is_said_and_most_of_it_refused(tmp_path, caplog):
    wrong = [f"{GERMAN} {number}" for number in range(6)]
    _, header = build(tmp_path, [FRENCH, f"{FRENCH} 1", *wrong[:1]], language="fr_FR", language_check="keep")
    assert header["share_other_language"] == pytest.approx(1 / 3, abs=1e-6)
    assert "corpus fr_FR: 33% of the documents are detected as another language (de 1)" in caplog.text
    message = r"corpus fr: 86% .* \(de 6\), more than corpus.other_language \(50%\): .*in.jsonl; name text in fr, raise"
    with pytest.raises(LapeError, match=message):
        build(tmp_path, [FRENCH, *wrong], language_check="keep")
    for settings in ({"language_check": "keep", "other_language": 0.9}, {"language_check": "drop"}):
        build(tmp_path, [FRENCH, *wrong], **settings)


def test_language_that_the_detector_does_not_know(tmp_path, caplog):
    corpus, header = build(tmp_path, [FRENCH], language="xh", language_check="keep")
    assert corpus["text"] == [FRENCH]
    assert header["share_other_language"] is None
    assert "corpus xh: the detector does not know this language" in caplog.text
    caplog.clear()  # one setting is for all languages: those that it knows are still checked
    dropped, header = build(tmp_path, [FRENCH], language="xh", language_check="drop")
    assert (dropped, header["share_other_language"]) == (corpus, None)
    assert "corpus xh: the detector does not know this language; all is kept" in caplog.text


def test_languages_are_detected_in_several_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(cleaning, "_BATCH", 5)  # several batches
    texts = [f"{text} {n}" for n in range(4) for text in (FRENCH, GERMAN, CHINESE)]
    alone = build(tmp_path, texts, language_check="drop", identifier="langdetect")
    assert build(tmp_path, texts, language_check="drop", identifier="langdetect", threads=2) == alone
    assert alone[1]["parameters"]["identifier"] == "langdetect"
    # A fast identifier works alone, and finds the same here.
    fast, header = build(tmp_path, texts, language_check="drop", threads=2)
    assert (fast, header["dropped"], header["parameters"]["identifier"]) == (alone[0], alone[1]["dropped"], "fasttext")
    assert alone[1]["documents"] == 4 and alone[1]["dropped"]["other_language"] == 8


def test_duplicate_ids(tmp_path):
    write_lines(tmp_path / "x.jsonl", [{"text": FRENCH, "id": "a"}, {"text": GERMAN, "id": "a"}])
    with pytest.raises(LapeError, match="document 'a'"):
        build_corpus("fr", "files", files(tmp_path / "x.jsonl", id_column="id"), tmp_path / "out" / "fr.parquet")
    assert list((tmp_path / "out").iterdir()) == []


def test_empty_corpus(tmp_path):
    with pytest.raises(LapeError, match=r"corpus fr: no document is left .*2 short.*bad lines: 1.*in.jsonl:3"):
        build(tmp_path, ["un", "deux", " "], minimum_characters=100)
    assert list((tmp_path / "out").iterdir()) == []


def test_detection():
    assert [detect_language(text) for text in (FRENCH, GERMAN, CHINESE, JAPANESE)] == ["fr", "de", "zh", "ja"]
    assert detect_language("12 34 ?!") is None
    # Only the beginning is looked at, and the answer does not depend on what was asked before.
    assert detect_language(FRENCH * 30 + GERMAN * 300) == "fr"
    answers = {(detect_language(GERMAN), detect_language("chat noir"))[1] for _ in range(20)}
    assert len(answers) == 1


# The artifact


def test_script_shares(tmp_path):
    assert script_shares({"a": 3, "é": 1, " ": 9, "1": 9, "!": 9}) == {"LATIN": 1.0}
    assert script_shares({"か": 2, "図": 2, "ド": 1, "x": 1}) == {
        "CJK": 0.333333,
        "HIRAGANA": 0.333333,
        "KATAKANA": 0.166667,
        "LATIN": 0.166667,
    }
    assert script_shares({"1": 5}) == {}
    _, header = build(tmp_path, [JAPANESE], language="ja")
    assert list(header["scripts"]) == ["HIRAGANA", "CJK", "KATAKANA"]
    assert sum(header["scripts"].values()) == pytest.approx(1, abs=1e-5)
    assert build(tmp_path, [FRENCH])[1]["scripts"] == {"LATIN": 1.0}


def test_same_inputs_same_bytes(tmp_path, monkeypatch):
    # Small row groups: the corpus is written in several pieces.
    monkeypatch.setattr("lape.text.build._GROUP_CHARACTERS", 500)
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        write_lines(folder / "in.jsonl", [{"text": f"{n} {FRENCH}"} for n in range(60)])
        build_corpus("fr", "files", files("in.jsonl"), "corpus/fr.parquet")
    for file in ("fr.parquet", "fr.json"):
        assert (tmp_path / "one" / "corpus" / file).read_bytes() == (tmp_path / "two" / "corpus" / file).read_bytes()
    written = pq.ParquetFile(tmp_path / "one" / "corpus" / "fr.parquet")
    assert written.num_row_groups > 1
    assert written.schema_arrow == pa.schema([("id", pa.string()), ("text", pa.string())])
    assert written.metadata.row_group(0).column(1).compression == "ZSTD"
    assert written.read()["id"].to_pylist() == [f"in.jsonl:{n}" for n in range(1, 61)]


def test_command_line(embedded, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = {key: value for key, value in embedded.items() if key != "file"}
    arguments = ["corpus", "--source", "embedded", "--file", "task.json", "--settings", json.dumps(settings)]
    arguments += ["--language-check", "keep", "--minimum-characters", "8"]
    assert cli.main([*arguments, "--language", "fr", "--output", "corpus/fr.parquet"]) == 0
    assert pq.read_table("corpus/fr.parquet").to_pydict() == {"id": ["wiki-2"], "text": [FRENCH]}
    header = json.loads((tmp_path / "corpus" / "fr.json").read_text())
    assert (header["artifact"], header["language"], header["source"]) == ("corpus", "fr", "embedded")
    assert header["parameters"]["settings"] == {**settings, "file": "task.json"}
    assert header["parameters"]["minimum_characters"] == 8
    assert list(header["inputs"]) == ["task.json"]
    assert list(header["outputs"]) == ["fr.parquet"]
    assert str(tmp_path) not in json.dumps(header)

    capsys.readouterr()
    assert cli.main([*arguments, "--language", "sw", "--output", "corpus/sw.parquet"]) == 1
    assert "no block of language 'sw'" in capsys.readouterr().err
    assert not (tmp_path / "corpus" / "sw.parquet").exists()
    with pytest.raises(SystemExit) as caught:
        cli.main(["corpus", "--language", "fr", "--source", "files", "--settings", "{", "--output", "x"])
    assert caught.value.code == 2


def test_letters_with_unusual_names_belong_to_their_script():
    assert script_shares({"º": 1, "ー": 2, "ア": 1, "Ａ": 2, "!": 9}) == {"KATAKANA": 0.5, "LATIN": 0.5}
