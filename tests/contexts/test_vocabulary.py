"""What a neuron writes, against what the logits do when the neuron's output is nudged."""

import pytest
import torch
from architectures import tiny

from lape.contexts.vocabulary import vocabulary_effect, vocabulary_effects
from lape.errors import LapeError
from lape.model.ffn import find_ffn

NUDGE = 1e-4
IDS = torch.tensor([[5, 9, 3, 7, 11, 2]])
# The norms that a neuron of the last layer passes, and whether they take the mean away.
NORMS = {
    "llama": (["model.norm"], False),
    "gemma3_text": (["model.layers.1.post_feedforward_layernorm", "model.norm"], False),
    "gpt2": (["transformer.ln_f"], True),
    "gpt_neox": (["gpt_neox.final_layer_norm"], True),
    "opt": (["model.decoder.final_layer_norm"], True),
}


@pytest.mark.parametrize("model_type", NORMS)
def test_a_neuron_of_the_last_layer_moves_the_logits_by_its_effect(model_type):
    """A nudge changes the size that a norm divides by, too, which moves the logits along one direction per norm."""
    model = tiny(model_type).double().eval()
    paths, centred = NORMS[model_type]
    with torch.no_grad():
        for path in paths:  # weights that differ from 1, and from one another
            model.get_submodule(path).weight.add_(torch.linspace(-0.5, 0.5, 16))
    ffn, sizes = find_ffn(model), []

    def measure(module, inputs):
        hidden = inputs[0][0, -1]
        eps = getattr(module, "variance_epsilon", None) or module.eps
        sizes.append(((hidden - hidden.mean() if centred else hidden).square().mean() + eps).sqrt())

    hooks = [model.get_submodule(path).register_forward_pre_hook(measure) for path in paths]
    with torch.no_grad():
        before = model(IDS).logits[0, -1]
    for hook in hooks:
        hook.remove()
    changes = []
    for index in range(12):
        nudge = torch.zeros(ffn.parts[-1].site.width, dtype=torch.float64)
        nudge[index] = NUDGE
        hook = ffn.parts[-1].module("down").register_forward_pre_hook(lambda _, inputs, by=nudge: (inputs[0] + by,))
        with torch.no_grad():
            changes.append((model(IDS).logits[0, -1] - before) / NUDGE)
        hook.remove()
    numbers = [ffn.sites.number(1, index) for index in range(12)]
    (effects,) = vocabulary_effects(model, numbers)
    rest = torch.stack(changes) * torch.stack(sizes).prod() - effects
    assert torch.linalg.svdvals(rest)[len(paths)] < 1e-3 * torch.linalg.svdvals(effects.double())[len(paths)]
    assert (vocabulary_effect(model, 1, 3) - effects[3]).abs().max() < 1e-5


def test_experts_and_projections_of_another_kind_write_their_own_columns():
    """An expert's column is taken from all experts' weights, and a quantised projection is asked for its answer."""
    from lape.contexts import vocabulary

    model = tiny("mixtral").eval()
    for part in find_ffn(model).parts:
        experts = part.module("experts")
        assert torch.equal(vocabulary._column(part, 2, 7), experts.down_proj[2, :, 7])
    model = tiny("llama").eval()
    (site, _) = find_ffn(model).parts
    down = site.module("down")
    plain = vocabulary._column(site, 0, 7)
    down.__class__ = type("Packed", (torch.nn.Linear,), {})
    with torch.no_grad():
        assert torch.allclose(vocabulary._column(site, 0, 7), plain)


def test_a_neuron_that_is_not_there_is_refused():
    with pytest.raises(LapeError, match="names a neuron that the model does not have"):
        vocabulary_effect(tiny("llama"), 0, 10_000)
