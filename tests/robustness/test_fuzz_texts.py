"""Texts, questions, instructions, pairs, sentences and released files, damaged at random: success or one clear line."""

import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fuzzing import ODD, check_succeeds_or_refuses, damaged, fuzzed
from hypothesis import given
from hypothesis import strategies as st

ROWS = [
    {"text": "bonjour le monde", "id": "a", "number": 1, "question": "Où ?", "instruction": "dis", "output": "non"},
    {
        "text": "la maison",
        "id": "b",
        "number": 2,
        "question": ["Qui ?"],
        "instruction": "va",
        "input": "x",
        "output": "y",
    },
    {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "text": "près", "id": 3},
]
SETTINGS = {
    "corpus": {"text_column": "text", "id_column": "id"},
    "questions": {},
    "instructions": {},
    "sentences": {"minimum_bytes": 1, "maximum_characters": 500},
    "pairs": {},
}
WORDS = {
    "corpus": "--language fr --source files --language-check off",
    "questions": "--language fr",
    "instructions": "--language fr --source files",
    "sentences": "--language fr --source files --number 1 --held-out 1",
    "pairs": "--corpus x --source-language en --language fr --source files --number 1",
}
READ = {
    "corpus": (".txt", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"),
    "questions": (".txt", ".jsonl", ".jsonl.gz"),
    "instructions": (".json", ".jsonl", ".jsonl.zst"),
    "sentences": (".txt", ".jsonl", ".jsonl.gz"),
    "pairs": (".txt", ".jsonl"),
}


def parquet(columns: dict) -> bytes:
    body = io.BytesIO()
    pq.write_table(pa.table(columns), body)
    return body.getvalue()


def packed(lines: bytes, extension: str) -> bytes:
    """JSON lines as a file of that extension."""
    if extension.endswith(".gz"):
        return gzip.compress(lines)
    return pa.compress(lines, codec="zstd", asbytes=True) if extension.endswith(".zst") else lines


def rows() -> st.SearchStrategy[list[dict]]:
    """Rows whose values are of any type."""
    keys = st.sampled_from([*ROWS[1], "conversations"])
    return st.lists(st.dictionaries(keys, ODD, max_size=6), max_size=4)


@st.composite
def text_files(draw, extension: str) -> bytes:
    """A file of an extension that is damaged, or whole with odd values."""
    if extension == ".txt":
        return draw(damaged("Où vas-tu ?\nÀ la maison\n".encode()))
    if extension == ".parquet":
        texts = draw(st.sampled_from([["a", "b"], [1, 2], [None, "x"], [["a"], []], [b"\xff", b"x"]]))
        return draw(
            st.one_of(damaged(parquet({"text": ["é", "b"], "id": ["x", "y"]})), st.just(parquet({"text": texts})))
        )
    odd = draw(st.booleans())
    content = draw(rows()) if odd else ROWS
    whole = json.dumps(content) if extension == ".json" else "".join(json.dumps(row) + "\n" for row in content)
    file = packed(whole.encode(), extension)
    return file if odd else draw(damaged(file))


@pytest.mark.parametrize(
    ("command", "extension"), [(command, extension) for command, extensions in READ.items() for extension in extensions]
)
def test_texts(tmp_path, lape, monkeypatch, command, extension):
    monkeypatch.chdir(tmp_path)
    settings = json.dumps({"pattern": f"file{extension}", **SETTINGS[command]})

    @fuzzed
    @given(text_files(extension))
    def run(content):
        Path(f"file{extension}").write_bytes(content)
        words = [command, *WORDS[command].split(), "--settings", settings, "--output", "out/fr.jsonl"]
        check_succeeds_or_refuses(*lape(*words), command)

    run()
    assert not list(tmp_path.rglob(".*"))


def test_embedded_text(tmp_path, lape, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = json.dumps({"download": "x", "field": "text", "block": 1, "order": ["en", "fr"]})

    @fuzzed
    @given(
        st.one_of(
            damaged(json.dumps({"examples": ROWS[:2]}).encode()), rows().map(lambda each: json.dumps(each).encode())
        )
    )
    def run(content):
        Path("task.json").write_bytes(content)
        words = "corpus --language fr --source embedded --language-check off --file task.json --output out/fr.parquet"
        check_succeeds_or_refuses(*lape(*words.split(), "--settings", settings), "corpus")

    run()


def saved(content: object) -> bytes:
    body = io.BytesIO()
    torch.save(content, body)
    return body.getvalue()


TENSORS = st.sampled_from(
    [
        *(None, 1, "x", [], {}, torch.tensor(1), torch.tensor([1.5]), torch.tensor([True]), torch.tensor([1 + 2j])),
        *(torch.tensor([-1]), torch.tensor([2**62]), torch.tensor([1, 1]), torch.zeros(2, 2, dtype=torch.int64)),
        *(
            torch.tensor([1], dtype=torch.uint64),
            torch.tensor([7], dtype=torch.uint8),
            torch.empty(0),
            torch.zeros(3, 4),
        ),
        *(torch.tensor([1, 2]).to_sparse(), torch.zeros(3, device="meta", dtype=torch.int64), torch.ones(3, 4).int()),
    ]
)
NEURONS = [[torch.tensor([1, 2]), torch.tensor([])], [torch.tensor([3]), torch.tensor([0])]]
COUNTS = {"n": 100, "over_zero": torch.ones(3, 4, dtype=torch.int32)}


def test_released_neurons(tmp_path, lape, monkeypatch):
    monkeypatch.chdir(tmp_path)

    @fuzzed
    @given(st.one_of(damaged(saved(NEURONS)), st.lists(st.lists(TENSORS, max_size=2), max_size=2).map(saved)))
    def run(content):
        Path("x.neuron.pth").write_bytes(content)
        words = "import neurons x.neuron.pth --languages en,fr --neurons-per-layer 4 --output out/lape.tsv"
        check_succeeds_or_refuses(*lape(*words.split()), "import")

    run()


def test_released_counts(tmp_path, lape, monkeypatch):
    monkeypatch.chdir(tmp_path)

    @fuzzed
    @given(st.one_of(damaged(saved(COUNTS)), st.fixed_dictionaries({"n": TENSORS, "over_zero": TENSORS}).map(saved)))
    def run(content):
        Path("activation.en.pth").write_bytes(content)
        words = "import counts en=activation.en.pth --name x --output out"
        check_succeeds_or_refuses(*lape(*words.split()), "import")

    run()
