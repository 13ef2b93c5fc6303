"""Checks of expert units: responses, average precision, selected units."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from lape.artifacts.files import read_array, read_json
from lape.audit.inputs import inputs
from lape.expert_units.blocks import Responses, column_table, in_columns
from lape.expert_units.controls import activity_matched_units
from lape.expert_units.selection import ExpertUnits, select_units
from lape.kernels import reference
from lape.model.tokenizer import load_tokenizer
from lape.text.sentences import common_pool

_SAMPLE = 64  # units, spread from the first to the last, whose average precision is computed again


def check_responses(path: Path, header: dict) -> Iterator[str]:
    responses = Responses.load(path)
    pool, left_out = common_pool(inputs(header, "sentences"))
    (model,) = inputs(header, "model")
    tokenizer, bos = load_tokenizer(model.with_name("tokenizer.json")), header["bos"] is not None
    again = column_table(in_columns(pool, tokenizer, header["parameters"]["max_length"] - bos), bos)
    if responses.table.to_dict("list") != again.to_dict("list") or header["sentences"] != len(again):
        yield "its columns are not the sentences of its languages, tokenised again, each once and the longest first"
    if header["left_out"] != left_out:
        yield f"left out {header['left_out']}, of its sentences {left_out} stand in several languages"
    if responses.units != header["units"] or responses.table["tokens"].sum() != header["tokens"]:
        yield f"has {responses.units} units and {responses.table['tokens'].sum()} tokens, not those of its header"
    if header["model_revision"] != read_json(model)["revision"]:
        yield f"is of another checkpoint than {model}"


def check_average_precision(path: Path, header: dict) -> Iterator[str]:
    values = read_array(path.with_suffix(".npy"), mmap=True)
    (source,) = inputs(header, "responses")
    responses = Responses.load(source)
    if half := header["parameters"].get("half"):
        responses = responses.half(half)
    shape = 2, len(responses.languages), responses.units
    if values.shape != shape or header["languages"] != list(responses.languages):
        yield f"is of shape {values.shape}, its responses give {shape}"
        return
    if not ((values > 0) & (values <= 1)).all():
        yield "holds a number that is no average precision"
    for unit in np.unique(np.linspace(0, responses.units - 1, _SAMPLE).astype(int)).tolist():
        again = _precision(responses, unit)
        if not np.allclose(values[:, :, unit], again, rtol=0, atol=1e-12):
            yield f"scoring unit {unit} again gives another average precision"


def _precision(responses: Responses, unit: int) -> np.ndarray:
    """The average precision of one unit for every language, float64 [2, K]: of the response, and of its negative."""
    one, labels = torch.from_numpy(responses.chunk(unit, unit + 1)), torch.from_numpy(responses.labels)
    return reference.average_precision(one, labels, len(responses.languages))[:, 0].numpy()


def check_units(path: Path, header: dict) -> Iterator[str]:
    units = ExpertUnits.load(path)
    (source,), (origin,) = inputs(header, "average_precision"), inputs(header, "responses")
    precision, responses = read_array(source.with_suffix(".npy"), mmap=True), Responses.load(origin)
    selected = inputs(header, "expert_units")
    if selected:
        again = activity_matched_units(ExpertUnits.load(selected[0]), precision, responses, **header["parameters"])
    else:
        again = select_units(precision, responses, neuron_part=header["neuron_part"], **header["parameters"])
    if not again.table.equals(units.table):
        yield "selecting again from the average precision gives other units or medians"
