"""Models as artifacts: identity, tokenizer, device, the hub."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import make_model, make_text
from tokenizers import Tokenizer

from lape import model as models
from lape import ops
from lape.artifact import read_json
from lape.errors import LapeError

FLAGS = ["--device", "cpu", "--dtype", "float32"]


def test_a_model_folder_is_identified_by_its_files(tmp_path, lape):
    make_model(tmp_path / "a")
    make_model(tmp_path / "b", seed=1)
    for name in ("a", "b"):
        status, _ = lape(
            "model", "--name", name, "--path", tmp_path / name, *FLAGS, "--output", tmp_path / f"{name}.json"
        )
        assert status == 0
    a, b = (read_json(tmp_path / f"{name}.json", "model") for name in ("a", "b"))
    assert (a["layers"], a["neurons_per_layer"], a["vocab_size"], a["bos_token_id"]) == (3, 32, 400, 0)
    assert a["revision"] != b["revision"] and a["hashes"]["config.json"] == b["hashes"]["config.json"]
    assert a["sizes"] == b["sizes"]
    model, _ = models.load_model(tmp_path / "a.json")
    assert not model.training and model.dtype == torch.float32


def test_padding_and_truncation_that_a_tokenizer_brings_are_left_out(tmp_path):
    make_model(tmp_path)
    stored = json.loads((tmp_path / "tokenizer.json").read_text())
    stored["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    stored["padding"] = {
        "strategy": {"Fixed": 99}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 1, "pad_type_id": 0,
        "pad_token": "</s>",
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(stored))
    assert models.save_tokenizer(tmp_path, False, tmp_path / "saved.json") == 0
    texts = [make_text("fr", 20, 0), make_text("fr", 3, 1)]
    lengths = [len(encoding.ids) for encoding in Tokenizer.from_file(str(tmp_path / "saved.json")).encode_batch(texts)]
    assert 4 < lengths[0] < 99 and lengths[1] < lengths[0]


def test_auto_is_the_cpu_where_the_extension_has_no_cuda(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(ops, "build_info", lambda: {"cuda": False})
    assert models.resolve_device("auto") == "cpu" and "the GPU is left alone" in caplog.text
    monkeypatch.setattr(ops, "build_info", lambda: {"cuda": True})
    assert models.resolve_device("auto") == "cuda"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(LapeError, match="'cuda:9': torch sees no such CUDA device"):
        models.resolve_device("cuda:9")


def test_an_extension_of_other_sources_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(ops, "source_hash", lambda folder: "another")
    extension, fault = ops._load()
    assert extension is None and "csrc/ is not what the extension was compiled from; build it" in fault


def test_a_hub_model_is_fetched_once_pinned_and_loaded_offline(tmp_path):
    """The hub's cache as huggingface_hub lays it out, made by hand: the code is that of a real repository."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--org--tiny"
    make_model(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}

    def lape(*words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "lape", *words]
        root = Path(models.__file__).parent.parent
        return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=120)

    output = tmp_path / "models" / "model.json"
    words = ["model", "--name", "tiny", "--hub", "org/tiny", "--revision", "main", *FLAGS, "--output", str(output)]
    done = lape(*words)
    assert done.returncode == 0, done.stderr
    header = read_json(output, "model")
    assert (header["source"], header["path"], header["revision"]) == ("hub", "org/tiny", commit)
    assert "model.safetensors" in header["hashes"] and str(tmp_path) not in json.dumps(header["hashes"])

    code = f"from lape.model import load_model; print(load_model({str(output)!r})[0].config.intermediate_size)"
    loaded = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert loaded.stdout.strip() == "32", loaded.stderr

    missing = lape(*[word.replace("org/tiny", "org/none") for word in words])
    assert missing.returncode == 1
    assert "org/none at main: cannot be fetched from the hub" in missing.stderr and "Traceback" not in missing.stderr
