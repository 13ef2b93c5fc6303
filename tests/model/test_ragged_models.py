"""Models whose layers differ, from a checkpoint to tables and the audit, and FFNs that only a trace finds."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from architectures import ids, tiny
from once import made_once
from stages import finish
from torch import nn
from torch.nn import functional

from lape.artifacts.files import read_json
from lape.audit.run import CHECKS
from lape.errors import LapeError
from lape.interventions.perturbation import Perturbation, deactivate, perturbed
from lape.model.architectures import ARCHITECTURES
from lape.model.ffn import find_ffn
from lape.model.loading import load_model
from lape.model.sites import Sites
from lape.neurons.table import Neurons
from lape.statistics.feeding import record_statistics
from lape.statistics.sums import ActivationStatistics

# A dense layer, then two of experts with a shared expert.
MIXTURE = {
    "model_type": "glm4_moe",
    "first_k_dense_replace": 1,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 12,
    "n_group": 1,
    "topk_group": 1,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
SITES = [[0, "dense", 1, 32], [1, "experts", 4, 12], [1, "shared", 1, 12], [2, "experts", 4, 12], [2, "shared", 1, 12]]


@pytest.fixture
def chain(tmp_path_factory, monkeypatch) -> Path:
    """Every stage of a ragged mixture, for reading only; the working directory."""

    def make(folder: Path) -> None:
        folder.mkdir()
        monkeypatch.chdir(folder)
        finish(folder, **MIXTURE)

    folder = made_once(tmp_path_factory, "ragged", make)
    monkeypatch.chdir(folder)
    return folder


def test_every_artifact_names_the_sites_and_the_audit_finds_no_fault(chain, lape, tmp_path):
    for name in ("models/model", "statistics/fr", "neurons/lape", "neurons/active_lape", "steering/lape"):
        assert read_json(f"{name}.json")["sites"] == SITES, name
    counted = ActivationStatistics.load("statistics/fr.npz")
    assert counted.count.shape == (32 + 2 * 60,) and counted.sites.description()["sites"] == SITES
    assert (counted.denominator[:32] == counted.tokens).all() and counted.rows[1:5].sum() == 2 * counted.tokens
    words = ["--statistics", "statistics/fr.json", "statistics/ja.json", "--resamples", 3]
    stability = tmp_path / "stability.json"
    assert lape("stability", "--neurons", "neurons/lape.json", *words, "--output", stability)[0] == 0
    headers = {path: read_json(path) for path in [stability, *Path().rglob("*.json")] if "shards" not in str(path)}
    checked = Counter(header["artifact"] for header in headers.values() if header.get("artifact") in CHECKS)
    assert {"statistics", "neurons", "stability", "steering", "expert_units", "perplexity", "generations"} <= set(
        checked
    )
    for path, header in headers.items():
        if header.get("artifact") in CHECKS:
            assert not list(CHECKS[header["artifact"]](path, header)), path


def test_a_selection_says_where_its_neurons_are_and_a_control_lies_in_the_same_sites(chain):
    neurons, control = (Neurons.load(f"neurons/{name}.json") for name in ("lape", "active_lape"))
    assert list(neurons.table)[:4] == ["layer", "kind", "expert", "index"]
    assert set(neurons.table["kind"]) > {"dense"}
    for language in neurons.sets:
        sizes = [
            each.table[each.membership()[:, each.sets.index(language)]].groupby(["layer", "kind"]).size()
            for each in (neurons, control)
        ]
        assert sizes[0].to_dict() == sizes[1].to_dict()
    table = pd.read_csv("tables/neurons_per_layer.csv")
    assert table["ours"].sum() == sum(neurons.counts().values()) and sorted(set(table["layer"])) == [1, 2, 3]


def test_a_deactivation_is_a_down_projection_with_zeroed_columns(chain):
    model, _ = load_model("models/model.json")
    neurons = Neurons.load("neurons/lape.json")
    with torch.inference_mode():
        with deactivate(model, neurons, "fr") as firing:
            without = model(input_ids=ids(), use_cache=False).logits
        firing.check(ids().numel())
        for part in find_ffn(model).parts:
            places = neurons.indices("fr").get(part.site.layer, np.zeros(0, np.int64)) - part.first
            for expert in range(part.site.experts):
                columns = places[(places >= 0) & (places // part.site.width == expert)] % part.site.width
                experts = part.paths.experts
                weight = part.module("experts").down_proj[expert] if experts else part.module("down").weight
                weight[:, columns] = 0
        torch.testing.assert_close(model(input_ids=ids(), use_cache=False).logits, without)


def test_the_released_form_goes_there_and_back(chain, tmp_path, lape):
    assert lape("export", "neurons", "neurons/lape.json", "--output", tmp_path / "tiny.pth")[0] == 0
    languages = ",".join(read_json("neurons/lape.json")["sets"])
    words = ["--languages", languages, "--model", "models/model.json", "--output", tmp_path / "again.tsv"]
    assert lape("import", "neurons", tmp_path / "tiny.pth", *words)[0] == 0
    ours, again = Neurons.load("neurons/lape.json"), Neurons.load(tmp_path / "again.json")
    assert again.sites == ours.sites
    where = ["layer", "kind", "expert", "index", "languages"]
    pd.testing.assert_frame_equal(again.table[where], ours.table[where])


def test_a_model_of_another_shape_is_refused(chain):
    with pytest.raises(
        LapeError, match="selected in a model of 3 layers, 3 of them with an FFN, of 152 neurons in all"
    ):
        with deactivate(tiny("llama"), Neurons.load("neurons/lape.json"), "fr"):
            pass


# FFNs that only a trace finds.


class Nothing(nn.Module):
    def forward(self, hidden):
        return torch.zeros_like(hidden)


def assert_right(model: nn.Module) -> None:
    """The counts are those of the gates' signs, and a deactivation is a down projection with zeroed columns."""
    ffn, gates = find_ffn(model), []
    for part in ffn.parts:
        part.module("gate").register_forward_hook(lambda module, inputs, output: gates.append(output.flatten(0, -2)))
    counted = record_statistics(model, [ids()])
    with torch.inference_mode():
        gates.clear()
        model(input_ids=ids(), use_cache=False)
        assert counted.count.ravel().tolist() == torch.cat([(gate > 0).sum(0) for gate in gates]).tolist()
        third = {part.site.layer: np.arange(0, part.site.width, 3) for part in ffn.parts}
        with perturbed(model, Perturbation(third)):
            without = model(input_ids=ids(), use_cache=False).logits
        for part in ffn.parts:
            part.module("down").weight[:, third[part.site.layer]] = 0
        torch.testing.assert_close(model(input_ids=ids(), use_cache=False).logits, without)


