"""FFN neurons by average precision: the units that both papers have, as an expert unit and as a neuron."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_array, read_json
from lape.errors import LapeError
from lape.model.linear import LinearLayer
from lape.neurons.table import Neurons, located


def neuron_units(linear_layers: Sequence[LinearLayer], part: str, shape: tuple[int, int]) -> np.ndarray:
    """The unit that feeds each neuron's activation function.

    Args:
        linear_layers: all linear layers of a model, in order.
        part: the part that feeds the activation function: "gate" in a GLU, else "up".
        shape: (L, I), layers and neurons per layer, over all experts.

    Returns:
        int64 [L, I], numbers of units.

    Raises:
        LapeError: the linear layers do not have I units of that part in each of L layers.
    """
    found: list[list[np.ndarray]] = [[] for _ in range(shape[0])]
    for linear in linear_layers:
        if linear.kind == "ffn" and linear.layer < shape[0]:
            index = np.arange(linear.width)
            found[linear.layer].append(linear.first + index[linear.part(index) == part])
    rows = [np.concatenate([np.empty(0, np.int64), *parts]) for parts in found]
    if any(len(row) != shape[1] for row in rows):
        sizes = sorted({len(row) for row in rows})
        raise LapeError(
            f"linear layers: have {sizes} units of part {part!r} a layer, the neurons' model {shape[1]} neurons; take "
            "both from one model"
        )
    return np.stack(rows)


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
    units = neuron_units(linear_layers, part, (like.layers, like.neurons_per_layer)).ravel()
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
            **located(chosen, like.neurons_per_layer, like.experts),
            "languages": [tuple(owners[neuron]) for neuron in chosen.tolist()],
            **{f"average_precision_{language}": precision[language][units[chosen]] for language in like.sets},
        }
    )
    shape = like.layers, like.neurons_per_layer
    return Neurons(table, like.sets, *shape, {"selected": len(table)}, experts=like.experts)


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
