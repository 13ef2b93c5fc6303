"""A set of selected parameters: places in the weight matrices of a model, and the languages that each belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lape.artifacts.files import checked, read_json, writing
from lape.errors import LapeError
from lape.neurons.set_names import known_sets


@dataclass(frozen=True)
class Parameters:
    """Selected parameters of a model's weight matrices.

    Attributes:
        index: matrix -> sorted int64 places in the matrix, flattened row by row. Matrices without any are left out.
        member: matrix -> bool [places, K], whether each parameter belongs to each of the K sets.
        sets: names of the sets, in order. They are the languages.
        matrices: matrix -> its shape, for every matrix that was searched, in the model's order.
        summary: further fields of the header (method, entropy at the cut, ...).
        origin: what messages call the parameters: the path of the header that they were read from, if any.
    """

    index: Mapping[str, np.ndarray]
    member: Mapping[str, np.ndarray]
    sets: tuple[str, ...]
    matrices: Mapping[str, tuple[int, ...]]
    summary: dict = field(default_factory=dict)
    origin: str = "parameters"

    def indices(self, sets: str | Sequence[str]) -> dict[str, np.ndarray]:
        """Parameters of one or several sets: matrix -> sorted int64 places. Matrices without any are left out.

        Raises:
            LapeError: there is no set of a name.
        """
        sets = known_sets(sets, self.sets, self.origin)
        columns = [self.sets.index(name) for name in sets]
        chosen = {name: self.index[name][self.member[name][:, columns].any(axis=1)] for name in self.index}
        return {name: index for name, index in chosen.items() if len(index)}

    def counts(self) -> dict[str, int]:
        """Number of parameters in each set. A parameter can belong to several sets."""
        total = sum((member.sum(axis=0) for member in self.member.values()), np.zeros(len(self.sets), np.int64))
        return dict(zip(self.sets, total.tolist(), strict=True))

    def description(self) -> dict:
        """The fields of a header that describe the places, `summary` included."""
        return {
            "sets": list(self.sets),
            "total": sum(int(np.prod(shape)) for shape in self.matrices.values()),
            **self.summary,
            "counts": self.counts(),
            "matrices": {name: list(shape) for name, shape in self.matrices.items()},
        }

    def save(self, path: str | Path) -> None:
        """Write MATRIX.index and MATRIX.member of every matrix as safetensors."""
        tensors = {f"{name}.index": index for name, index in self.index.items()}
        tensors |= {f"{name}.member": np.ascontiguousarray(member) for name, member in self.member.items()}
        with writing(path) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, header_path: str | Path) -> "Parameters":
        """Read a parameters artifact by its header; the safetensors file lies beside it.

        Raises:
            LapeError: the header is missing or of another kind of artifact, or the places do not fit it.
        """
        header_path = Path(header_path)
        header = read_json(header_path, "parameters")
        path = checked(header_path, header, ".safetensors")
        try:
            tensors = load_file(path)
            matrices = {name: tuple(shape) for name, shape in header["matrices"].items()}
            index, member = (
                {name: tensors[f"{name}.{part}"] for name in matrices if f"{name}.index" in tensors}
                for part in ("index", "member")
            )
            parameters = cls(index, member, tuple(header["sets"]), matrices, header, str(header_path))
            fits = len(tensors) == 2 * len(index) and all(
                member[name].shape == (len(places), len(parameters.sets))
                and (np.diff(places, prepend=-1) > 0).all()
                and places[-1] < np.prod(matrices[name])
                for name, places in index.items()
            )
        except OSError as error:
            raise LapeError(f"{path}: cannot be read ({error.strerror}); select the parameters again") from error
        except (SafetensorError, KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise LapeError(f"{path}: is not a set of parameters ({error}); select them again") from error
        if not fits:
            raise LapeError(f"{path}: has places or sets that {header_path} does not have; select the parameters again")
        return parameters
