"""Find the neurons that a language model uses for one language, switch them off or on, and measure what happens.

In a notebook, on any Hugging Face causal LM:

    >>> import lape
    >>> model, tokenizer = lape.example_model()  # or your own
    >>> statistics = {
    ...     code: lape.record_statistics(model, lape.example_texts(code), tokenizer) for code in ("en", "fr", "zh")
    ... }
    >>> neurons = lape.select_lape(statistics)
    >>> with lape.deactivate(model, neurons, "fr"):
    ...     print(lape.answer(model, tokenizer, "Quelle est la recette de la mousse au chocolat ?"))
    >>> values = lape.steering_values(neurons, statistics)
    >>> with lape.steer(model, values, "fr"):
    ...     print(lape.answer(model, tokenizer, "How do I bake bread?"))

The names are imported on first use, so that `import lape` costs nothing. They are, group by group:

"""

import importlib
import textwrap

# Each group of public names, in the order in which a study uses them, and the module that defines each name.
_GROUPS = {
    "A model and text to begin with": {
        "example_model": "lape.embedded.model",
        "example_texts": "lape.embedded.texts",
    },
    "A model and where its activations are": {
        "load_model": "lape.model.loading",
        "load_tokenizer": "lape.model.tokenizer",
        "find_ffn": "lape.model.ffn",
        "FFN": "lape.model.model_sites",
        "Site": "lape.model.sites",
        "Sites": "lape.model.sites",
        "linear_layers": "lape.model.linear",
        "LinearLayer": "lape.model.linear",
    },
    "Counting": {
        "batches": "lape.statistics.feeding",
        "record_statistics": "lape.statistics.feeding",
        "record": "lape.statistics.recording",
        "ActivationRecorder": "lape.statistics.recording",
        "counting": "lape.statistics.recording",
        "ActivationStatistics": "lape.statistics.sums",
    },
    "Neurons of a language": {
        "activation_probabilities": "lape.neurons.selection",
        "mean_activations": "lape.neurons.selection",
        "entropies": "lape.neurons.selection",
        "select_lape": "lape.neurons.selection",
        "select_lave": "lape.neurons.selection",
        "select_lap": "lape.neurons.selection",
        "activity_matched_control": "lape.neurons.controls",
        "random_control": "lape.neurons.controls",
        "Neurons": "lape.neurons.table",
        "read_neurons": "lape.neurons.released",
        "read_counts": "lape.neurons.released",
        "write_neurons": "lape.neurons.released",
        "Source": "lape.neurons.released",
    },
    "One neuron": {
        "inspect": "lape.contexts.inspection",
        "Inspection": "lape.contexts.inspected",
        "vocabulary_effect": "lape.contexts.vocabulary",
    },
    "Neurons switched off and steered": {
        "deactivate": "lape.interventions.perturbation",
        "perturbed": "lape.interventions.perturbation",
        "Perturbation": "lape.interventions.perturbation",
        "Firing": "lape.interventions.perturbation",
        "steer": "lape.interventions.switching",
        "switch": "lape.interventions.switching",
        "steering_values": "lape.interventions.steering",
        "SteeringValues": "lape.interventions.steering",
        "trainable": "lape.interventions.tuning",
        "Trainable": "lape.interventions.tuning",
        "setting_perturbation": "lape.generation.conditions",
        "Dose": "lape.interventions.dose",
        "Setting": "lape.generation.settings",
    },
    "What the model says then, and how likely a text is": {
        "answer": "lape.generation.asking",
        "answers": "lape.generation.asking",
        "Template": "lape.generation.prompts",
        "greedy_answers": "lape.generation.decoding",
        "sampled_answers": "lape.generation.decoding",
        "Answer": "lape.generation.decoding",
        "identify": "lape.text.identification",
        "fluency": "lape.evaluation.scores",
        "distinct": "lape.evaluation.scores",
        "chunk_nll": "lape.evaluation.perplexity",
        "likelihood_measures": "lape.evaluation.perplexity",
    },
    "Parameters of a language (PV)": {
        "select_parameters": "lape.parameter_variation.selection",
        "control_parameters": "lape.parameter_variation.controls",
        "magnitude_matched_controls": "lape.parameter_variation.controls",
        "Parameters": "lape.parameter_variation.parameters",
        "zeroed": "lape.interventions.zeroing",
        "Zeroing": "lape.interventions.zeroing",
    },
    "Expert units": {
        "responses": "lape.expert_units.responses",
        "Responses": "lape.expert_units.blocks",
        "average_precision": "lape.expert_units.average_precision",
        "neuron_part": "lape.model.linear",
        "select_units": "lape.expert_units.selection",
        "activity_matched_units": "lape.expert_units.controls",
        "ExpertUnits": "lape.expert_units.selection",
        "overwritten": "lape.interventions.overwriting",
        "UnitPerturbation": "lape.interventions.overwriting",
    },
    "How alike languages are inside the model": {
        "sentence_embeddings": "lape.model.embeddings",
        "ses": "lape.evaluation.similarity",
        "dominance": "lape.evaluation.similarity",
    },
    "What bad input raises": {
        "LapeError": "lape.errors",
    },
}
_PUBLIC = {name: module for names in _GROUPS.values() for name, module in names.items()}
__all__ = list(_PUBLIC)
__doc__ += "".join(
    f"{group}:\n{textwrap.fill(', '.join(names), 100, initial_indent='    ', subsequent_indent='    ')}\n"
    for group, names in _GROUPS.items()
)


def __getattr__(name: str):
    if name == "__version__":
        return _version()
    if name not in _PUBLIC:
        raise AttributeError(f"module 'lape' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _version() -> str:
    """The version that is installed; "0+unknown" where the folder is used without being installed."""
    from importlib import metadata

    try:
        return metadata.version("lape")
    except metadata.PackageNotFoundError:
        return "0+unknown"
