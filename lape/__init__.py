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
    "ActivationStatistics": "lape.statistics.sums",
    "record": "lape.statistics.recording",
    "record_statistics": "lape.statistics.recording",
    "counting": "lape.statistics.recording",
    "activation_probabilities": "lape.neurons.selection",
    "entropies": "lape.neurons.selection",
    "mean_activations": "lape.neurons.selection",
    "select_lape": "lape.neurons.selection",
    "select_lave": "lape.neurons.selection",
    "select_lap": "lape.neurons.selection",
    "random_control": "lape.neurons.controls",
    "Neurons": "lape.neurons.table",
    "deactivate": "lape.interventions.perturbation",
    "Perturbation": "lape.interventions.perturbation",
    "perturbed": "lape.interventions.perturbation",
    "Dose": "lape.interventions.dose",
    "SteeringValues": "lape.interventions.steering",
    "steering_values": "lape.interventions.steering",
    "greedy_answers": "lape.generation.decoding",
    "linear_layers": "lape.model.linear",
    "responses": "lape.expert_units.responses",
    "ExpertUnits": "lape.expert_units.selection",
    "select_units": "lape.expert_units.selection",
    "overwritten": "lape.interventions.overwriting",
    "sampled_answers": "lape.generation.decoding",
    "sentence_embeddings": "lape.model.embeddings",
    "ses": "lape.evaluation.similarity",
    "dominance": "lape.evaluation.similarity",
    "select_parameters": "lape.parameter_variation.selection",
    "control_parameters": "lape.parameter_variation.selection",
    "Parameters": "lape.parameter_variation.parameters",
    "zeroed": "lape.interventions.zeroing",
    "chunk_nll": "lape.evaluation.perplexity",
    "likelihood_measures": "lape.evaluation.perplexity",
    "find_ffn": "lape.model.ffn",
    "load_model": "lape.model.loading",
    "LapeError": "lape.errors",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'lape' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
