"""FFN neurons by average precision: a unit is the neuron that it feeds; the sets are as large as another method's."""

import numpy as np
import pandas as pd
import pytest
import torch
from architectures import ids, tiny

from lape.errors import LapeError
from lape.interventions.overwriting import UnitPerturbation, overwritten
from lape.interventions.perturbation import Perturbation, perturbed
from lape.model.architectures import ARCHITECTURES
from lape.model.ffn import find_ffn
from lape.model.linear import LinearLayer, linear_layers, neuron_part
from lape.model.sites import Sites
from lape.neurons.by_precision import neuron_units, neurons_by_average_precision
from lape.neurons.table import Neurons

LAYERS = (
    LinearLayer(0, "attn.v_proj", "attention", 0, 2, (("v", 2),)),
    LinearLayer(0, "mlp.gate_up_proj", "ffn", 2, 8, (("gate", 4), ("up", 4))),
    LinearLayer(1, "mlp.gate_up_proj", "ffn", 10, 8, (("gate", 4), ("up", 4))),
)


# ReLU squared and all other activation functions of the table map zero to zero.
@pytest.mark.parametrize("model_type", ARCHITECTURES)
@torch.inference_mode()
def test_a_unit_at_zero_is_its_neuron_deactivated(model_type):
    model = tiny(model_type)
    ffn, layers = find_ffn(model), linear_layers(model)
    units = neuron_units(layers, neuron_part(layers), ffn.sites).reshape(ffn.shape)
    assert units.shape == ffn.shape and len(np.unique(units)) == units.size
    layer, neurons = 1, np.array([0, 3, ffn.shape[1] - 1])
    values = {}
    for unit in units[layer, neurons]:
        linear = next(each for each in layers if each.first <= unit < each.first + each.width)
        index, value = values.get((linear.layer, linear.name), (np.empty(0, np.int64), np.empty(0, np.float32)))
        values[linear.layer, linear.name] = np.append(index, unit - linear.first), np.append(value, np.float32(0))
    with overwritten(model, UnitPerturbation(values)) as firing:
        by_units = model(input_ids=ids(), use_cache=False).logits
    with perturbed(model, Perturbation({layer: neurons})):
        by_neurons = model(input_ids=ids(), use_cache=False).logits
    assert sum(firing.changed.values())
    assert torch.equal(by_units, by_neurons)


def lape(counts: dict[str, int]) -> Neurons:
    """Neurons of two layers of four, as many of each language as `counts` says."""
    rows = [(n // 4, n % 4, (language,)) for language, count in counts.items() for n in range(count)]
    table = pd.DataFrame(rows, columns=["layer", "index", "languages"])
    return Neurons(table, tuple(counts), Sites.rectangle(2, 4), {"method": "lape"})


def test_as_many_neurons_of_the_highest_average_precision():
    assert neuron_units(LAYERS, "gate", Sites.rectangle(2, 4)).tolist() == [2, 3, 4, 5, 10, 11, 12, 13]
    random = np.random.default_rng(0)
    precision = {language: random.random(18) for language in ("en", "no")}
    precision["en"][[0, 6, 14]] = 2  # of attention and of `up`: no neurons
    found = neurons_by_average_precision(precision, LAYERS, "gate", lape({"en": 3, "no": 2}))
    assert found.counts() == {"en": 3, "no": 2}
    gates = [2, 3, 4, 5, 10, 11, 12, 13]
    for language, size in (("en", 3), ("no", 2)):
        best = sorted(gates, key=lambda unit: -precision[language][unit])[:size]
        expected = {(gates.index(unit) // 4, gates.index(unit) % 4) for unit in best}
        chosen = found.indices(language)
        assert {(layer, index) for layer, row in chosen.items() for index in row.tolist()} == expected
        rows = found.table[[language in languages for languages in found.table["languages"]]]
        assert sorted(rows[f"average_precision_{language}"]) == sorted(precision[language][best])


def test_ties_go_by_layer_and_place():
    found = neurons_by_average_precision({"en": np.ones(18)}, LAYERS, "gate", lape({"en": 5}))
    assert found.table[["layer", "index"]].values.tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0]]


def test_what_does_not_fit_is_refused():
    with pytest.raises(LapeError, match="not scored for fr; add it to expert_units"):
        neurons_by_average_precision({"en": np.ones(18)}, LAYERS, "gate", lape({"fr": 1}))
    with pytest.raises(
        LapeError, match=r"have 4 units of part 'gate' in layer 1 .index 0., the neurons' model 5 neurons"
    ):
        neuron_units(LAYERS, "gate", Sites.rectangle(2, 5))
