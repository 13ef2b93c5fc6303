"""Other tools do with exported neurons what lape does. They are in the environment of the benchmark alone."""

import numpy as np
import pandas as pd
import pytest
import torch
from architectures import ids, tiny
from tiny_data import ROOT

from lape.errors import LapeError
from lape.export.transformer_lens import deactivating, hook_points
from lape.interventions.perturbation import deactivate
from lape.model.ffn import find_ffn
from lape.neurons.table import Neurons


def some_neurons(model) -> Neurons:
    """Neurons of two languages, in all layers but one."""
    sites = find_ffn(model).sites
    numbers = np.arange(0, sites.starts[-2], 5)
    owners = [("fr", "ja") if number % 3 else ("fr",) for number in numbers]
    return Neurons(pd.DataFrame(sites.located(numbers)).assign(languages=owners), ("fr", "ja"), sites)


@torch.inference_mode()
def logits(model, neurons: Neurons, language: str) -> torch.Tensor:
    with deactivate(model, neurons, language):
        return model(input_ids=ids(), use_cache=False).logits


def test_hook_points_are_the_layers_with_a_neuron():
    neurons = some_neurons(tiny("llama"))
    points = hook_points(neurons, "ja")
    assert list(points) == [f"blocks.{layer}.mlp.hook_post" for layer in neurons.indices("ja")]
    assert all(map(np.array_equal, points.values(), neurons.indices("ja").values()))
    with pytest.raises(LapeError, match="are of a mixture of experts, whose neurons have no hook point; use lape"):
        hook_points(some_neurons(tiny("mixtral")), "ja")


@pytest.mark.parametrize("model_type", ["llama", "gpt2"])
def test_transformer_lens_switches_the_same_neurons_off(model_type):
    pytest.importorskip("transformer_lens")
    from bench.peers import bridge_of

    model = tiny(model_type)
    model.set_attn_implementation("eager")  # as TransformerLens computes it
    neurons, bridge = some_neurons(model), bridge_of(model)
    wanted = logits(model, neurons, "fr")
    with torch.inference_mode():
        plain = bridge(ids())
        found = bridge.run_with_hooks(ids(), fwd_hooks=deactivating(neurons, "fr"))
        for hook in deactivating(neurons, "fr"):
            bridge.add_hook(*hook)
        assert torch.equal(bridge(ids()), found)
    torch.testing.assert_close(found, wanted)
    assert (found - plain).abs().max() > 1e-3


def test_the_pages_lines_for_nnsight_switch_the_same_neurons_off():
    pytest.importorskip("nnsight")
    page = (ROOT / "docs/elsewhere.md").read_text(encoding="utf-8")
    [lines] = [block.split("```")[0] for block in page.split("```python\n") if block.startswith("from nnsight import")]
    model = tiny("llama")
    neurons = some_neurons(model)
    names = {"model": model, "neurons": neurons, "ids": ids()}
    wanted = logits(model, neurons, "fr")
    # nnsight reads the source of a block, which it looks for in a file.
    import linecache

    linecache.cache["page.py"] = (len(lines), None, lines.splitlines(keepends=True), "page.py")
    with torch.inference_mode():
        exec(compile(lines, "page.py", "exec"), names)
    torch.testing.assert_close(names["logits"], wanted)
