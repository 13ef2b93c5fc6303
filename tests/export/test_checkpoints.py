"""Checkpoints with languages switched in their weights: their logits, their files, and other tools that read them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from architectures import ids, tiny
from disks import fill, mounted
from safetensors.torch import load_file, save_file
from stages import check_refusal
from torch import nn
from transformers import AutoModelForCausalLM

from lape.artifacts.files import read_json, sha256
from lape.errors import LapeError
from lape.export.edits import edits_of
from lape.export.files import INDEX, write_files
from lape.export.inverse import inputs_of
from lape.generation.decoding import greedy_answers
from lape.interventions.overwriting import UnitPerturbation, overwritten
from lape.interventions.perturbation import Perturbation, deactivate, perturbed
from lape.model.architectures import ARCHITECTURES
from lape.model.ffn import find_ffn
from lape.model.linear import linear_layers
from lape.model.loading import load_model, load_names
from lape.model.tokenizer import load_tokenizer
from lape.neurons.table import Neurons

PROMPT = "la maison près de cette rivière"
# Both models compute with one implementation of experts, as lape's loader has it.
LOADED = {"experts_implementation": "eager"}


@torch.inference_mode()
def logits(model: nn.Module) -> torch.Tensor:
    return model(input_ids=ids(), use_cache=False).logits


def exported(
    model: nn.Module, change, folder: Path, rewrite: Callable[[Path], None] = lambda folder: None, **saved
) -> tuple[torch.Tensor, torch.Tensor]:
    """Save a model, export it with a change, and return the logits of the changed model and of the export."""
    model.save_pretrained(folder / "source", **saved)
    rewrite(folder / "source")
    names = load_names(folder / "source", False)
    (folder / "export").mkdir()
    write_files(folder / "source", folder / "export", names, edits_of(names, change))
    begin = overwritten if isinstance(change, UnitPerturbation) else perturbed
    with begin(model, change):
        wanted = logits(model)
    loaded = AutoModelForCausalLM.from_pretrained(folder / "export", **LOADED).eval()
    assert loaded.dtype == model.dtype
    return wanted, logits(loaded)


def some_neurons(model: nn.Module, number: int = 9) -> dict[int, np.ndarray]:
    """Neurons of every layer; in a mixture of several experts."""
    widths = np.diff(find_ffn(model).sites.starts)
    random = np.random.default_rng(0)
    return {layer: np.sort(random.choice(width, number, replace=False)) for layer, width in enumerate(widths)}


MIXTURE = {"first_k_dense_replace": 1, "n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1, "topk_group": 1}
# (type, dtype, settings): every type of the table, and one of several kinds of sites that a trace finds.
MODELS = [(name, torch.float32, {}) for name in ARCHITECTURES]
MODELS += [("llama", torch.bfloat16, {}), ("mixtral", torch.bfloat16, {}), ("glm4_moe", torch.float32, MIXTURE)]


@pytest.mark.parametrize(("model_type", "dtype", "settings"), MODELS)
def test_a_switched_off_model_is_a_checkpoint(model_type, dtype, settings, tmp_path):
    model = tiny(model_type, dtype, **settings)
    plain = logits(model)
    wanted, found = exported(model, Perturbation(some_neurons(model)), tmp_path)
    assert torch.equal(found, wanted) and not torch.equal(found, plain)


def test_shards_stay_as_they_are_but_for_the_columns(tmp_path):
    model, off = tiny("llama", tie_word_embeddings=True), Perturbation({1: np.array([3, 7])})
    wanted, found = exported(model, off, tmp_path, max_shard_size="8KB")
    assert torch.equal(found, wanted)
    source, export = tmp_path / "source", tmp_path / "export"
    names = {file.name for file in source.iterdir()}
    assert len(names) > 4 and names == {file.name for file in export.iterdir()}
    assert (source / INDEX).read_bytes().split() == (export / INDEX).read_bytes().split()
    changed = "model.layers.1.mlp.down_proj.weight"
    for name in names:
        if name.endswith(".safetensors"):
            before, after = load_file(source / name), load_file(export / name)
            assert before.keys() == after.keys() and "lm_head.weight" not in after
            if changed in after:
                before[changed][:, [3, 7]] = 0
            assert all(torch.equal(before[key], after[key]) for key in before)
        elif name != INDEX:
            assert (source / name).read_bytes() == (export / name).read_bytes()


@pytest.mark.parametrize(
    ("model_type", "written", "held"),
    [
        ("gpt2", lambda name: name.removeprefix("transformer."), "h.1.mlp.c_proj.weight"),
        ("mixtral", None, "model.layers.1.block_sparse_moe.experts.2.w2.weight"),
        ("mixtral", lambda name: name, "model.layers.1.mlp.experts.down_proj"),
        ("qwen3_moe", None, "model.layers.1.mlp.experts.2.down_proj.weight"),
    ],
)
def test_weights_are_found_by_all_names_that_files_give_them(model_type, written, held, tmp_path):
    """Files of the hub may lack the base model's prefix, and hold experts one by one or stacked."""
    model = tiny(model_type)

    def rewrite(folder: Path) -> None:
        if written is not None:
            tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
            weights = {written(name): weight for name, weight in model.state_dict().items() if name not in tied}
            save_file(weights, folder / "model.safetensors", {"format": "pt"})
        assert held in load_file(folder / "model.safetensors")

    wanted, found = exported(model, Perturbation(some_neurons(model)), tmp_path, rewrite)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    ("model_type", "setting"),
    [("llama", "mlp_bias"), ("falcon", "bias"), ("gpt2", None), ("bloom", None), ("opt", None)],
)
def test_a_steered_model_is_a_checkpoint_where_a_bias_can_say_it(model_type, setting, tmp_path):
    """Some neurons are constant, others off, others scaled: in some models by biases that a setting gives."""
    model = tiny(model_type)
    index = some_neurons(model)
    values = np.array([1.5, 0.25, 4], np.float32) if model_type == "opt" else np.array([1.5, -0.1, 0.01], np.float32)
    change = (
        Perturbation({layer: own[:3] for layer, own in index.items()}, values=dict.fromkeys(index, values))
        + Perturbation({layer: own[3:6] for layer, own in index.items()})
        + Perturbation({layer: own[6:] for layer, own in index.items()}, "scale", 2.5)
    )
    plain = logits(model)
    wanted, found = exported(model, change, tmp_path, max_shard_size="8KB")
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert (wanted - plain).abs().max() > 1e-3
    before, after = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("source", "export"))
    assert after == before | ({setting: True} if setting else {})
    held = {key: file.name for file in (tmp_path / "export").glob("*.safetensors") for key in load_file(file)}
    assert held == json.loads((tmp_path / "export" / INDEX).read_text())["weight_map"]


