"""`lape sentences`: how text is split and sentences are drawn, what is refused, and the pool of all languages."""

import hashlib
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lape.artifacts.files import read_json
from lape.errors import LapeError
from lape.text.sentences import build_sentences, common_pool, load_sentences
from lape.text.splitting import split_sentences
from lape.text.tokens import split_rows


def rows(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def of(found: list[dict], split: str) -> list[dict]:
    return [row for row in found if row["split"] == split]


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


# Splitting


@pytest.mark.parametrize(
    "sentences",
    [
        ["Take 3.5 cups.", "Stir!", "Is it hot?", "Wait…", 'She said "No!"', "(Go on.)", "Then rest"],
        ["Dr. Smith met J. R. Brown, e.g. Tuesday, at 5 p.m. sharp.", "Mrs. Hill, i.e. Ann, left in 2010.", "Yes."],
        ["See example.com or v1.2.3 (see p. 7) there.", "The end."],
        ["« Où vas-tu ? » demanda-t-il.", "Nulle part !", "Il dit : « Non. »", "Bien."],
        ["Am 3. Oktober, z. B. Wasser.", "„Nein!“ rief er.", "Gut."],
        ["¿Dónde está?", "¡Aquí!", "Bien."],
        ["А. С. Пушкин жил здесь.", "Да!"],
        ["هل هذا صحيح؟", "ثم ضع المرطِّب.", "نعم.", "حسنا"],
        ["यह एक वाक्य है।", "दूसरा वाक्य॥", "तीसरा"],
        ["한국어 문장입니다.", "또 하나입니까?", "네."],
        ["Սա առաջին նախադասությունն է։", "Սա երկրորդն է։", "Երրորդը"],
    ],
)
def test_sentences_that_white_space_divides(sentences):
    for space in (" ", "\n", "  "):
        assert split_sentences(space.join(sentences) + space) == sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["豆子1.5杯，水３．５杯。", "不要担心！", "真的吗？！", "好的"],
        ["他说：“走吧。”就走了。", "完。"],
        ["「行きます。」と言った。", "はい。"],
    ],
)
def test_sentences_that_nothing_divides(sentences):
    assert split_sentences("".join(sentences)) == sentences
    assert split_sentences(" ".join(sentences)) == sentences


def test_lines_and_the_spaces_of_thai_end_a_sentence():
    assert split_sentences("A heading\r\n\r\nA list:  one item\u2028another one") == [
        "A heading",
        "A list:",
        "one item",
        "another one",
    ]
    assert split_sentences("นอนในท่าธรรมชาติ อย่าถืออะไร 2 ช้อน") == ["นอนในท่าธรรมชาติ", "อย่าถืออะไร 2 ช้อน"]
    assert split_sentences(" \n ") == split_sentences("") == []


# The run's own corpus


def text_of(document: int, sentences: int) -> list[str]:
    return [f"Phrase numéro {n + 1} du document {document} ici." for n in range(sentences)]


