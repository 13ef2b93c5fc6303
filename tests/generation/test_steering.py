"""Settings by their names, steering values from statistics, and what a setting does to the activations."""

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_data import LANGUAGES

from lape.artifacts.files import write_header
from lape.errors import LapeError
from lape.generation.conditions import setting_perturbation
from lape.generation.settings import Setting
from lape.interventions.dose import Dose
from lape.interventions.perturbation import perturbed
from lape.interventions.steering import SteeringValues, steering_values
from lape.model.ffn import find_ffn
from lape.model.sites import Sites
from lape.neurons.table import Neurons
from lape.statistics.feeding import record_statistics

SETS = ("en", "fr", "no")


def neurons(**columns) -> Neurons:
    table = pd.DataFrame(
        {
            "layer": [0, 0, 1, 2, 2],
            "index": [1, 5, 7, 0, 31],
            "entropy": [0.3, 0.1, 0.4, 0.2, 0.5],
            "languages": [("fr",), ("fr", "no"), ("fr",), ("no",), ("fr", "en")],
        }
    )
    return Neurons(table.drop(columns=columns.get("without", [])), SETS, Sites.rectangle(3, 32))


@pytest.fixture
def statistics(tiny_model):
    torch.manual_seed(1)
    return {language: record_statistics(tiny_model, [torch.randint(2, 400, (4, 16))]) for language in SETS}


@pytest.fixture
def values(statistics) -> SteeringValues:
    return steering_values(neurons(), statistics)


def test_a_value_is_the_mean_activation_on_the_language(tiny_model, values):
    """Against activations that a plain hook collected."""
    torch.manual_seed(1)
    seen = {}
    for layer, module in enumerate(find_ffn(tiny_model).modules("activation")):
        module.register_forward_hook(lambda module, inputs, output, layer=layer: seen.update({layer: output}))
    for language in SETS:
        with torch.inference_mode():
            tiny_model(input_ids=torch.randint(2, 400, (4, 16)))
        rows = values.table[values.table["language"] == language]
        places = zip(rows["layer"], rows["index"], strict=True)
        expected = [seen[layer][..., index].double().mean().item() for layer, index in places]
        np.testing.assert_allclose(rows["mean"], expected, rtol=1e-5, atol=1e-7)
    sizes = values.table.groupby("language").size()
    assert sizes.to_dict() == {"en": 1, "fr": 4, "no": 2}


def test_statistics_that_do_not_fit_are_refused(statistics):
    del statistics["no"]
    with pytest.raises(LapeError, match="no statistics of no; pass"):
        steering_values(neurons(), statistics)
    other = Neurons(neurons().table, SETS, Sites.rectangle(4, 32))
    with pytest.raises(LapeError, match="4 layers x 32 neurons, the statistics of en are of another"):
        steering_values(other, statistics)


def test_values_come_back_from_disk_to_the_last_bit(tmp_path, values):
    path = tmp_path / "lape.tsv"
    values.save(path)
    shape = {"sets": list(SETS), "layers": 3, "neurons_per_layer": 32, "experts": 1}
    write_header(path.with_suffix(".json"), "steering", **shape, parameters={}, inputs=[], outputs=[path])
    again = SteeringValues.load(path.with_suffix(".json"))
    pd.testing.assert_frame_equal(again.table, values.table)
    path.write_text(path.read_text().replace("mean", "mode"))
    with pytest.raises(LapeError, match="is not the file that"):
        SteeringValues.load(path.with_suffix(".json"))


@pytest.mark.parametrize(
    ("dose", "value"),
    [
        (Dose("set", 2.0), lambda x, mean: np.full_like(x, 2 * mean)),
        (Dose("max", 0.5), lambda x, mean: np.maximum(x, 0.5 * mean)),
        (Dose("add", 1.5), lambda x, mean: x + 1.5 * mean),
        (Dose("scale", 3.0), lambda x, mean: 4 * x),
    ],
)
def test_what_a_dose_makes_of_an_activation(tiny_model, values, dose, value):
    seen = []
    module = find_ffn(tiny_model).modules("activation")[0]
    ids = torch.arange(2, 12).view(2, 5)

    def pass_through(perturbation):
        with perturbed(tiny_model, perturbation):
            handle = module.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
            with torch.inference_mode():
                tiny_model(input_ids=ids)
            handle.remove()

    pass_through(values.perturbation("fr", Dose(strength=0)))
    pass_through(values.perturbation("fr", dose))
    before, after = (activations.double().numpy() for activations in seen)
    means = values.table.set_index(["language", "layer", "index"])["mean"]
    for index in (1, 5):
        expected = value(before[..., index], means["fr", 0, index])
        np.testing.assert_allclose(after[..., index], expected, rtol=1e-5, atol=1e-6)
    others = [index for index in range(32) if index not in (1, 5)]
    assert (before[..., others] == after[..., others]).all()


