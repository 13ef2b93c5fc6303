"""What fires on each token, in models of several kinds: it adds up to what the statistics count."""

import numpy as np
import pandas as pd
import pytest
import torch
from architectures import ids, tiny

import lape
from lape.errors import LapeError
from lape.interventions.perturbation import Perturbation, perturbed
from lape.model.ffn import find_ffn
from lape.model.sites import Sites
from lape.playground.firing import FiringCounter, leading


def neurons_of(model) -> lape.Neurons:
    """Every second neuron of a model, for fr, en or both in turn."""
    sites = find_ffn(model).sites
    numbers = np.arange(0, sites.neurons, 2)
    owners = [(("fr",), ("en",), ("en", "fr"))[number % 3] for number in range(len(numbers))]
    return lape.Neurons(pd.DataFrame({**sites.located(numbers), "languages": owners}), ("en", "fr"), sites)


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "falcon", "mixtral", "phi3"])
@torch.inference_mode()
def test_what_fires_adds_up_to_the_statistics(model_type):
    model = tiny(model_type)
    neurons, text = neurons_of(model), ids()[:1]
    counter = FiringCounter(model, neurons, text.shape[1])
    with perturbed(model, Perturbation({}), see=counter.see):
        model(input_ids=text)
    counted = lape.record_statistics(model, text).count.ravel()
    expected = [counted[neurons[name].numbers()].sum() for name in neurons]
    assert counter.counts().sum(0).tolist() == expected and min(expected) > 0


@torch.inference_mode()
def test_a_token_counts_once_it_is_perturbed(tiny_model):
    neurons, text = neurons_of(tiny_model), torch.arange(2, 8)[None]
    for value, expected in ((0.0, 0), (1.0, neurons.counts()["fr"])):
        counter = FiringCounter(tiny_model, neurons, 6)
        with perturbed(tiny_model, Perturbation(neurons.indices("fr"), values=value), see=counter.see):
            tiny_model(input_ids=text)
        assert counter.counts()[:, 1].tolist() == [expected] * 6


def test_neurons_of_another_model_and_an_unseen_layer_are_refused(tiny_model):
    neurons = neurons_of(tiny_model)
    with pytest.raises(LapeError, match="its activation was seen at 0 of 6 tokens"):
        FiringCounter(tiny_model, neurons, 6).counts()
    with pytest.raises(LapeError, match="this one has 3 layers"):
        FiringCounter(tiny_model, lape.Neurons(neurons.table, neurons.sets, Sites.rectangle(4, 32)), 6)


def test_the_leading_language_has_the_largest_share():
    assert leading(np.array([[3, 5], [3, 2], [0, 0], [1, 0]]), [3, 10]) == [0, 0, None, 0]
    assert leading(np.array([[0, 1]]), [0, 10]) == [1]
