"""Find the neurons a language model uses for one language, switch them off, and measure what happens.

In a notebook, on any Hugging Face causal LM:

    >>> import lape
    >>> statistics = {
    ...     language: lape.record_statistics(model, batches[language])  # iterables of token ids [B, T]
    ...     for language in ("en", "fr", "ja")
    ... }
    >>> neurons = lape.select_lape(statistics)
    >>> with lape.deactivate(model, neurons, "fr"):
    ...     output = model.generate(**prompt)

The functions are imported on first use, so that `import lape` costs nothing.
"""

import importlib

_PUBLIC = {
    "ActivationStatistics": "lape.statistics",
    "record": "lape.recording",
    "record_statistics": "lape.recording",
    "counting": "lape.recording",
    "activation_probabilities": "lape.selection",
    "entropies": "lape.selection",
    "mean_activations": "lape.selection",
    "select_lape": "lape.selection",
    "select_lave": "lape.selection",
    "select_lap": "lape.selection",
    "random_control": "lape.controls",
    "Neurons": "lape.neurons",
    "deactivate": "lape.perturbation",
    "Perturbation": "lape.perturbation",
    "perturbed": "lape.perturbation",
    "Dose": "lape.generation.settings",
    "SteeringValues": "lape.steering",
    "steering_values": "lape.steering",
    "greedy_answers": "lape.generation.decoding",
    "linear_layers": "lape.expert_units.linear",
    "responses": "lape.expert_units.responses",
    "ExpertUnits": "lape.expert_units.selection",
    "select_units": "lape.expert_units.selection",
    "overwritten": "lape.expert_units.intervention",
    "sampled_answers": "lape.generation.decoding",
    "sentence_embeddings": "lape.structure.embeddings",
    "ses": "lape.structure.similarity",
    "dominance": "lape.structure.similarity",
    "select_parameters": "lape.parameter_variation.selection",
    "control_parameters": "lape.parameter_variation.selection",
    "Parameters": "lape.parameter_variation.parameters",
    "zeroed": "lape.parameter_variation.zeroing",
    "chunk_nll": "lape.perplexity",
    "likelihood_measures": "lape.perplexity",
    "find_ffn": "lape.ffn",
    "load_model": "lape.model",
    "LapeError": "lape.errors",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'lape' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
