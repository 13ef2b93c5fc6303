"""The released files of Tang et al. (2024) and of studies after theirs: read neurons and counts, and write neurons.

A neuron file is `list[language][layer]` of int64 index tensors. It names neither its languages nor its model. Languages
without a neuron are missing at its end. In a mixture of experts an index is the place in the layer, expert * width +
index. The repository d-gurgurov/Language-Neurons-Manipulation has the same two forms. That of
kinit-sk/language-neuron-detection is a dictionary which names the languages. Its
`results["mlp_over_threshold_rate"]` has `selected_indices_by_language`, language -> one list of indices per layer, and
`selected_mask`, bool [languages, layers, neurons].

A count file is `{"n": tokens, "over_zero": int32 [layers, neurons]}`; there is one file per language.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lape.artifacts.files import checked, read_json, writing
from lape.artifacts.headers import is_name
from lape.errors import LapeError
from lape.model.sites import Sites, layer_label
from lape.neurons.table import Neurons
from lape.paper import MODELS, key, paper_model
from lape.statistics.sums import ActivationStatistics

# Names of forms of a neuron file.
FORMS = ("lape", "kinit")
# The neurons in a file of kinit-sk: counted as the authors count them, or by gradients.
_KINIT = ("mlp_over_threshold_rate", "mlp_grad_average_activations")
# Layers and neurons per layer of the models whose neurons the authors released beside those of the paper's tables.
_RELEASED = {"mistral7b": (32, 14336), "opt67b": (32, 16384), "phi2": (32, 10240)}


@dataclass(frozen=True)
class Source:
    """The model that a file was made with.

    Attributes:
        name: what tables call the model.
        revision, checkpoint: revision and repository of the model on the hub, where they are known.
        sites: where the model's neurons are; None where that is not known.
        neurons_per_layer: I, where it is known without L.
    """

    name: str
    revision: str | None = None
    checkpoint: str | None = None
    sites: Sites | None = None
    neurons_per_layer: int | None = None

    @classmethod
    def named(cls, name: str, neurons_per_layer: int | None = None) -> "Source":
        """A model by name. A model whose neurons the authors released gets the shape of its checkpoint.

        Args:
            name: name of the model.
            neurons_per_layer: I, for a model whose neurons they did not release.

        Raises:
            LapeError: they released a model of that name with another I.
        """
        model = paper_model(name)
        shape = (model.layers, model.neurons_per_layer) if model else _RELEASED.get(key(name))
        if shape is None:
            return cls(name, neurons_per_layer=neurons_per_layer)
        if neurons_per_layer not in (None, shape[1]):
            raise LapeError(
                f"--neurons-per-layer: {model.name if model else name} has {shape[1]}, not {neurons_per_layer}; leave "
                "it out, or give the model another --name"
            )
        return cls(name, sites=Sites.rectangle(*shape))

    @classmethod
    def described(cls, model_json: str | Path) -> "Source":
        """A model by its artifact model.json.

        Raises:
            LapeError: the header is missing or of another kind.
        """
        header = read_json(model_json, "model")
        checkpoint = header["path"] if header["source"] == "hub" else None
        return cls(header["name"], header["revision"], checkpoint, Sites.of(header))

    def languages(self, count: int) -> list[str]:
        """The languages of a released file of this model that lists `count` of them: the paper's first ones.

        The list is empty for a model whose neurons the authors did not release.
        """
        known = paper_model(self.name) or key(self.name) in _RELEASED
        return list(MODELS[0].counts().index[:count]) if known else []


@dataclass(frozen=True)
class Export:
    """What the header of an exported file says of it.

    Attributes:
        header: path of the header.
        languages: the languages of the file, in the file's order.
        method: the method that selected the neurons.
        source: their model.
    """

    header: Path
    languages: list[str]
    method: str
    source: Source

    @classmethod
    def beside(cls, path: str | Path) -> "Export | None":
        """The header beside an exported file, `<file>.json`; None where there is none, as for a released file.

        Raises:
            LapeError: the header is of another kind, or was written for another file.
        """
        header_path = Path(f"{path}.json")
        if not header_path.is_file():
            return None
        header = read_json(header_path, "export")
        checked(header_path, header, "")
        source = Source(header["model"], header["model_revision"], header.get("checkpoint"), Sites.of(header))
        return cls(header_path, header["languages"], header["method"] or "lape", source)


def read_neurons(path: str | Path, languages: Sequence[str] | None, source: Source) -> Neurons:
    """Read a released neuron file, in any of the forms that this module describes.

    Args:
        path: the .pth or .pt file. It is loaded without running any code that it may carry.
        languages: the languages of the file, in the file's order. None for those that the file names, or for those of
            the paper, where `source` is a model whose neurons the authors released.
        source: the model; its neurons per layer must be known, unless the file says how many there are.

    Returns:
        the neurons, each with the languages that it is listed for. A released file tells no entropy.

    Raises:
        LapeError: the file is no released neuron file, or does not fit the languages or the model.
    """
    content = _load(path)
    if isinstance(content, dict):
        named, content, width = _of_kinit(path, content)
        if languages not in (None, named):
            raise LapeError(f"--languages: {path} names {', '.join(named)}; leave --languages out")
        wanted = source.sites.shape[-1] if source.sites else source.neurons_per_layer or width
        if wanted != width:
            raise LapeError(f"{path}: has {width} neurons per layer, not the {wanted} of {source.name}; pass its model")
        languages, source = named, replace(source, neurons_per_layer=width)
    if source.sites is None and source.neurons_per_layer is None:
        known = ", ".join(model.name for model in MODELS)
        raise LapeError(
            f"{path}: does not say how many neurons a layer of {source.name} has; pass --model, --neurons-per-layer, "
            f"or a --name of the paper ({known})"
        )
    if not (isinstance(content, list) and content and all(isinstance(layers, list) and layers for layers in content)):
        raise LapeError(f"{path}: is no list of languages of layers; pass a released neuron file")
    languages = source.languages(len(content)) if languages is None else languages
    if not languages:
        raise LapeError(f"{path}: does not say its languages, and is no released file by its name; pass --languages")
    if len(content) != len(languages):
        raise LapeError(
            f"{path}: holds {len(content)} languages, --languages names {len(languages)} ({', '.join(languages)}); "
            "name those of the file in its order (the last languages are not in it where they have no neuron)"
        )
    if len(set(languages)) != len(languages):
        raise LapeError(f"--languages: a language is named twice ({', '.join(languages)}); name each once")
    sites = source.sites or Sites.rectangle(len(content[0]), source.neurons_per_layer)
    owners: dict[int, list[str]] = {}
    for language, layers in zip(languages, content, strict=True):
        if len(layers) != sites.layers:
            raise LapeError(
                f"{path}: {language} has {len(layers)} layers, not the {sites.layers} of {source.name}; pass the file "
                "of one model, and its --name or --model"
            )
        for layer, index in enumerate(layers):
            first, end = sites.starts[layer : layer + 2].tolist()
            fault = _fault(index, end - first)
            if fault:
                raise LapeError(f"{path}: {language}, {layer_label(layer)} {fault}; pass the file of {source.name}")
            for place in index.tolist():
                owners.setdefault(first + int(place), []).append(language)
    chosen = np.array(sorted(owners), np.int64)
    table = pd.DataFrame(sites.located(chosen))
    table["languages"] = [tuple(owners[neuron]) for neuron in chosen.tolist()]
    return Neurons(table, tuple(languages), sites, {"selected": len(table)}, str(path))


def read_counts(paths: Mapping[str, str | Path], source: Source) -> dict[str, ActivationStatistics]:
    """Read the authors' count files of one model.

    Args:
        paths: language -> file. It is loaded without running any code that it may carry.
        source: the model; where its shape is known, the counts must have it.

    Returns:
        language -> statistics with counts and tokens alone; the sums of activations are zero.

    Raises:
        LapeError: a file is no count file, counts are outside 0 ... n, shapes differ, or the model is a mixture of
            experts.
    """
    if source.sites is not None and not (source.sites.is_rectangle and source.sites.sites[0].experts == 1):
        raise LapeError(
            f"{source.name}: is a mixture of experts, or its layers differ, and a count file does not say which tokens "
            "reached which neurons; count with `lape statistics`"
        )
    statistics: dict[str, ActivationStatistics] = {}
    shape = None if source.sites is None else source.sites.shape
    for language, path in paths.items():
        content = _load(path)
        if not (isinstance(content, dict) and {"n", "over_zero"} <= set(content)):
            raise LapeError(f"{path}: has no 'n' and 'over_zero'; pass the authors' count file of {language}")
        tokens, over_zero = content["n"], content["over_zero"]
        tokens = tokens.item() if isinstance(tokens, torch.Tensor) and tokens.numel() == 1 else tokens
        if not isinstance(tokens, int) or tokens < 1:
            found = tokens if isinstance(tokens, int) else type(tokens).__name__
            raise LapeError(f"{path}: its n is {found}, not a number of tokens; write the file again")
        if not (_integers(over_zero) and over_zero.dim() == 2):
            raise LapeError(f"{path}: its over_zero is no matrix of counts [layers, neurons]; write the file again")
        if over_zero.numel() and not 0 <= int(over_zero.min()) <= int(over_zero.max()) <= tokens:
            raise LapeError(
                f"{path}: has counts from {int(over_zero.min())} to {int(over_zero.max())}, outside 0 ... n = {tokens} "
                "(an int32 counter overflows past 2^31 tokens); count again"
            )
        shape = shape or tuple(over_zero.shape)
        if tuple(over_zero.shape) != shape:
            raise LapeError(
                f"{path}: has {' x '.join(map(str, over_zero.shape))} counts, not the {' x '.join(map(str, shape))} of "
                f"{source.name}; pass the files of one model, and its --name or --model"
            )
        statistics[language] = ActivationStatistics.of_counts(over_zero.numpy().astype(np.int64), tokens)
    return statistics


def write_neurons(neurons: Neurons, path: str | Path, form: str = "lape") -> None:
    """Write neurons in a form of others. Languages without a neuron keep their place.

    Args:
        neurons: any neurons. Languages stand in the order of `neurons.sets`.
        path: the .pth or .pt file; the same neurons give the same bytes.
        form: "lape" for the authors', "kinit" for that of kinit-sk/language-neuron-detection, which its steps of
            ablation and finetuning read.

    Raises:
        LapeError: the form is unknown, or has no place for the neurons of a mixture of experts.
    """
    if form not in FORMS:
        raise LapeError(f"{path}: no form {form!r}; use one of {', '.join(FORMS)}")
    content = []
    for name in neurons.sets:
        own = neurons.indices(name)
        content.append([torch.tensor(own.get(layer, ()), dtype=torch.int64) for layer in range(neurons.layers)])
    if form == "kinit":
        content = _to_kinit(neurons, content)
    packed = io.BytesIO()  # torch.save writes the file's name into the file, and here the name would be a temporary one
    torch.save(content, packed)
    with writing(path) as temporary:
        temporary.write_bytes(packed.getvalue())


def _of_kinit(path: str | Path, content: dict) -> tuple[list[str], list[list[torch.Tensor]], int]:
    """Languages, indices by language and layer, and neurons per layer of a file of kinit-sk.

    Neurons of attention, which `lape` does not have, are left out.
    """
    try:
        found = next(content["results"][name] for name in _KINIT if name in content["results"])
        languages, by_language, mask = (
            content["languages"],
            found["selected_indices_by_language"],
            found["selected_mask"],
        )
        layers = [[torch.tensor(index, dtype=torch.int64) for index in by_language[name]] for name in languages]
        if not (len(mask) == len(languages) and all(map(is_name, languages))):
            raise ValueError("its languages are no list of names")
        return languages, layers, mask.shape[2]
    except (KeyError, StopIteration, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise LapeError(
            f"{path}: is a dictionary without the selected neurons of FFNs ({error!r}); pass lape_selected_neurons.pt"
        ) from error


def _to_kinit(neurons: Neurons, layers: list[list[torch.Tensor]]) -> dict:
    """What a file of kinit-sk says of neurons, as far as its readers look at it."""
    sites = neurons.sites
    if not (sites.is_rectangle and sites.sites[0].experts == 1):
        raise LapeError(f"{neurons.origin}: are of a mixture of experts, which this form does not know; use form lape")
    mask = torch.zeros(len(layers), *sites.shape, dtype=torch.bool)
    for of_language, own in zip(layers, mask, strict=True):
        for index, row in zip(of_language, own, strict=True):
            row[index] = True
    indices = {name: [each.tolist() for each in own] for name, own in zip(neurons.sets, layers, strict=True)}
    found = {"selected_mask": mask, "counts_per_lang_layer": mask.sum(2), "selected_indices_by_language": indices}
    method, parameters = neurons.summary.get("method"), neurons.summary.get("parameters", {})
    return {
        "method": (method or "lape").upper(),
        "languages": list(neurons.sets),
        "params": {"components": ["mlp"], "recorded_metric": "over_threshold_rate", **parameters},
        "results": {_KINIT[0]: found},
    }


def _load(path: str | Path) -> object:
    """Load what torch.save wrote, where that is tensors and plain containers."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise LapeError(f"{path}: cannot be read ({error.strerror}); name an existing file") from error
    except Exception as error:  # a foreign or truncated file fails in many ways
        raise LapeError(
            f"{path}: is not a file of tensors that loads without running code; pass the authors' .pth file"
        ) from error


def _integers(value: object) -> bool:
    """Whether a value is a dense tensor of integers with its data; an empty tensor may have any type."""
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_meta:
        return False
    whole = not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool or value.is_quantized)
    return whole or not value.numel()


def _fault(index: object, width: int) -> str | None:
    """What is wrong with the indices of one layer."""
    if not (_integers(index) and index.dim() == 1):
        return "is no list of indices"
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < width:
        return f"names neurons {int(index.min())} ... {int(index.max())} of {width}"
    if len(index.unique()) != len(index):
        return "names a neuron twice"
    return None
