"""Headers, data and checkpoints, damaged at random: each stage succeeds or says in one clear line what is wrong."""

import contextlib
import json
import struct
from pathlib import Path

import pytest
from fuzzing import EXAMPLES, ODD, check_succeeds_or_refuses, damaged, edited, fuzzed
from hypothesis import given, settings
from hypothesis import strategies as st
from stages import STAGES, arguments

# Every header that a stage names on its command line.
HEADERS = [
    (stage, word)
    for stage, line in STAGES.items()
    for word in line.split()[1:-1]
    if word.endswith(".json") and "/" in word
]
DATA = [
    ("tokens", "corpus/fr.parquet"),
    ("select", "statistics/fr.npz"),
    ("control", "neurons/lape.tsv"),
    ("steering", "statistics/fr.npz"),
    ("average_precision", "expert_units/responses.tsv"),
    ("average_precision", "expert_units/responses.blocks/0.npy"),
    ("select_units", "expert_units/average_precision.npy"),
    ("select_ap", "expert_units/average_precision.npy"),
    ("pairs", "questions/ja.jsonl"),
    ("embed", "questions/fr.jsonl"),
    ("score", "generations/normal.jsonl"),
    ("sample", "expert_units/units.tsv"),
    ("translate", "pairs/fr.jsonl"),
    ("sampled", "sentences/ja.jsonl"),
    ("generate", "steering/lape.tsv"),
    ("tokens", "models/tokenizer.json"),
]


@contextlib.contextmanager
def replaced(**files: bytes):
    """Files with another content, for a while."""
    before = {name: Path(name).read_bytes() for name in files}
    try:
        for name, content in files.items():
            Path(name).write_bytes(content)
        yield
    finally:
        for name, content in before.items():
            Path(name).write_bytes(content)


def elsewhere(stage: str) -> list[str]:
    return arguments(stage, output=f"out/{Path(arguments(stage)[-1]).name}")


def test_headers(stages, lape):
    contents = {name: json.loads(Path(name).read_text()) for _, name in HEADERS}

    @st.composite
    def cases(draw):
        stage, name = draw(st.sampled_from(HEADERS))
        return stage, name, draw(edited(contents[name]))

    @fuzzed
    @given(cases())
    def run(case):
        stage, name, content = case
        with replaced(**{name: json.dumps(content).encode()}):
            check_succeeds_or_refuses(*lape(*elsewhere(stage)), STAGES[stage].split()[0])

    run()


def test_header_that_is_nested_without_end(refused):
    Path("statistics/fr.json").write_bytes(b'{"artifact":' * 100_000)
    refused(arguments("select", output="out/lape.tsv"), "statistics/fr.json", "not valid JSON")


def test_key_that_a_header_lacks(refused):
    header = json.loads(Path("statistics/fr.json").read_text())
    del header["model_revision"]
    Path("statistics/fr.json").write_text(json.dumps(header))
    refused(arguments("steering", output="out/lape.tsv"), "statistics/fr.json: has no 'model_revision'; run the step")


@pytest.mark.parametrize("language", ["../../x", "/x", "a/b", ".x", "-x", "", "a\nb"])
def test_language_in_a_header_that_is_no_name(refused, language):
    """Parts of the answers are named after the questions' languages."""
    header = json.loads(Path("questions/fr.json").read_text())
    Path("questions/fr.json").write_text(json.dumps(header | {"language": language}))
    refused(arguments("normal", output="out/normal.jsonl"), "questions/fr.json: its language is", "not a name")


def test_data(stages, lape):
    """Of headers that name no hash: what was written by hand is read, too."""

    @st.composite
    def cases(draw):
        stage, name = draw(st.sampled_from(DATA))
        return stage, name, draw(damaged(Path(name).read_bytes()))

    for _, name in DATA:
        if (header := Path(name.replace(".blocks/0.npy", ".npy")).with_suffix(".json")).name != "tokenizer.json":
            header.write_text(json.dumps(json.loads(header.read_text()) | {"outputs": {}}))

    @fuzzed
    @given(cases())
    def run(case):
        stage, name, content = case
        with replaced(**{name: content}):
            check_succeeds_or_refuses(*lape(*elsewhere(stage)), STAGES[stage].split()[0])

    run()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_checkpoints(stages, lape, name):
    whole = Path("model", name).read_bytes()

    @fuzzed
    @given(st.one_of(damaged(whole), edited(json.loads(whole)).map(lambda content: json.dumps(content).encode())))
    def run(content):
        with replaced(**{f"model/{name}": content}):
            check_succeeds_or_refuses(*lape(*arguments("model", output="out/model.json")), "model")

    run()


def test_checkpoint_of_endless_depth(refused):
    config = json.loads(Path("model/config.json").read_text())
    Path("model/config.json").write_text(json.dumps(config | {"num_hidden_layers": 10**9}))
    refused(arguments("model", output="out/model.json"), "model: cannot be read", "1000000000 layers")


def test_weights(stages, lape):
    """Headers of safetensors that claim what is not there, terabytes among it; and other bytes."""
    whole = Path("model/model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", whole[:8])
    header, data = json.loads(whole[8 : 8 + size]), whole[8 + size :]

    def claimed(content: dict, length: int | None = None) -> bytes:
        text = json.dumps(content).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + data

    headers = st.one_of(
        edited(header).map(claimed),
        st.builds(claimed, st.just(header), st.sampled_from([0, 2**40, 2**63, size - 1])),
        ODD.map(lambda odd: claimed({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42], "y": odd}})),
    )

    @fuzzed
    @given(st.one_of(headers, damaged(whole)))
    def run(content):
        with replaced(**{"model/model.safetensors": content}):
            status, messages = lape(*arguments("model", output="out/model.json"))
            check_succeeds_or_refuses(status, messages, "model")
            words = arguments("baseline", model="out/model.json", output="out/baseline.tsv")
            check_succeeds_or_refuses(*lape(*words), "perplexity")

    run()


def test_gguf(stages, lape):
    pytest.importorskip("gguf")
    whole = _gguf(Path("tiny.gguf"))

    @settings(fuzzed, max_examples=EXAMPLES or 15)  # each takes half a second and more
    @given(damaged(whole))
    def run(content):
        Path("tiny.gguf").write_bytes(content)
        words = "model --name tiny --gguf tiny.gguf --weights out/weights --dtype float32 --output out/model.json"
        check_succeeds_or_refuses(*lape(*words.split()), "model")

    run()


def _gguf(path: Path) -> bytes:
    """A GGUF file of a llama without weights: its reading ends in one line, too."""
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(path, "llama")
    for name, value in {"block_count": 1, "context_length": 8, "embedding_length": 4, "feed_forward_length": 8}.items():
        getattr(writer, f"add_{name}")(value)
    writer.add_head_count(1)
    writer.add_tensor("token_embd.weight", np.zeros((8, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()
