"""Directions of languages in the hidden states: their means, and what is added behind which layer."""

import numpy as np
import pytest
import torch

from lape.errors import LapeError
from lape.interventions.directions import Directions, pushed
from lape.interventions.dose import Push
from lape.interventions.projecting import projected_out
from lape.statistics.hidden_means import hidden_means

IDS = torch.arange(2, 42).view(4, 10)


def hidden_states(model, ids=IDS) -> list[torch.Tensor]:
    """What leaves each layer, the last one's before the final norm."""
    found = []
    hooks = [
        layer.register_forward_hook(
            lambda module, inputs, output: found.append(output[0] if isinstance(output, tuple) else output)
        )
        for layer in model.get_decoder().layers
    ]
    with torch.no_grad():
        model(ids)
    for hook in hooks:
        hook.remove()
    return found


def test_means_leave_bos_out_and_do_not_depend_on_batches(tiny_model):
    expected = torch.stack([hidden[:, 1:].double().mean((0, 1)) for hidden in hidden_states(tiny_model)]).numpy()
    np.testing.assert_allclose(hidden_means(tiny_model, [IDS], 1), expected, rtol=1e-6)
    np.testing.assert_allclose(hidden_means(tiny_model, [IDS[:1], IDS[1:]], 1), expected, rtol=1e-5, atol=1e-7)
    with pytest.raises(LapeError, match="no position"):
        hidden_means(tiny_model, [])


def test_a_direction_is_a_mean_less_the_other_languages():
    means = {
        language: np.full((2, 3), value) for language, value in zip(("en", "fr", "ja"), (1.0, 2.0, 6.0), strict=True)
    }
    directions = Directions.of_means(means)
    assert directions.values[:, 0, 0].tolist() == [-3.0, -1.5, 4.5]
    assert {layer: added[0] for layer, added in directions.pushes("ja", Push(0.5, 2)).items()} == {0: 9.0}
    assert sorted(directions.pushes("ja", Push(None, 1))) == [0, 1] and directions.pushes("ja", Push(1, 0)) == {}
    with pytest.raises(LapeError, match="de"):
        directions.pushes("de", Push(0.5, 1))


@pytest.mark.parametrize("backend", ["extension", "reference"])
def test_each_row_gets_its_own_push_behind_its_layer(tiny_model, backend):
    width = tiny_model.config.hidden_size
    before = hidden_states(tiny_model)
    pushes = [{1: np.linspace(-1, 1, width, dtype=np.float32)}, {}]
    with pushed(tiny_model, pushes, torch.tensor([0, 1, 0, 1]), backend) as firing:
        after = hidden_states(tiny_model)
    assert torch.equal(before[0], after[0]) and torch.equal(before[2][1::2], after[2][1::2])
    assert torch.allclose(after[1][::2], before[1][::2] + torch.from_numpy(pushes[0][1]))
    assert not torch.allclose(after[2][::2], before[2][::2])
    firing.check(IDS.numel())
    (own, changed), (none, nothing) = firing.by_perturbation
    assert (own, none, nothing) == ({1: width}, {}, 0) and changed >= 20 * (width - 1)
    assert torch.equal(hidden_states(tiny_model)[2], before[2])


def test_a_direction_is_projected_out_behind_its_layer(tiny_model):
    direction = np.linspace(-3, 1, tiny_model.config.hidden_size)
    before = hidden_states(tiny_model)
    with projected_out(tiny_model, {1: direction}) as projection:
        after = hidden_states(tiny_model)
    unit = torch.from_numpy(direction / np.linalg.norm(direction)).float()
    assert torch.equal(before[0], after[0]) and not torch.allclose(after[2], before[2])
    assert (before[1] @ unit).abs().max() > 0.1 > 1e-4 > (after[1] @ unit).abs().max()
    # What is orthogonal to the direction stays.
    assert torch.allclose(after[1] + (before[1] @ unit)[..., None] * unit, before[1], atol=1e-6)
    projection.check(IDS.numel())
    with pytest.raises(LapeError, match=r"layer 2 .*saw 40 positions of 41"):
        projection.check(IDS.numel() + 1)
    assert torch.equal(hidden_states(tiny_model)[2], before[2])


@pytest.mark.parametrize("use", [lambda model, own: pushed(model, [own]), projected_out])
def test_directions_of_another_model_are_refused(tiny_model, use):
    for layer, width in ((7, tiny_model.config.hidden_size), (0, 3)):
        with (
            pytest.raises(LapeError, match="make them on this model"),
            use(tiny_model, {layer: np.ones(width, np.float32)}),
        ):
            pass


@pytest.mark.parametrize("text", ["0.5-1", "all-0.1", "1-2"])
def test_a_push_is_read_as_it_is_written(text):
    assert str(Push.parse(text)) == text


@pytest.mark.parametrize("text", ["", "0.5", "half-1", "0-1", "1.5-1", "0.5--1"])
def test_a_push_of_another_form_is_refused(text):
    with pytest.raises(LapeError, match="push"):
        Push.parse(text)


def test_depths_are_layers_of_any_model():
    assert [Push(depth, 1).layers(18) for depth in (0.3, 0.5, 1.0)] == [[4], [8], [17]] and Push(0.1, 1).layers(2) == [
        0
    ]
