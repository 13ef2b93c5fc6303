"""Export a model with a perturbation in its weights, as an ordinary checkpoint folder."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lape.artifacts.files import read_json, sha256, write_header, writing_folder
from lape.errors import LapeError
from lape.export.card import card
from lape.export.comparison import Comparison, compare
from lape.export.edits import Edits, edits_of
from lape.export.files import write_files
from lape.interventions.overwriting import UnitPerturbation
from lape.interventions.perturbation import Perturbation
from lape.model.loading import fetch, load_names, location

logger = logging.getLogger(__name__)


def export_checkpoint(
    model_json: Path,
    folder: Path,
    change: Perturbation | UnitPerturbation,
    *,
    title: str,
    found: Path,
    inputs: Iterable[Path],
    chunks: Sequence[np.ndarray] = (),
    parameters: dict | None = None,
) -> Comparison | None:
    """Write a checkpoint whose outputs are those of the perturbed model, with a card and a header (`lape.json`).

    One file of weights is in memory at a time. The folder is written whole or not at all.

    Args:
        model_json: header of the model.
        folder: that is made.
        change: the perturbation.
        title: the perturbation in words.
        found: header of the neurons or units that it is of.
        inputs: what the perturbation was made from.
        chunks: token ids, int64 [T] each, on which the logits of both are compared before the folder gets its name; for
            this the model is loaded. None are compared without.
        parameters: settings, for the header.

    Returns:
        the comparison.

    Raises:
        LapeError: the folder is there, the checkpoint is quantised or saved in another form, no change of weights does
            what the perturbation does, or the logits differ by more than rounding.
    """
    if folder.exists():
        raise LapeError(f"{folder}: is there already; name a new folder")
    header = read_json(model_json, "model")
    source = _source(model_json, header)
    model = load_names(source, header["parameters"]["trust_remote_code"])
    edits, layers = edits_of(model, change), _layers(change)
    if not layers:
        raise LapeError(f"{found}: has nothing to change for {title}; name a language that has neurons")
    run = model_json.absolute().parents[2]
    hashes = {_name(file, run): sha256(file) for file in (model_json, *inputs)}
    with writing_folder(folder) as temporary:
        write_files(source, temporary, model, edits)
        compared = compare(model_json, temporary, change, chunks) if chunks else None
        if compared:
            compared.check(folder)
        text = card(header, title, read_json(found), edits, layers, hashes, compared)
        (temporary / "README.md").write_text(text, encoding="utf-8")
        _write_header(temporary, header, hashes, edits, compared, {"change": title, **(parameters or {})})
    return compared


def _name(file: Path, run: Path) -> str:
    """A file's path within its run, which tells others no folder of the machine."""
    file = file.absolute()
    return file.relative_to(run).as_posix() if file.is_relative_to(run) else file.name


def _source(model_json: Path, header: dict) -> Path:
    """The folder of a model's checkpoint."""
    if header.get("scheme") or header["parameters"]["quantization"]:
        raise LapeError(f"{model_json}: its weights are quantised; export from a run of the plain checkpoint")
    path, revision = location(model_json, header)
    return fetch(path, revision, header["parameters"]["trust_remote_code"]) if revision else Path(path)


def _layers(change: Perturbation | UnitPerturbation) -> Counter:
    """layer -> number of its neurons or units that change."""
    layers: Counter = Counter()
    if isinstance(change, UnitPerturbation):
        for (layer, _), (index, _) in change.values.items():
            layers[layer] += len(index)
    else:
        for part in change.parts:
            layers.update({layer: len(index) for layer, index in part.indices.items()})
    return +layers


def _write_header(
    folder: Path, model: dict, inputs: Mapping[str, str], edits: Edits, compared: Comparison | None, parameters: dict
) -> None:
    (folder / "lape.json").unlink(missing_ok=True)  # of the checkpoint, where that is an export itself
    write_header(
        folder / "lape.json",
        "checkpoint",
        model=model["name"],
        model_revision=model["revision"],
        zeroed=edits.zeroed,
        scaled=edits.scaled,
        constant=edits.constant,
        settings=edits.settings,
        compared=compared and compared.fields(),
        parameters=parameters,
        inputs=inputs,
        outputs=sorted(folder.iterdir()),
    )
