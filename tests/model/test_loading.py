"""Models as artifacts: identity, tokenizer, device, the hub."""

import json
import os
import subprocess
from pathlib import Path

import accelerate
import numpy as np
import pytest
import torch
from hub_server import COMMIT, python  # noqa: F401
from safetensors.torch import load_file
from tiny_data import ROOT, make_model, make_text
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

from lape.artifacts.files import read_json, write_json
from lape.errors import LapeError
from lape.interventions.perturbation import Perturbation, perturbed
from lape.kernels import ops
from lape.machine import device
from lape.model import loading as models
from lape.statistics.feeding import record_statistics

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


def test_a_model_under_a_relative_path_loads_from_any_folder(tmp_path, lape, monkeypatch):
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    make_model(work / "models" / "tiny")
    make_model(elsewhere / "models" / "tiny", seed=1)  # another checkpoint at the same relative path
    monkeypatch.chdir(work)
    lape("model", "--name", "tiny", "--path", "models/tiny", *FLAGS, "--output", "results/run/model.json")
    header = read_json("results/run/model.json")
    assert models.location("results/run/model.json", header) == ("models/tiny", None)
    expected = load_file(work / "models" / "tiny" / "model.safetensors")
    monkeypatch.chdir(elsewhere)
    model, _ = models.load_model("../work/results/run/model.json")
    assert torch.equal(model.lm_head.weight, expected["lm_head.weight"])
    (work / "models" / "tiny" / "config.json").unlink()
    with pytest.raises(LapeError, match=r"config.json: missing, though .*; put it back, or run the model step again"):
        models.load_model(work / "results/run/model.json")


def test_padding_and_truncation_that_a_tokenizer_brings_are_left_out(tmp_path):
    make_model(tmp_path)
    stored = json.loads((tmp_path / "tokenizer.json").read_text())
    stored["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    stored["padding"] = {
        "strategy": {"Fixed": 99}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 1, "pad_type_id": 0,
        "pad_token": "</s>",
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(stored))
    assert models.save_tokenizer(tmp_path, False, tmp_path / "saved.json", 400)["bos_token_id"] == 0
    texts = [make_text("fr", 20, 0), make_text("fr", 3, 1)]
    lengths = [len(encoding.ids) for encoding in Tokenizer.from_file(str(tmp_path / "saved.json")).encode_batch(texts)]
    assert 4 < lengths[0] < 99 and lengths[1] < lengths[0]