@pytest.mark.parametrize("model_type", ["llama", "bloom"])
def test_overwritten_units_are_biases(model_type, tmp_path):
    model, random = tiny(model_type), np.random.default_rng(0)
    change = UnitPerturbation(
        {
            (linear.layer, linear.name): (random.choice(linear.width, 4, replace=False), random.normal(size=4))
            for linear in linear_layers(model)
        }
    )
    wanted, found = exported(model, change, tmp_path)
    assert torch.equal(found, wanted)


CONSTANT = {"values": 0.5}


@pytest.mark.parametrize(
    ("model_type", "change", "message"),
    [
        ("gemma", CONSTANT, "model.layers.0.mlp.gate_proj.bias: the architecture 'gemma' has no such bias"),
        ("phi3", CONSTANT, "layer 1 .index 0.: one weight holds its gate and up"),
        ("mixtral", CONSTANT, "layer 1 .index 0.: one weight holds its gate and up"),
        ("opt", {"values": -1.0}, "layer 1 .index 0.: its activation function does not take the value -1; switch"),
        ("llama", {"values": 0.5, "mode": "max"}, "no change of weights does 'max'; export with mode set or scale"),
        ("llama", {"positions": "generated"}, "weights know no generated positions; export with positions all"),
    ],
)
def test_what_no_weight_expresses_is_refused(model_type, change, message):
    with pytest.raises(LapeError, match=message):
        edits_of(tiny(model_type), Perturbation({0: np.array([3])}, **change))


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_pytorch_tanh", "relu", "relu2"])
def test_an_activation_function_is_inverted(name):
    from transformers.activations import ACT2FN

    values = ACT2FN[name](torch.linspace(-0.7, 40, 99)).numpy()
    found = ACT2FN[name](torch.from_numpy(inputs_of(ACT2FN[name], values)))
    np.testing.assert_allclose(found.numpy(), values, rtol=1e-5, atol=1e-6)


GENERATE = """
import json, sys
sys.modules["lape"] = None  # cannot be imported
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, prompt = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
ids = tokenizer(prompt, return_tensors="pt").input_ids
made = AutoModelForCausalLM.from_pretrained(folder).generate(ids, do_sample=False, max_new_tokens=12, eos_token_id=-1)
print(json.dumps([ids[0].tolist(), made[0, ids.shape[1] :].tolist()]))
"""


