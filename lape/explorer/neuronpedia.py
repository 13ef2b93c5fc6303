"""Pages of neurons on neuronpedia.org, for the models that it has."""

_SITE = "https://www.neuronpedia.org"
# End of a checkpoint's name in lower case -> its name there, and whether there is a page for every neuron, not only for
# the features of sparse autoencoders. A neuron's page is <model>/<layer from 0>/<index>.
_MODELS = {
    "gpt2": ("gpt2-small", True),
    "gpt2-small": ("gpt2-small", True),
    "pythia-70m-deduped": ("pythia-70m-deduped", False),
    "gemma-2-2b": ("gemma-2-2b", False),
    "gemma-2-9b": ("gemma-2-9b", False),
    "llama-3.1-8b": ("llama3.1-8b", False),
    "gemma-3-270m-it": ("gemma-3-270m-it", False),
    "gemma-3-1b-it": ("gemma-3-1b-it", False),
    "gemma-3-4b-it": ("gemma-3-4b-it", False),
    "gemma-3-27b-it": ("gemma-3-27b-it", False),
}


def model_page(*names: str | None) -> tuple[str, bool] | None:
    """The address of a model's page, and whether the model's neurons have pages below it.

    Args:
        *names: names of the model, such as its repository and its name in the catalogue.

    Returns:
        None where the site has no model of any of the names.
    """
    for name in filter(None, names):
        if found := _MODELS.get(name.rstrip("/").rpartition("/")[2].lower()):
            return f"{_SITE}/{found[0]}", found[1]
    return None
