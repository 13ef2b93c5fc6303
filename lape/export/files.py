"""The files of a checkpoint with some weights changed: one file in memory at a time, every other byte as it was."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from lape.errors import LapeError
from lape.export.edits import Edits
from lape.model.checkpoint import checkpoint_files
from lape.model.weights import files_by_name

INDEX = "model.safetensors.index.json"


def write_files(source: Path, folder: Path, model: PreTrainedModel, edits: Edits) -> None:
    """Write a checkpoint's files into a folder, with some weights changed. Each weight keeps its dtype.

    Files of weights that transformers does not read are left out: they would hold the weights as they were.

    Args:
        source: the checkpoint.
        folder: an empty folder.
        model: the checkpoint, loaded by `lape.model.loading.load_names`.
        edits: of the model's parameters.

    Raises:
        LapeError: the files hold a weight under a name or in a layout that is not known.
    """
    files = files_by_name(source)
    if not files:
        raise LapeError(f"{source}: has neither model.safetensors nor {INDEX}; save the model with save_pretrained()")
    own = _OfFiles(source, model, edits, files)
    for name in sorted(set(files.values())):
        own.write(name, folder)
    own.check()
    for file in (*checkpoint_files(source), *source.glob("*.py")):
        if file.suffix != ".safetensors" and not file.name.endswith(".index.json"):
            shutil.copyfile(file, folder / file.name)
    if (source / INDEX).is_file():
        _write_index(source, folder, own.added)
    if edits.settings:
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
        _write(folder / "config.json", config | edits.settings)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors makes private files


class _OfFiles:
    """Edits by the names that a checkpoint's files give to weights.

    transformers renames, splits and joins weights while it loads them. The factors go the way back, as weights do that
    transformers saves.
    """

    def __init__(self, source: Path, model: PreTrainedModel, edits: Edits, files: Mapping[str, str]):
        self._source, self._files, self._prefix = source, files, f"{model.base_model_prefix}."
        self._model, self._done = model, set()
        self._factors = {
            key: factor for name, factor in edits.factors.items() for key, factor in self._names(name, factor)
        }
        self._biases, self._shapes = {}, {}
        for name in edits.biases.keys() | edits.added.keys():
            if name in edits.added:
                weight = self._name(name.removesuffix("bias") + "weight")
                key = weight.removesuffix("weight") + "bias"
                self._shapes[weight] = key, edits.added[name]
            else:
                key = self._name(name)
            if name in edits.biases:
                self._biases[key] = edits.biases[name]
        self.added: dict[str, tuple[str, int]] = {}  # new bias -> its file and its bytes

    def _names(self, name: str, factor: Tensor) -> list[tuple[str, Tensor]]:
        """The names in the files of what a parameter is made of, and the factor of each."""
        found = []
        for key, own in revert_weight_conversion(self._model, {name: factor}).items():
            known = (key, key.removeprefix(self._prefix), self._prefix + key, name)
            key = next((each for each in known if each in self._files), None)
            if key is None:
                raise LapeError(
                    f"{self._source}: its files hold {name} under a name that is not known; load the model with "
                    "transformers, save it with save_pretrained(), and export from there"
                )
            found.append((key, own))
        return found

    def _name(self, name: str) -> str:
        """The one name in the files of a parameter that no other is joined with."""
        found = self._names(name, torch.ones(1, 1))
        if len(found) > 1:
            raise LapeError(f"{self._source}: its files hold {name} in {len(found)} parts; switch neurons off only")
        return found[0][0]

    def write(self, name: str, folder: Path) -> None:
        """Write one file of weights."""
        with safe_open(self._source / name, "pt") as opened:
            held = [key for key, file in self._files.items() if file == name]
            tensors = {key: self._changed(key, opened.get_tensor(key)) for key in held}
            tensors |= {key: self._changed(key, bias) for key, bias in self._new_biases(name, tensors).items()}
            save_file(tensors, folder / name, opened.metadata())

    def _changed(self, key: str, tensor: Tensor) -> Tensor:
        """A tensor of a file as the exported file has it."""
        if key in self._factors:
            factor = self._factors[key]
            if factor.shape != tensor.shape or not tensor.is_floating_point():
                raise LapeError(
                    f"{self._source}: {key} is {tensor.dtype} {list(tensor.shape)} in its file, not a matrix of "
                    f"{list(factor.shape)}; export from a checkpoint that is not quantised"
                )
            self._done.add(key)
            # A product with zero could be -0, or NaN.
            product = tensor.to(torch.promote_types(tensor.dtype, torch.float32)) * factor
            tensor = torch.where(factor == 0, 0, product).to(tensor.dtype)
        if key in self._biases:
            index, values = self._biases[key]
            self._done.add(key)
            tensor = tensor.clone()
            tensor[torch.from_numpy(index)] = torch.from_numpy(values).to(tensor.dtype)
        return tensor

    def _new_biases(self, name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The biases of zeros that the weights of a file get, in the dtype of each weight."""
        found = {}
        for weight in self._shapes.keys() & tensors.keys():
            key, shape = self._shapes[weight]
            found[key] = torch.zeros(shape, dtype=tensors[weight].dtype)
            self.added[key] = name, found[key].nbytes
        return found

    def check(self) -> None:
        """Fail unless every change was made.

        Raises:
            LapeError: a file lacks a weight that the index says it holds.
        """
        left = (self._factors.keys() | self._biases.keys()) - self._done
        if left:
            raise LapeError(f"{self._source}: no file holds {min(left)}, which its index names; fetch its files anew")


def _write_index(source: Path, folder: Path, added: Mapping[str, tuple[str, int]]) -> None:
    index = json.loads((source / INDEX).read_text(encoding="utf-8"))
    index["weight_map"] |= {key: name for key, (name, _) in sorted(added.items())}
    if added and "total_size" in index.get("metadata", {}):
        index["metadata"]["total_size"] += sum(size for _, size in added.values())
    _write(folder / INDEX, index)


def _write(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
