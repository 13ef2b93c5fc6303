"""A language steered towards, and one switched off and another on: what the workflow's settings do."""

import numpy as np
import pandas as pd
import pytest
import torch

import lape
from lape.errors import LapeError
from lape.generation.conditions import setting_perturbation
from lape.generation.settings import Setting
from lape.interventions.perturbation import Perturbation, perturbed
from lape.model.sites import Sites

IDS = torch.arange(2, 12).view(2, 5)
NEURONS = lape.Neurons(
    pd.DataFrame(
        {
            "layer": [0, 0, 1, 2, 2],
            "index": [1, 5, 7, 0, 31],
            "entropy": [0.3, 0.1, 0.4, 0.2, 0.5],
            "languages": [("fr",), ("fr", "en"), ("fr",), ("en",), ("fr",)],
        }
    ),
    ("en", "fr", "ja"),
    Sites.rectangle(3, 32),
)


@pytest.fixture
def values(tiny_model) -> lape.SteeringValues:
    counted = lape.record_statistics(tiny_model, torch.arange(0, 64).view(4, 16))
    return lape.steering_values(NEURONS, dict.fromkeys(NEURONS.sets, counted))


@pytest.mark.parametrize("dose", [None, "add-all-2-1", lape.Dose("set", 1.5, "generated", 0.5)])
@torch.inference_mode()
def test_steer_does_what_the_setting_steered_does(tiny_model, values, dose):
    options = {} if dose is None else {"dose": dose}
    with lape.steer(tiny_model, values, "fr", **options) as firing:
        found = tiny_model(input_ids=IDS).logits
    parsed = lape.Dose() if dose is None else lape.Dose.parse(dose) if isinstance(dose, str) else dose
    with perturbed(tiny_model, setting_perturbation(Setting("steered", dose=parsed), "fr", "fr", NEURONS, values)):
        assert torch.equal(found, tiny_model(input_ids=IDS).logits)
    assert sum(firing.neurons.values()) == (2 if isinstance(dose, lape.Dose) else 4)


@torch.inference_mode()
def test_switch_does_what_the_cross_lingual_setting_does(tiny_model, values):
    with lape.switch(tiny_model, values, off="fr", on="en") as firing:
        found = tiny_model(input_ids=IDS).logits
    setting = Setting("cross", "fr", lape.Dose())
    with perturbed(tiny_model, setting_perturbation(setting, "fr", "en", NEURONS, values)):
        assert torch.equal(found, tiny_model(input_ids=IDS).logits)
    # Neuron 5 of layer 0 belongs to both: it is steered, not set to zero.
    assert firing.neurons == {0: 2, 1: 1, 2: 2}


@torch.inference_mode()
def test_several_languages_are_switched_off(tiny_model, values):
    with lape.switch(tiny_model, values, off=["fr", "en"], on="ja") as firing:
        found = tiny_model(input_ids=IDS).logits
    with lape.deactivate(tiny_model, NEURONS, ["fr", "en"]):
        assert torch.equal(found, tiny_model(input_ids=IDS).logits)
    assert firing.neurons == {0: 2, 1: 1, 2: 2}  # neuron 5 of layer 0, which both languages share, counts once


@torch.inference_mode()
def test_a_language_without_neurons_is_told(tiny_model, values, caplog):
    with lape.steer(tiny_model, values, "ja") as firing:
        tiny_model(input_ids=IDS)
    assert repr(firing) == "nothing is perturbed" and firing.neurons == {} and "ja has no neurons" in caplog.text


def test_what_cannot_be_switched_is_refused(tiny_model, values):
    with pytest.raises(LapeError, match=r"'fr' is both off and on; use `lape.steer` or `lape.deactivate`"):
        with lape.switch(tiny_model, values, off="fr", on="fr"):
            pass
    with pytest.raises(LapeError, match="no set 'de'"), lape.switch(tiny_model, values, off="de", on="fr"):
        pass
    with (
        pytest.raises(LapeError, match="dose 'twice': is not of the form"),
        lape.steer(tiny_model, values, "fr", dose="twice"),
    ):
        pass
    other = lape.SteeringValues(values.table, values.sets, Sites.rectangle(4, 32))
    with pytest.raises(LapeError, match="4 layers x 32 neurons, this one has 3 layers"):
        with lape.steer(tiny_model, other, "fr"):
            pass


@torch.inference_mode()
def test_what_is_done_and_what_fired_say_what_they_are(tiny_model, values):
    summed = Perturbation({0: np.array([1, 2])}) + Perturbation({2: np.array([3])}, "scale", 2.0, "prompt")
    title, _, *rows = repr(summed).splitlines()
    assert title == "perturbation of 3 neurons"
    assert [row.split() for row in rows] == [
        ["set", "to", "0", "2", "1", "all"],
        ["multiplied", "by", "2", "1", "3", "prompt"],
    ]
    with perturbed(tiny_model, summed) as firing:
        assert repr(firing) == "3 neurons or units are perturbed, in layers 1, 3 (from 1): no forward pass ran yet"
        tiny_model(input_ids=IDS)
    assert repr(firing) == (
        f"3 neurons or units are perturbed, in layers 1, 3 (from 1): {sum(firing.changed.values())} activations "
        "changed in 1 forward passes of 10 tokens in all, padding included"
    )
    assert firing._repr_html_() == f"<p>{firing!r}</p>"
