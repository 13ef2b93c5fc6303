"""The newest pages of a dataset: which they are, that nothing else is in the valid split, and that the audit knows."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lape.artifacts.files import read_json
from lape.audit.text import check_corpus
from lape.errors import LapeError
from lape.text.build import build_corpus, documents
from lape.text.drawing import Drawing, read_corpus
from lape.text.reading import Reading
from lape.text.stored import StoredCorpus


def text(number) -> str:
    return f"Ceci est la page numéro {number} de notre petite encyclopédie."


@pytest.fixture
def wiki(tmp_path, monkeypatch):
    """A dataset in two Parquet files, pages 1 to 200 in no order; a page has no id, another no text."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "wiki"
    (folder / "2023.fr").mkdir(parents=True)
    ids = [str(number) for number in np.random.default_rng(0).permutation(np.arange(1, 201))]

    def write(ids: list) -> dict:
        ids = [*ids[:50], None, *ids[50:]]
        texts = ["" if str(identity) == "199" else text(identity) for identity in ids]
        for part, half in enumerate((slice(0, 100), slice(100, None))):
            table = pa.table({"id": ids[half], "url": ["u"] * len(ids[half]), "text": texts[half]})
            name = f"train-0000{part}-of-00002.parquet"
            pq.write_table(table, folder / "2023.fr" / name, row_group_size=10)
        configs = "configs:\n- config_name: 2023.fr\n  data_files:\n  - split: train\n    path: 2023.fr/train-*\n"
        (folder / "README.md").write_text(f"---\n{configs}---\n")
        settings = {"path": str(folder), "config": "2023.{language}", "revision": None, "split": "train"}
        return {**settings, "text_column": "text", "id_column": "id", "documents": 60, "newest": 20}

    return write, ids


@pytest.mark.parametrize("kind", [str, int])
def test_pages_of_the_highest_ids_are_read_besides_the_first(wiki, kind):
    write, ids = wiki
    reading = Reading()
    found = list(documents("fr", "hub", write(list(map(kind, ids))), reading))
    assert reading.newest == 181
    first = [identity for identity in ids if int(identity) < 181][:60]
    newest = [identity for identity in ids if int(identity) >= 181 and identity != "199"]  # in the dataset's order
    assert found == [(identity, text(identity)) for identity in [*first, *newest]]
    assert reading.examples == ["row 50: the id is NoneType, not a string or an integer", "page 199: the text is empty"]


def test_without_it_nothing_is_different(wiki):
    write, ids = wiki
    settings = write(ids) | {"newest": None}
    usable = [identity for identity in ids if identity != "199"]
    assert [identity for identity, _ in documents("fr", "hub", settings)] == usable[:60]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"newest": 200}, "has 200 pages, none to train on; lower corpus.hub.newest"),
        ({"id_column": "url"}, "column 'url' holds what is no integer .*; name another id_column"),
        ({"id_column": "page"}, "no column 'page', but id, url, text"),
        ({"id_column": None}, "name the corpus.hub.id_column"),
        ({"split": "test"}, "has no split 'test', but train"),
        ({"config": "2022.{language}"}, "2022.fr"),
    ],
)
def test_faults(wiki, change, match):
    write, ids = wiki
    with pytest.raises(LapeError, match=match) as caught:
        list(documents("fr", "hub", write(ids) | change))
    assert "\n" not in str(caught.value)


@pytest.fixture
def corpus(wiki, tmp_path):
    """The corpus of that dataset, as an artifact; its path."""
    write, ids = wiki
    build_corpus("fr", "hub", write(ids), tmp_path / "fr.parquet", language_check="off", exclude="numéro 18[1-3] ")
    return tmp_path / "fr.parquet"


def test_the_valid_split_is_the_newest_pages_for_tokens_and_sentences(corpus):
    stored = StoredCorpus(corpus)
    assert stored.header["newest"] == {"documents": 16, "smallest_id": 184}  # what cleaning leaves of the twenty
    splits = {split: [stored.ids[row] for row in stored.rows(split, 0.9, 3)] for split in ("train", "valid")}
    assert set(splits["valid"]) == {str(number) for number in range(184, 201) if number != 199}
    assert len(splits["train"]) == 60 and max(map(int, splits["train"])) < 184
    drawing = Drawing(number=30, held_out=10, seed=3)
    (pool,) = read_corpus("fr", Reading(), drawing, corpus=corpus, valid_share=0.9).values()
    for key, split in (("scored", "train"), ("held_out", "valid")):
        assert [identity for identity, _ in pool[key]] == [f"{identity}#1" for identity in splits[split]]


def test_the_audit_checks_the_smallest_id_and_the_number(corpus):
    header = read_json(corpus.with_suffix(".json"))
    assert list(check_corpus(corpus, header)) == []
    for newest in ({"documents": 16, "smallest_id": 185}, {"documents": 15, "smallest_id": 184}):
        assert "from id" in next(check_corpus(corpus, header | {"newest": newest}))
    table = pq.read_table(corpus)
    moved = ["900" if identity == table["id"][0].as_py() else identity for identity in table["id"].to_pylist()]
    pq.write_table(table.set_column(0, "id", pa.array(moved)), corpus)  # a page of the train split, renamed
    assert list(check_corpus(corpus, header)) == ["has 17 documents from id 184 on, the header says 16"]


def test_cleaning_that_leaves_none_of_them_is_refused(wiki, tmp_path):
    write, ids = wiki
    with pytest.raises(LapeError, match=r"corpus fr: cleaning leaves none of the newest pages; raise"):
        build_corpus("fr", "hub", write(ids), tmp_path / "out" / "fr.parquet", exclude="numéro (18|19|20)")
    assert list((tmp_path / "out").iterdir()) == []


def test_without_it_the_header_does_not_mention_it(wiki, tmp_path):
    write, ids = wiki
    build_corpus("fr", "hub", write(ids) | {"newest": None}, tmp_path / "fr.parquet", language_check="off")
    assert "newest" not in json.loads((tmp_path / "fr.json").read_text())