def test_auto_is_the_cpu_where_the_extension_has_no_cuda(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(ops, "build_info", lambda: {"cuda": False})
    assert device.resolve_device("auto") == "cpu" and "the GPU is left alone" in caplog.text
    monkeypatch.setattr(ops, "build_info", lambda: {"cuda": True})
    assert device.resolve_device("auto") == "cuda"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(LapeError, match="'cuda:9': torch sees no such CUDA device"):
        device.resolve_device("cuda:9")


BATCH = torch.arange(2, 42).view(4, 10)


def load(tmp_path, lape, *flags: str, **shape):
    """A tiny model through `lape model` and `load_model`, with some settings."""
    folder = make_model(tmp_path / "tiny", **shape)
    output = tmp_path / "model.json"
    status, messages = lape("model", "--name", "tiny", "--path", folder, *FLAGS, *flags, "--output", output)
    assert status == 0, messages
    return models.load_model(output)


def test_settings_of_a_model_take_effect(tmp_path, lape):
    model, header = load(tmp_path, lape, "--attn-implementation", "eager", "--device-map", "auto", "--compile")
    assert model.config._attn_implementation == header["parameters"]["attn_implementation"] == "eager"
    assert header["parameters"]["device_map"] == "auto" and header["parameters"]["compile"]
    assert model.get_decoder()._compiled_call_impl is not None
    model.get_decoder()._compiled_call_impl = None  # compiling takes long, and tests/statistics/test_statistics.py does
    assert record_statistics(model, [BATCH]).tokens == 40


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_quantised_weights_are_counted_and_perturbed(tmp_path, lape, bits):
    pytest.importorskip("bitsandbytes")
    settings = ("--quantization", f"bitsandbytes-{bits}")
    model, _ = load(tmp_path, lape, *settings, hidden_size=64, intermediate_size=128)
    assert type(model.model.layers[0].mlp.gate_proj).__name__ == {"8bit": "Linear8bitLt", "4bit": "Linear4bit"}[bits]
    fused, hooked = (record_statistics(model, [BATCH], fused=fused) for fused in (True, False))
    assert fused.count.shape == (3, 128) and (fused.count == hooked.count).all()
    assert (fused.totals == hooked.totals).all()
    with perturbed(model, Perturbation({1: np.arange(128)})) as firing, torch.inference_mode():
        model(input_ids=BATCH)
    assert firing.changed[1] > 0


def test_quantisation_without_its_package_is_refused_before_anything_is_read(tmp_path, lape, monkeypatch):
    monkeypatch.setattr("lape.model.quantization.importlib.util.find_spec", lambda name: None)
    words = ["--name", "tiny", "--path", tmp_path / "none", *FLAGS, "--quantization", "bitsandbytes-4bit"]
    status, messages = lape("model", *words, "--output", tmp_path / "model.json")
    assert status == 1 and "bitsandbytes is not installed; `pip install bitsandbytes`" in messages


def test_weights_that_accelerate_moves_are_counted(tiny_model):
    """Weights stay elsewhere and come for each call: modules' forwards are accelerate's own."""
    expected = record_statistics(tiny_model, [BATCH])
    accelerate.cpu_offload(tiny_model, execution_device=torch.device("cpu"))
    assert tiny_model.model.layers[0].mlp.gate_proj.weight.is_meta
    for fused in (True, False):
        counted = record_statistics(tiny_model, [BATCH], fused=fused)
        assert (counted.count == expected.count).all() and (counted.totals == expected.totals).all()


def test_a_mixture_of_experts_is_loaded_with_experts_apart(tmp_path):
    config = AutoConfig.for_model(
        "mixtral", vocab_size=99, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=4,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "moe")
    parameters = dict.fromkeys(models.SETTINGS) | {"device": "cpu", "tensor_parallel": 1, "trust_remote_code": False}
    described = models.describe(tmp_path / "moe", torch.float32, parameters)
    assert (described["layers"], described["neurons_per_layer"], described["experts"]) == (2, 128, 4)
    header = {"artifact": "model", "source": "path", "path": str(tmp_path / "moe"), "sizes": {}, "dtype": "float32"}
    write_json(tmp_path / "model.json", {**header, **described, "parameters": parameters})
    model, _ = models.load_model(tmp_path / "model.json")
    assert model.config._experts_implementation == "eager"


def test_an_extension_of_other_sources_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(ops, "source_hash", lambda folder: "another")
    extension, fault = ops._load()
    assert extension is None and "csrc/ is not what the extension was compiled from; build it" in fault


def cached_repository(cache: Path, name: str = "tiny") -> Path:
    """The folder of a tiny model in the hub's cache as huggingface_hub lays it out, under org/<name>."""
    repository = cache / f"models--org--{name}"
    folder = make_model(repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return folder


def offline(warm: Path, folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run code that calls `main`, in one process that has the hub's cache in folder/hub and no network."""
    environment = {**os.environ, "HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = [warm, "-c", f"import sys\nfrom lape.cli import main\n{code}", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_pickled_weights_are_read_as_tensors_and_converted_once(tmp_path, python):  # noqa: F811
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    for name, more in (("good", {}), ("evil", {"payload": Payload()})):
        folder = cached_repository(tmp_path / "hub", name)
        state = AutoModelForCausalLM.from_pretrained(folder).state_dict()
        (folder / "model.safetensors").unlink()
        torch.save({**state, **more}, folder / "pytorch_model.bin")
    words = ["model", "--name", "tiny", "--revision", COMMIT, "--pickled", *FLAGS]
    code = f"""
for name in ("good", "evil"):
    words = [*{words}, "--hub", f"org/{{name}}", "--weights", f"{{name}}/weights"]
    print(main([*words, "--output", f"{{name}}/model.json"]))
"""
    done = offline(python, tmp_path, code)
    assert done.stdout.split() == ["0", "1"], done.stderr
    header = read_json(tmp_path / "good" / "model.json", "model")
    assert header["revision"] == COMMIT and "model.safetensors" in header["hashes"]
    loaded = load_file(tmp_path / "good" / "weights" / "model.safetensors")
    assert loaded.keys() == state.keys() and all(torch.equal(value, state[name]) for name, value in loaded.items())
    assert "its pickles cannot be read as weights" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists() and not list((tmp_path / "evil").iterdir())


def test_a_hub_model_is_fetched_once_pinned_and_loaded_offline(tmp_path, python):  # noqa: F811
    """The code is that of a real repository."""
    cached_repository(tmp_path / "hub")
    words = ["model", "--name", "tiny", "--revision", "main", *FLAGS, "--output", "model.json"]
    code = f"""
print(main([*{words}, "--hub", "org/tiny"]))
from lape.model.loading import load_model
print(load_model("model.json")[0].config.intermediate_size)
print(main([*{words}, "--hub", "org/none"]))
"""
    done = offline(python, tmp_path, code)
    assert done.stdout.split() == ["0", "32", "1"], done.stderr
    assert "org/none at main: cannot be fetched from the hub" in done.stderr and "Traceback" not in done.stderr
    header = read_json(tmp_path / "model.json", "model")
    assert (header["source"], header["path"], header["revision"]) == ("hub", "org/tiny", COMMIT)
    assert "model.safetensors" in header["hashes"] and str(tmp_path) not in json.dumps(header["hashes"])