@pytest.fixture
def corpus(tmp_path):
    """A corpus of 10 documents of 6 sentences, and one of 40."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for document in range(11):
        (folder / f"{document:02}.txt").write_text(" ".join(text_of(document, 6 if document < 10 else 40)))
    from lape.text.build import build_corpus

    settings = {"pattern": str(folder / "*.txt"), "text_column": "text", "id_column": None}
    build_corpus("fr", "files", settings, tmp_path / "fr.parquet", language_check="off")
    return tmp_path / "fr.parquet"


def draw(corpus, name: str = "sentences", **settings):
    output = corpus.with_name(f"{name}.jsonl")
    given = {"corpus": str(corpus), "valid_share": 0.3} | settings.pop("settings", {})
    build_sentences("fr", "corpus", given, output, **{"number": 20, "held_out": 8, "seed": 5, **settings})
    return output


def test_draw_of_a_corpus(corpus):
    """The whole draw, computed here from the definition."""
    output = draw(corpus)
    documents = [f"{number:02}.txt" for number in range(11)]
    expected = []
    for split, own, wanted in (("scored", "train", 20), ("held_out", "valid", 8)):
        order = [documents[row] for row in split_rows(documents, own, 0.3, 5)]
        candidates = []
        for place, document in enumerate(order):
            size = 40 if document == "10.txt" else 6
            numbers = sorted(range(1, size + 1), key=lambda n, document=document: digest(f"5:{document}#{n}"))
            candidates += [(turn, place, document, number) for turn, number in enumerate(numbers)]
        for _, _, document, number in sorted(candidates)[:wanted]:
            text = text_of(int(document[:2]), 40)[number - 1]
            expected.append({"split": split, "id": f"{document}#{number}", "text": text})
    assert rows(output) == expected
    assert load_sentences(output.with_suffix(".json")) == {
        split: [row["text"] for row in of(expected, split)] for split in ("scored", "held_out")
    }


def test_header_of_sentences(corpus):
    output = draw(corpus, settings={"maximum_characters": 200})
    header = read_json(output.with_suffix(".json"), "sentences")
    assert [header[key] for key in ("language", "source", "scored", "held_out")] == ["fr", "corpus", 20, 8]
    assert header["parameters"] == {
        "settings": {"corpus": str(corpus), "valid_share": 0.3},
        "number": 20,
        "held_out": 8,
        "seed": 5,
        "minimum_bytes": 20,
        "maximum_characters": 200,
    }
    assert list(header["inputs"]) == [str(corpus), str(corpus.with_suffix(".json"))]
    assert header["dropped"] == {"short": 0, "long": 0, "duplicate": 0}


def test_same_seed_same_bytes(corpus):
    first, again, other = (draw(corpus, name, seed=seed) for name, seed in (("a", 5), ("b", 5), ("c", 6)))
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()


def test_what_is_left_out(corpus):
    # 32 characters and the figures of number and document: only document 10's sentences from 10 on have 36.
    found = rows(draw(corpus, number=30, held_out=6, settings={"maximum_characters": 35}))
    assert all(len(row["text"]) <= 35 for row in found)
    dropped = read_json(corpus.with_name("sentences.json"))["dropped"]
    assert dropped == {"short": 0, "long": 31, "duplicate": 0}
    with pytest.raises(LapeError, match=r"has 0 scored sentences, 20 are wanted \(left out: \d+ short"):
        draw(corpus, "none", settings={"minimum_bytes": 60})
    assert not corpus.with_name("none.jsonl").exists()


def test_too_few_sentences(corpus):
    with pytest.raises(LapeError, match=r" \d+ scored sentences, 500 are .*; add text or lower sentences\.number$"):
        draw(corpus, number=500)
    with pytest.raises(LapeError, match=r" \d+ held_out sentences, 90 are .*; add text or lower sentences\.held_out$"):
        draw(corpus, held_out=90)
    with pytest.raises(LapeError, match=r"set sentences\.number to 1 or more"):
        draw(corpus, number=0)
    with pytest.raises(LapeError, match=r"-1 cannot be drawn; set sentences\.held_out to 0 or more"):
        draw(corpus, held_out=-1)


def test_wrong_settings(corpus):
    with pytest.raises(LapeError, match=r"settings of sentences source corpus: .*'valid_share'"):
        build_sentences("fr", "corpus", {"corpus": str(corpus)}, corpus.with_name("x.jsonl"))
    with pytest.raises(LapeError, match="is in 'fr', not in 'de'; pass this language's corpus"):
        build_sentences("de", "corpus", {"corpus": str(corpus), "valid_share": 0.3}, corpus.with_name("x.jsonl"))
    corpus.write_bytes(corpus.read_bytes()[:-9])
    with pytest.raises(LapeError, match="is not the file that"):
        draw(corpus)


def test_command(corpus, lape):
    """Seed and share reach the draw: the scored documents are those whose tokens are counted."""
    output = corpus.with_name("command.jsonl")
    words = f"sentences --language fr --source corpus --corpus {corpus} --seed 5 --valid-share 0.3 --number 20"
    status, messages = lape(*words.split(), "--held-out", 8, "--output", output)
    assert status == 0, messages
    assert output.read_bytes() == draw(corpus).read_bytes()
    assert "sentences fr: 20 scored, 8 held out" in messages
    status, messages = lape(*words.replace("corpus", "files", 1).split(), "--output", output)
    assert status == 1 and "settings of sentences source files" in messages and messages.count("\n") == 1


@pytest.mark.parametrize("limit", ['"a"', "0", "-3", "2.5", "true", "null"])
@pytest.mark.parametrize("key", ["minimum_bytes", "maximum_characters"])
def test_limits_that_are_none(corpus, lape, key, limit):
    output = corpus.with_name("limits.jsonl")
    words = f"sentences --language fr --source corpus --corpus {corpus}"
    status, messages = lape(*words.split(), "--settings", f'{{"{key}": {limit}}}', "--output", output)
    assert status == 1 and messages.count("\n") == 1 and messages.endswith(f"; set sentences.{key} to 1 or more\n")
    assert not output.exists()


# Files


def test_lines_of_text(tmp_path):
    lines = [f"Voici une phrase assez longue, la {number}e." for number in range(12)]
    (tmp_path / "fr.txt").write_text("\n".join([*lines, "", "Court.", lines[3].upper().replace(" ", "  ")]) + "\n")
    output = tmp_path / "out" / "fr.jsonl"
    # Each usable line is needed: 9 + 3 of 12.
    build_sentences("fr", "files", {"pattern": str(tmp_path / "{language}.txt")}, output, number=9, held_out=3)
    found = rows(output)
    assert sorted(row["text"] for row in found) == sorted(lines)
    assert {row["id"]: row["text"] for row in found} == {f"fr.txt:{n + 1}#1": line for n, line in enumerate(lines)}
    assert [len(of(found, split)) for split in ("scored", "held_out")] == [9, 3]
    header = read_json(output.with_suffix(".json"))
    assert header["dropped"] == {"short": 2, "long": 0, "duplicate": 1}
    order = sorted(range(1, 13), key=lambda n: digest(f"0:fr.txt:{n}"))
    assert [row["id"] for row in of(found, "held_out")] == [f"fr.txt:{n}#1" for n in order[:3]]
    assert [row["id"] for row in of(found, "scored")] == [f"fr.txt:{n}#1" for n in order[3:]]


def test_json_lines(tmp_path):
    texts = [f"Voici une phrase assez longue, la {number}e." for number in range(5)]
    body = [{"sentence": text} for text in texts] + [{"sentence": None}]
    (tmp_path / "fr.jsonl").write_text("".join(json.dumps(row) + "\n" for row in body))
    settings = {"pattern": str(tmp_path / "fr.jsonl"), "text_column": "sentence"}
    output = tmp_path / "out" / "fr.jsonl"
    build_sentences("fr", "files", settings, output, number=5, held_out=0)
    assert {row["id"]: row["text"] for row in rows(output)} == {
        f"fr.jsonl:{n + 1}#1": text for n, text in enumerate(texts)
    }
    assert read_json(output.with_suffix(".json"))["bad_rows"]["count"] == 1


# Datasets of the hub

NAMES = {"en": "eng_Latn", "fr": "fra_Latn"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Two datasets as the hub has them: pairs of paraphrases like PAWS-X, single sentences like FLORES."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))

    def dataset(name: str, tables: dict[str, dict]) -> str:
        configs = ""
        for config, columns in tables.items():
            (tmp_path / name / config).mkdir(parents=True)
            pq.write_table(pa.table(columns), tmp_path / name / config / "dev.parquet")
            configs += f"- config_name: {config}\n  data_files:\n  - split: dev\n    path: {config}/dev.parquet\n"
        (tmp_path / name / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
        return str(tmp_path / name)

    def paraphrases(language):
        one, other = ([f"{word} sentence of {language}, number {n}" for n in range(30)] for word in ("First", "Second"))
        one[4], other[4] = '"Quoted by someone", said the ' + language, ""
        other[5] = "NS"
        return {"id": range(1, 31), "sentence1": one, "sentence2": other, "label": [0] * 30}

    paws = dataset("paws-x", {language: paraphrases(language) for language in NAMES})
    flores = dataset(
        "flores",
        {name: {"sentence": [f"A flores row in {name} number {n}" for n in range(40)]} for name in NAMES.values()},
    )
    return {
        "datasets": [
            {"path": paws, "config": "{language}", "split": "dev", "text_columns": ["sentence1", "sentence2"]},
            {"path": flores, "config": "{language}", "split": "dev", "text_columns": ["sentence"], "names": NAMES},
        ]
    }


def from_hub(tmp_path, settings, language: str = "fr", number: int = 31, held_out: int = 10, **options):
    output = tmp_path / "out" / f"{language}.jsonl"
    build_sentences(language, "hub", settings, output, number=number, held_out=held_out, **options)
    return rows(output)


def test_equal_shares_of_datasets(hub, tmp_path):
    found = from_hub(tmp_path, hub)
    scored, held_out = of(found, "scored"), of(found, "held_out")
    # In turn, the odd one of the first.
    assert [row["id"].split(".")[0] for row in scored] == ["paws-x", "flores"] * 15 + ["paws-x"]
    assert [row["id"].split(".")[0] for row in held_out] == ["paws-x", "flores"] * 5
    for row in found:
        dataset, place = row["id"].split(":")
        number, column = map(int, place.split("#"))
        if dataset == "paws-x.dev":
            word = ("First", "Second")[column - 1]
            expected = f"{word} sentence of fr, number {number}" if number != 4 else '"Quoted by someone", said the fr'
        else:
            expected = f"A flores row in fra_Latn number {number}"
        assert row["text"] == expected
    # No row of either is in both, not even with its other sentence.
    documents = [{row["id"].split("#")[0] for row in split} for split in (scored, held_out)]
    assert not documents[0] & documents[1]
    assert len(documents[0]) == 31, "one sentence of a row before another row's second"


def test_languages_get_translations_of_the_same_rows(hub, tmp_path):
    french, english = (from_hub(tmp_path, hub, language, number=20) for language in ("fr", "en"))
    assert [row["id"] for row in french] == [row["id"] for row in english]
    assert [row["text"] for row in french] != [row["text"] for row in english]
    other = from_hub(tmp_path, hub, "fr", number=20, seed=1)
    assert [row["id"] for row in other] != [row["id"] for row in french]


def test_every_sentence_of_a_dataset(hub, tmp_path):
    # 60 sentences, one of which is empty and one short; rows are held out whole.
    found = from_hub(tmp_path, {"datasets": hub["datasets"][:1]}, number=49, held_out=5)
    assert len({row["text"] for row in found}) == 54
    header = read_json(tmp_path / "out" / "fr.json")
    assert header["dropped"]["short"] == 1
    assert header["bad_rows"] == {"count": 1, "examples": ["paws-x row 4 sentence2: the text is empty"]}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"text_columns": ["sentence3"]}, "has no column 'sentence3', but sentence; correct its name"),
        ({"names": {"en": "eng_Latn"}}, "names: has no name of 'fr', only of en; add one"),
        ({"config": "latin"}, "cannot be read"),
        ({"text_columns": "sentence"}, "flores (fra_Latn): text_columns 'sentence' is no list of columns; put it in"),
        ({"text_column": "sentence"}, "unexpected keyword argument 'text_column'; correct sentences.hub.datasets"),
    ],
)
def test_hub_faults(hub, tmp_path, change, fault):
    hub["datasets"][1] |= change
    with pytest.raises(LapeError) as caught:
        from_hub(tmp_path, hub)
    assert fault in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_lists_of_datasets(hub, tmp_path):
    with pytest.raises(LapeError, match="names none; add one"):
        from_hub(tmp_path, {"datasets": []})
    with pytest.raises(LapeError, match=r"flores \({language}\), dev is there twice; name it once"):
        from_hub(tmp_path, {"datasets": hub["datasets"][1:] * 2})
    for datasets in (["abc"], "abc", 5, hub["datasets"][0]):
        with pytest.raises(LapeError, match=r"is no list of datasets; give each a path, split and text_columns"):
            from_hub(tmp_path, {"datasets": datasets})
    with pytest.raises(LapeError, match=r"flores \({language}\), dev has 33 scored sentences, 100 are wanted"):
        from_hub(tmp_path, {"datasets": hub["datasets"][1:]}, number=100, held_out=20)


def test_datasets_of_one_name_and_configurations_of_one_dataset(hub, tmp_path):
    flores = hub["datasets"][1]
    other = tmp_path / "other" / "flores"
    shutil.copytree(tmp_path / "flores", other)
    pq.write_table(
        pa.table({"sentence": [f"A row of another dataset, number {n}" for n in range(40)]}),
        other / "fra_Latn/dev.parquet",
    )
    english = {**flores, "config": "eng_Latn"}
    found = from_hub(tmp_path, {"datasets": [flores, {**flores, "path": str(other)}, english]}, number=9, held_out=3)
    assert [row["id"].split(":")[0] for row in found[:3]] == ["flores.dev", "flores.dev.2", "flores.dev.3"]
    texts = ("A flores row in fra_Latn", "A row of another dataset", "A flores row in eng_Latn")
    assert all(row["text"].startswith(texts[place % 3]) for place, row in enumerate(found))
    assert len({row["id"] for row in found}) == 12


# All languages


def headers(folder, **texts: list[str]) -> list:
    """Artifacts of sentences with given texts, all scored."""
    paths = []
    for language, lines in texts.items():
        (folder / f"{language}.txt").write_text("\n".join(lines))
        output = folder / "sentences" / f"{language}.jsonl"
        settings = {"pattern": str(folder / "{language}.txt"), "minimum_bytes": 1}
        build_sentences(language, "files", settings, output, number=len(lines), held_out=0)
        paths.append(output.with_suffix(".json"))
    return paths


def test_common_pool(tmp_path, caplog):
    paths = headers(
        tmp_path,
        no=["Hei på deg", "Sagrada  Familia", "God natt nå", "Takk for sist"],
        es=["Buenas noches", "sagrada familia", "Hasta luego", "Adiós amigo", "Hola"],
    )
    own = {path.stem: load_sentences(path)["scored"] for path in paths}
    pool, left_out = common_pool(paths)
    assert list(pool) == ["no", "es"] and left_out == {"no": 1, "es": 1}
    assert [text for _, text in pool["no"]] == [text for text in own["no"] if text != "Sagrada  Familia"]
    assert [text for _, text in pool["es"]] == [text for text in own["es"] if text != "sagrada familia"][:3]
    assert all(own[language][row] == text for language, kept in pool.items() for row, text in kept)
    assert "left out: no 1, es 1; 3 are left of each" in caplog.text


def test_pools_that_are_refused(tmp_path):
    paths = headers(tmp_path, no=["Hei på deg"], es=["Buenas noches"], pt=["Boa noite"])
    (tmp_path / "again").mkdir()
    same = headers(tmp_path / "again", no=["Boa noite"])
    with pytest.raises(LapeError, match="another header has; name each language once"):
        common_pool([*paths, *same])
    with pytest.raises(LapeError, match="no is too few to compare; name two languages or more"):
        common_pool(paths[:1])
    with pytest.raises(LapeError, match="sentences no: every one stands in another language too"):
        common_pool([*same, paths[2]])
    paths[0].with_suffix(".jsonl").write_text('{"split": "scored", "id": "x", "text": "Hei"}\n')
    with pytest.raises(LapeError, match="is not the file that"):
        common_pool(paths)