@pytest.mark.parametrize("mode", ["set", "max", "add", "scale"])
@torch.inference_mode()
def test_no_strength_and_no_neuron_change_no_bit(tiny_model, values, mode):
    ids = torch.arange(2, 12).view(2, 5)
    logits = tiny_model(input_ids=ids).logits
    alone = SteeringValues(values.table[values.table["language"] != "en"], SETS, Sites.rectangle(3, 32))
    for nothing in (values.perturbation("fr", Dose(mode, 0.0)), alone.perturbation("en", Dose(mode))):
        with perturbed(tiny_model, nothing) as firing:
            assert torch.equal(tiny_model(input_ids=ids).logits, logits)
        assert firing.neurons == {}


def test_a_share_takes_the_lowest_entropies(values, statistics):
    half = values.perturbation("fr", Dose(share=0.5))
    assert {layer: index.tolist() for layer, index in half.indices.items()} == {0: [5, 1]}
    three = values.perturbation("fr", Dose(share=0.51))
    assert {layer: index.tolist() for layer, index in three.indices.items()} == {0: [5, 1], 1: [7]}
    means = values.table.set_index(["language", "layer", "index"])["mean"]
    np.testing.assert_allclose(three.values[0], [means["fr", 0, 5], means["fr", 0, 1]], rtol=1e-6)
    many = SteeringValues(
        pd.concat([values.table[values.table["language"] == "en"]] * 50), SETS, Sites.rectangle(3, 32)
    )
    assert sum(map(len, many.perturbation("en", Dose(share=0.28)).indices.values())) == 14
    control = steering_values(neurons(without=["entropy"]), statistics)
    with pytest.raises(LapeError, match="no entropy to rank them by; take all"):
        control.perturbation("fr", Dose(share=0.5))
    with pytest.raises(LapeError, match="no set 'de'"):
        values.perturbation("de", Dose())


def indices(perturbation) -> list[tuple[str, dict]]:
    parts = [
        (part.mode, {layer: sorted(index.tolist()) for layer, index in part.indices.items()})
        for part in perturbation.parts
    ]
    return [part for part in parts if part[1]]


def test_what_each_setting_perturbs(values):
    def done(name: str, language: str, target: str):
        return indices(setting_perturbation(Setting.parse(name, Dose()), language, target, neurons(), values))

    assert done("normal", "fr", "fr") == []
    assert done("deactivated-no", "fr", "fr") == [("set", {0: [5], 2: [0]})]
    assert done("random", "fr", "fr") == [("set", {0: [1, 5], 1: [7], 2: [31]})]
    assert done("steered", "no", "no") == [("set", {0: [5], 2: [0]})]
    # Neuron 5 of layer 0 is of both languages: it is steered, not switched off.
    assert done("cross-fr", "fr", "no") == [("set", {0: [1], 1: [7], 2: [31]}), ("set", {0: [5], 2: [0]})]
    assert done("cross-fr@add-prompt-1-1", "fr", "no")[1] == ("add", {0: [5], 2: [0]})


def test_settings_by_name():
    default = Dose("max", 2.0)
    assert Setting.parse("steered", default) == Setting("steered", None, default)
    assert Setting.parse("cross_random-zh-Hant", default) == Setting("cross_random", "zh-Hant", default)
    assert Setting.parse("cross-es@add-generated-0.25-0.5", default).dose == Dose("add", 0.25, "generated", 0.5)
    assert [
        Setting.parse(name, default).method for name in ("normal", "random", "deactivated-fr", "steered_random")
    ] == [
        None,
        "active_lape",
        "lape",
        "active_lape",
    ]
    assert Setting.parse("cross-fr", default).pairs(LANGUAGES) == [
        ("fr", other) for other in LANGUAGES if other != "fr"
    ]
    assert Setting.parse("random", default).pairs(LANGUAGES) == [(language, language) for language in LANGUAGES]
    for dose in (Dose(), Dose("scale", 0.00001, "prompt", 0.1)):
        assert Dose.parse(str(dose)) == dose
    with pytest.raises(LapeError, match="'de' is not among the languages"):
        Setting.parse("cross-de", default).pairs(("fr", "ja"))
    for name in ("usual", "deactivated", "steered-fr", "normal@set-all-1-1", "random-fr", "cross-", "steered@"):
        with pytest.raises(LapeError, match="is unknown; use one as"):
            Setting.parse(name, default)
    for dose in ("set-all-1", "set-all-x-1", "set"):
        with pytest.raises(LapeError, match="is not of the form set-all-1-1"):
            Dose.parse(dose)
    for strength, share in ((-1, 1), (float("nan"), 1), (1, 0), (1, 1.5)):
        with pytest.raises(LapeError, match="use"):
            Dose(strength=strength, share=share)
