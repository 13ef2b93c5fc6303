"""FFN neurons by average precision: the units that both papers have, as an expert unit and as a neuron."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_array, read_json
from lape.errors import LapeError
from lape.model.linear import LinearLayer
from lape.model.sites import Sites, layer_label
from lape.neurons.table import Neurons


def neuron_units(linear_layers: Sequence[LinearLayer], part: str, sites: Sites) -> np.ndarray:
    """The unit that feeds each neuron's activation function.

    Args:
        linear_layers: all linear layers of a model, in order.
        part: the part that feeds the activation function: "gate" in a GLU, else "up".
        sites: where the model's N neurons are.

    Returns:
        int64 [N], numbers of units.

    Raises:
        LapeError: in some layer the linear layers do not have as many units of that part as there are neurons.
    """
    found: list[list[np.ndarray]] = [[] for _ in range(sites.layers)]
    for linear in linear_layers:
        if linear.kind == "ffn" and linear.layer < sites.layers:
            index = np.arange(linear.width)
            found[linear.layer].append(linear.first + index[linear.part(index) == part])
    rows = [np.concatenate([np.empty(0, np.int64), *parts]) for parts in found]
    for layer, (row, wanted) in enumerate(zip(rows, np.diff(sites.starts), strict=True)):
        if len(row) != wanted:
            raise LapeError(
                f"linear layers: have {len(row)} units of part {part!r} in {layer_label(layer)}, the neurons' model "
                f"{wanted} neurons; take both from one model"
            )
    return np.concatenate(rows)


def neurons_by_average_precision(
    precision: Mapping[str, np.ndarray], linear_layers: Sequence[LinearLayer], part: str, like: Neurons
) -> Neurons:
    """The neurons of the highest average precision: per language as many as another method found.

    Kojima et al. (2024) score the output of the FFN's first projection before the activation function. Tang et al.
    (2024) count the same neuron behind the activation function.

    Args:
        precision: language -> average precision of every unit, float64 [U].
        linear_layers, part: see `neuron_units`.
        like: neurons of the other method, whose shape, languages and numbers are taken.

    Returns:
        neurons with the sets of `like`. One column per language holds their average precision. Of equal neurons the one
        in the lower layer comes first, then the one of lower place.

    Raises:
        LapeError: a language was not scored, or the shapes differ.
    """
    units = neuron_units(linear_layers, part, like.sites)
    owners: dict[int, list[str]] = {}
    for language, size in like.counts().items():
        if language not in precision:
            raise LapeError(
                f"{like.origin}: the units were not scored for {language}; add it to expert_units.languages"
            )
        for neuron in np.argsort(-precision[language][units], kind="stable")[:size].tolist():
            owners.setdefault(neuron, []).append(language)
    chosen = np.array(sorted(owners), np.int64)
    table = pd.DataFrame(
        {
            **like.sites.located(chosen),
            "languages": [tuple(owners[neuron]) for neuron in chosen.tolist()],
            **{f"average_precision_{language}": precision[language][units[chosen]] for language in like.sets},
        }
    )
    return Neurons(table, like.sets, like.sites, {"selected": len(table)})


def ap_neurons(header_path: str | Path, like_path: str | Path) -> Neurons:
    """Read two artifacts and call `neurons_by_average_precision` on them.

    Args:
        header_path: header of the average precision.
        like_path: header of the neurons whose numbers are taken.

    Raises:
        LapeError: the artifacts are of different models or damaged, or see `neurons_by_average_precision`.
    """
    header, like = read_json(header_path, "average_precision"), Neurons.load(like_path)
    if like.summary["model_revision"] != header["model_revision"]:
        raise LapeError(
            f"{like_path}: found on {like.summary['model']} at {like.summary['model_revision']}, the units were scored "
            f"at {header['model_revision']}; take both from one model"
        )
    values = read_array(checked(header_path, header, ".npy"), mmap=True)
    precision = dict(zip(header["languages"], values[0], strict=True))
    layers = [LinearLayer.of(description) for description in header["linear_layers"]]
    return neurons_by_average_precision(precision, layers, header["neuron_part"], like)
