"""What is off while a text is read: nothing, or one language's neurons, parameters, expert units or direction."""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from lape.artifacts.files import read_json
from lape.errors import LapeError
from lape.expert_units.selection import ExpertUnits
from lape.interventions.directions import Directions
from lape.interventions.overwriting import overwritten
from lape.interventions.perturbation import Firing, deactivate
from lape.interventions.projecting import Projection, projected_out
from lape.interventions.zeroing import Zeroing, zeroed
from lape.model.loading import check_found_on
from lape.neurons.controls import PREFIXES, activity
from lape.neurons.set_names import known_sets
from lape.neurons.table import Neurons
from lape.parameter_variation.parameters import Parameters
from lape.statistics.sums import read_statistics


@dataclass(frozen=True)
class Deactivation:
    """What is deactivated.

    Attributes:
        method: by which it was found; "none" where nothing is deactivated.
        begin: makes the context in which it is deactivated in a model; the context yields the record of what fired.
        summary: header of what is deactivated; empty where nothing is.
        files: that it was read from.
    """

    method: str = "none"
    begin: Callable[[nn.Module], AbstractContextManager] = lambda model: contextlib.nullcontext()
    summary: dict = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    @classmethod
    def load(
        cls,
        header_path: Path | None,
        language: str | None,
        like: Path | None,
        description: dict,
        means: Sequence[Path] = (),
    ) -> "Deactivation":
        """Read what is to be deactivated.

        Args:
            header_path: of neurons, parameters, expert units or directions; None for nothing.
            language: whose.
            like: of expert units, as many are taken as the language has neurons by this header.
            description: header of the model artifact.
            means: statistics headers of every language. Each neuron is set to its mean activation, over all languages
                alike, instead of to zero.

        Raises:
            LapeError: an artifact is missing or not needed, or was found on another model.
        """
        if (header_path is None) != (language is None):
            raise LapeError("--neurons and --deactivate go together; leave both out for the baseline")
        kind = None if header_path is None else read_json(header_path).get("artifact")
        if (kind == "expert_units") != (like is not None):
            fault = "are expert units without --like" if kind == "expert_units" else "are no expert units"
            remedy = "name the neurons as many of which are taken" if kind == "expert_units" else "leave --like out"
            raise LapeError(f"{header_path}: {fault}; {remedy}")
        if means and kind != "neurons":
            raise LapeError(f"{header_path or '--means'}: only neurons can be set to their means; leave --means out")
        if kind is None:
            return cls()
        types = {"expert_units": ExpertUnits, "parameters": Parameters, "directions": Directions}
        region = types.get(kind, Neurons).load(header_path)
        summary = region.summary
        check_found_on(description, header_path, summary)
        files = (header_path, *(header_path.with_name(name) for name in summary.get("outputs", ())))
        if kind == "expert_units":
            neurons = Neurons.load(like)
            check_found_on(description, like, neurons.summary)
            known_sets(language, neurons.sets, neurons.origin)
            off = region.perturbation(language, "top", neurons.counts()[language], value=0.0)
            begin = partial(overwritten, perturbation=off)
            return cls(summary["method"], begin, summary, (*files, like, like.with_suffix(".tsv")))
        if kind == "directions":
            begin = partial(projected_out, directions=region.of(language))
        elif kind == "parameters":
            begin = partial(zeroed, parameters=region, sets=language)
        else:
            found = read_statistics(means, summary.get("model_revision"))
            files += tuple(file for path in means for file in (path, path.with_suffix(".npz")))
            values = np.mean([activity(region, found, name)[:, 1] for name in found], axis=0) if means else None
            begin = partial(deactivate, neurons=region, sets=language, means=values)
        return cls(summary["method"], begin, summary, files)

    def proof(self, record: Firing | Zeroing | Projection | None, tokens: int) -> dict:
        """What the deactivation did, for the header of an artifact.

        Args:
            record: what `begin` yielded.
            tokens: that were read.

        Raises:
            LapeError: the deactivation did not see all tokens, or it changed nothing, which only a control may.
        """
        if record is None:
            return {}
        if isinstance(record, Zeroing):  # `zeroed` has checked it
            return {"matrices": len(record.matrices), "parameters": record.parameters, "nonzero": record.nonzero}
        if isinstance(record, Projection):
            record.check(tokens)
            by_layer = [
                {"layer": layer, "calls": seen.calls, "tokens": seen.positions, "changed": int(seen.changed)}
                for layer, seen in record.layers.items()
            ]
            return {"layers": len(by_layer), "by_layer": by_layer}
        record.check(tokens, must_change=not self.method.startswith(("random", *PREFIXES)))
        calls, rows, changed = record.calls, record.rows, record.changed
        by_layer = [
            {
                **({"layer": layer} if isinstance(layer, int) else {"layer": layer[0], "module": layer[1]}),
                "neurons": neurons,
                "calls": calls[layer],
                "tokens": rows[layer],
                "changed": changed[layer],
            }
            for layer, neurons in record.neurons.items()
        ]
        return {"layers": len(by_layer), "neurons": sum(record.neurons.values()), "by_layer": by_layer}