def test_a_run_is_exported_and_read_without_lape(finished_run, lape, tmp_path):
    folder = tmp_path / "off"
    status, messages = lape(
        "export", "checkpoint", finished_run, "--deactivate", "fr", "--compare", 40, "--output", folder
    )
    assert status == 0 and "on 40 tokens (float32) no logit is further than 0 from" in messages
    neurons = Neurons.load(finished_run / "neurons/tiny/lape.json")
    card, header = (folder / "README.md").read_text(), read_json(folder / "lape.json", "checkpoint")
    assert sha256(finished_run / "neurons/tiny/lape.tsv") == header["inputs"]["neurons/tiny/lape.tsv"]
    assert header["inputs"]["neurons/tiny/lape.tsv"] in card and "# tiny, fr off" in card
    assert header["zeroed"] == neurons.counts()["fr"] and header["compared"]["difference"] == 0
    assert header["outputs"].keys() == {file.name for file in folder.iterdir()} - {"lape.json"}
    assert str(finished_run) not in card
    words = [sys.executable, "-c", GENERATE, folder, PROMPT]
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    ids, tokens = json.loads(printed)
    model, _ = load_model(finished_run / "models/tiny/model.json")
    tokenizer = load_tokenizer(finished_run / "models/tiny/tokenizer.json")
    with deactivate(model, neurons, "fr"):
        [answer] = greedy_answers(model, tokenizer, [ids], max_new_tokens=12)
    [plain] = greedy_answers(model, tokenizer, [ids], max_new_tokens=12)
    assert answer.tokens == tokens[: len(answer.tokens)] != plain.tokens[: len(answer.tokens)]


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (["--steer", "ja"], {"mlp_bias": True}),
        (["--deactivate", "fr", "--steer", "ja", "--dose", "scale-all-1-1"], {}),
        (["--method", "expert_units", "--steer", "fr"], {"attention_bias": True}),
    ],
    ids=["steered", "one off, another on", "expert units"],
)
def test_a_run_is_exported_with_a_language_on(finished_run, lape, tmp_path, words, settings):
    status, messages = lape("export", "checkpoint", finished_run, *words, "--compare", 40, "--output", tmp_path / "on")
    assert status == 0, messages
    header = read_json(tmp_path / "on/lape.json", "checkpoint")
    assert header["settings"] == settings and header["compared"]["effect"] > 100 * header["compared"]["difference"]
    config = json.loads((tmp_path / "on/config.json").read_text())
    assert {name: config[name] for name in settings} == settings


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing is switched; give --deactivate or --steer a language"),
        (["--deactivate", "xx"], "xx"),
        (["--deactivate", "fr", "--output", "."], "is there already; name a new folder"),
        (["--deactivate", "fr", "--method", "lav"], "has no method 'lav' of tiny"),
        (["--steer", "fr", "--dose", "add-all-1-1"], "no change of weights does 'add'; export with mode set or scale"),
    ],
)
def test_bad_exports_are_refused(finished_run, lape, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    status, messages = lape("export", "checkpoint", finished_run, "--output", "new", *words)
    assert message in check_refusal(status, messages, "export") and not list(tmp_path.iterdir())


def test_an_export_that_differs_is_not_left_behind(finished_run, lape, tmp_path, monkeypatch):
    monkeypatch.setattr("lape.export.comparison.perturbed", lambda model, change: perturbed(model, Perturbation({})))
    words = ["--deactivate", "fr", "--output", tmp_path / "new"]
    status, messages = lape("export", "checkpoint", finished_run, *words)
    check_refusal(
        status, messages, "export", f"{tmp_path}/new", "its logits would differ from the perturbed model's by"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("quantised", [{"scheme": "gptq"}, {"parameters": {"quantization": "int8"}}])
def test_quantised_weights_are_refused(finished_run, lape, tmp_path, quantised):
    copy = shutil.copytree(finished_run, tmp_path / "run/results/tiny")
    header = copy / "models/tiny/model.json"
    content = json.loads(header.read_text())
    for key, value in quantised.items():
        content[key] = content[key] | value if isinstance(value, dict) else value
    header.write_text(json.dumps(content))
    status, messages = lape("export", "checkpoint", copy, "--deactivate", "fr", "--output", tmp_path / "new")
    check_refusal(status, messages, "export", "model.json: its weights are quantised; export from a run of the plain")
    assert not (tmp_path / "new").exists()


def test_a_full_disk_keeps_no_half_of_an_export(finished_run, lape, tmp_path):
    mounted(tmp_path / "small")
    try:
        fill(tmp_path / "small", 50_000)  # less than the weights take
        words = ["--deactivate", "fr", "--compare", 0, "--output", tmp_path / "small/new"]
        status, messages = lape("export", "checkpoint", finished_run, *words)
        check_refusal(status, messages, "export", "small/new: cannot be written", "free some disk")
        assert [file.name for file in (tmp_path / "small").iterdir()] == ["other.bin"]
    finally:
        subprocess.run(["umount", "-l", tmp_path / "small"], check=True)
