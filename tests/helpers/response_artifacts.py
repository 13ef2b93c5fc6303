"""Responses of made-up units, and the artifact that holds them."""

from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import write_header, writing

# Codes that are no text to a careless reader.
LANGUAGES = ("no", "nan", "fr")
LINEAR = [
    {"layer": 0, "name": "self_attn.qkv", "kind": "attention", "first": 0, "width": 12}
    | {"parts": [["q", 2], ["k", 2], ["v", 2]]},
    {"layer": 0, "name": "mlp.up", "kind": "ffn", "first": 12, "width": 20, "parts": [["up", 20]]},
    {"layer": 1, "name": "mlp.up", "kind": "ffn", "first": 32, "width": 8, "parts": [["up", 8]]},
]
UNITS = 40


def labelled(each: int = 50) -> np.ndarray:
    """The language of each sentence, as many of each, in the order of sentences that a sort by length gives."""
    return np.random.default_rng(7).permutation(np.repeat(np.arange(len(LANGUAGES)), each))


def drawn(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Responses float32 [U, N], many of them tied, that differ between languages."""
    generator = np.random.default_rng(seed)
    language = generator.normal(size=(UNITS, len(LANGUAGES)))[:, labels]
    return (generator.normal(size=(UNITS, len(labels))) + language).round(1).astype(np.float32)


def write_responses(
    header: Path, responses: np.ndarray, labels: np.ndarray, languages=LANGUAGES, linear=LINEAR, storage="float32"
) -> Path:
    """The responses artifact of [U, N] in blocks of 64 columns; returns its header's path."""
    folder, table = header.with_suffix(".blocks"), header.with_suffix(".tsv")
    blocks = [responses[:, first : first + 64].astype(storage) for first in range(0, responses.shape[1], 64)]
    for b, block in enumerate(blocks):
        with writing(folder / f"{b}.npy") as temporary:
            np.save(temporary, np.ascontiguousarray(block))
    column = np.arange(len(labels))
    own = pd.DataFrame({"block": column // 64, "column": column % 64, "language": np.array(languages)[labels]})
    own["number"], own["tokens"] = own.groupby("language").cumcount(), 5 + column
    with writing(table) as temporary:
        own.to_csv(temporary, sep="\t", index=False, lineterminator="\n")
    files = [folder / f"{b}.npy" for b in range(len(blocks))]
    write_header(
        header,
        "responses",
        model="tiny",
        model_revision="r1",
        languages=list(languages),
        sentences=len(labels),
        units=len(responses),
        block=64,
        storage=storage,
        bos=None,
        neuron_part="up",
        linear_layers=linear,
        parameters={},
        inputs=[],
        outputs=[table, *files],
    )
    return header