@pytest.mark.parametrize("layer", [0, 1])
def test_layers_of_different_width_and_without_an_ffn(layer):
    model = tiny("llama", num_hidden_layers=3)
    wide = model.model.layers[layer].mlp
    wide.gate_proj, wide.up_proj, wide.down_proj = nn.Linear(16, 48), nn.Linear(16, 48), nn.Linear(48, 16)
    model.model.layers[2].mlp = Nothing()
    widths = {layer: 48, 1 - layer: 32}
    assert [site.width for site in find_ffn(model).sites.sites] == [widths[0], widths[1]]
    assert find_ffn(model).sites.starts.tolist() == [0, widths[0], 80, 80]
    assert_right(model)


@pytest.mark.parametrize("function", [functional.silu, functional.relu, lambda gate: gate * torch.sigmoid(1.7 * gate)])
def test_an_activation_function_that_is_no_module(function):
    model = tiny("llama")
    for layer in model.model.layers:
        del layer.mlp.act_fn
        layer.mlp.act_fn = function
    assert find_ffn(model).sites == Sites.rectangle(2, 32)
    assert_right(model)


def test_one_activation_module_for_all_layers():
    model = tiny("llama")
    model.model.layers[1].mlp.act_fn = model.model.layers[0].mlp.act_fn
    assert_right(model)


def test_an_ffn_with_another_way_out_is_refused(monkeypatch):
    monkeypatch.delitem(ARCHITECTURES, "llama")
    model = tiny("llama")

    def forward(self, hidden):
        active = self.act_fn(self.gate_proj(hidden))
        return self.down_proj(active * self.up_proj(hidden)) + active.mean(-1, keepdim=True)

    monkeypatch.setattr(type(model.model.layers[0].mlp), "forward", forward)
    with pytest.raises(LapeError, match=r"'llama'.* no FFN that is known .*another way out"):
        find_ffn(model)


def test_a_gate_of_something_that_mixes_tokens_is_no_ffn(monkeypatch):
    monkeypatch.delitem(ARCHITECTURES, "llama")
    model = tiny("llama")

    def forward(self, hidden):
        mixed = torch.cumsum(self.up_proj(hidden), dim=1)
        return self.down_proj(self.act_fn(self.gate_proj(hidden)) * mixed)

    monkeypatch.setattr(type(model.model.layers[0].mlp), "forward", forward)
    with pytest.raises(LapeError, match="'llama': no layer has an FFN that is understood"):
        find_ffn(model)


def test_layers_of_the_same_modules_must_have_the_same_ffns(monkeypatch):
    monkeypatch.delitem(ARCHITECTURES, "llama")
    model = tiny("llama")
    model.model.layers[1].mlp.forward = lambda hidden: torch.zeros_like(hidden)
    with pytest.raises(
        LapeError,
        match=r"layer 1 .index 0. and layer 2 .index 1. have the same modules, and a trace found different FFNs",
    ):
        find_ffn(model)


def test_counts_of_other_sites_than_the_models_artifact_has_are_refused(chain, tmp_path, lape):
    header = read_json("models/model.json")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps(header | {"sites": [*SITES[:3], [2, "dense", 1, 60]]}))
    words = ["--model", folder / "model.json", "--tokens", "tokens/fr/train.json", "--shards", 4]
    status, messages = lape("statistics", *words, "--output", tmp_path / "fr.npz")
    assert status == 1 and "its model.json describes 3 layers, 3 of them with an FFN, of 152 neurons" in messages
    assert not (tmp_path / "fr.npz").exists()
