r"""`lape`, a model of EleutherAI's lm-evaluation-harness: its own `hf` model with languages switched off or on.

The harness knows models by a registry and reads no entry points of other packages. This module is the harness's command
line with `lape` in the registry:

    python -m lape.integrations.lm_eval --tasks xnli_fr --model lape \
        --model_args pretrained=MODEL,neurons=NEURONS.json,deactivate=fr
"""

import contextlib
import hashlib
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lm_eval.__main__ import cli_evaluate
from lm_eval.api.model import CacheHook
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel

from lape.artifacts.files import read_json, sha256
from lape.errors import LapeError
from lape.evaluation.deactivation import Deactivation
from lape.expert_units.selection import ExpertUnits
from lape.interventions.dose import Dose
from lape.interventions.overwriting import UnitPerturbation, overwritten
from lape.interventions.perturbation import check_shape, perturbed
from lape.model.decoder import decoder_of
from lape.model.ffn import find_ffn
from lape.model.loading import check_found_on
from lape.playground.change import Change
from lape.playground.finished_run import Method


@register_model("lape")
class SwitchedLM(HFLM):
    """A model of transformers with languages switched for as long as it lives.

    Loading, batches, chat templates and tokens are the harness's own. In a cache of the harness (`--use_cache`) every
    switching has a table of its own. An evaluation whose perturbation did not fire ends with an error.

    Args:
        pretrained: folder of the checkpoint, or its name on the hub.
        neurons: header of the neurons that a method found.
        deactivate: a language whose neurons are set to zero; several as a list, or joined by "+".
        steer: a language that is switched on. It takes `units`, or `neurons` with `values` or `statistics`.
        dose: mode-positions-strength-share of the steering; see `lape.interventions.dose.Dose`.
        values: header of the steering values of the neurons.
        statistics: folder of the model's statistics, from which the steering values follow.
        units: header of expert units, which are overwritten in place of neurons.
        size: number of expert units: as many of the top as of the bottom.
        **settings: of the harness's own model `hf`, such as dtype, device_map, load_in_4bit, peft or batch_size.

    Raises:
        LapeError: nothing is switched, an artifact cannot be read, or was found on a model of another shape, or on
            another commit of the hub.
    """

    def __init__(
        self,
        pretrained: str,
        *,
        neurons: str | None = None,
        deactivate: str | Sequence[str] = (),
        steer: str | None = None,
        dose: str = "set-all-1-1",
        values: str | None = None,
        statistics: str | None = None,
        units: str | None = None,
        size: int = 2000,
        **settings,
    ):
        off = deactivate.split("+") if isinstance(deactivate, str) else deactivate
        change = Change(tuple(off), steer, Dose.parse(dose))
        if not (change.off or change.on) or not (neurons or units):
            raise LapeError("model lape: nothing is switched; give deactivate or steer, and neurons or units")
        if settings.get("tp_plan") is not None:
            raise LapeError("model lape: tp_plan is not supported; spread the layers by parallelize=True")
        method, found = _method(neurons, values, statistics, units), {}
        perturbation = change.by(method, lambda kind, path: found.setdefault(path, kind.load(path)), size)
        super().__init__(pretrained, **settings)
        _check_found(self.model, pretrained, found)
        if any(site.experts > 1 for site in find_ffn(self.model).sites.sites):
            self.model.set_experts_implementation("eager")  # where each expert's activations exist by themselves
        hashes = {str(path): sha256(path) for path in method.files(bool(change.on))}
        self._switching = {"change": str(change), "dose": dose, "size": size, "found": hashes}
        self._table = hashlib.sha256(repr([pretrained, sorted(settings.items()), self._switching]).encode()).hexdigest()
        self._off, self._passes = Deactivation(read_json(neurons or units).get("method", "")), Counter()
        self._switched = contextlib.ExitStack()
        self._switched.enter_context(_counted(self.model, self._passes))
        begin = overwritten if isinstance(perturbation, UnitPerturbation) else perturbed
        self._firing = self._switched.enter_context(begin(self.model, perturbation))

    def proof(self) -> dict:
        """What the perturbation did since the model was loaded; see `Deactivation.proof`.

        Raises:
            LapeError: a layer did not see every token, or the perturbation changed nothing, which only a control may.
        """
        # Passes that ran out of memory, in the search for a batch size, were seen by some layers alone.
        whole = self._passes["begun"] == self._passes["ended"]
        return self._off.proof(self._firing, self._passes["tokens"] if whole else None)

    def loglikelihood(self, *arguments, **named) -> list[tuple[float, bool]]:
        """The harness's own, and the proof that the perturbation fired."""
        return self._proved(super().loglikelihood(*arguments, **named))

    def loglikelihood_rolling(self, *arguments, **named) -> list[float]:
        """The harness's own, and the proof that the perturbation fired."""
        return self._proved(super().loglikelihood_rolling(*arguments, **named))

    def generate_until(self, *arguments, **named) -> list[str]:
        """The harness's own, and the proof that the perturbation fired."""
        return self._proved(super().generate_until(*arguments, **named))

    def _proved(self, answers: list) -> list:
        self.proof()
        return answers

    def get_model_info(self) -> dict:
        """What the harness writes of the model beside the results: its own, the switching, and what it did."""
        done = self.proof() if self._passes else {}  # empty where all answers came from a cache
        return {**super().get_model_info(), "lape": {**self._switching, "tokens": self._passes["tokens"], **done}}

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Keep answers in a table for this switching alone: the harness's cache has requests as keys, not models."""
        answers = cache_hook.dbdict
        if answers is not None:
            type(answers)(answers.filename, tablename=self._table).close()  # makes the table
            answers.tablename = self._table
        super().set_cache_hook(cache_hook)


def _method(neurons: str | None, values: str | None, statistics: str | None, units: str | None) -> Method:
    """What was found, as a run has it."""
    counted = {}
    if statistics is not None and neurons is not None:
        counted = {code: Path(statistics) / f"{code}.json" for code in read_json(neurons, "neurons")["sets"]}
    neurons, values, units = (None if path is None else Path(path) for path in (neurons, values, units))
    return Method("model lape", (), neurons, values, counted, units)


def _check_found(model: PreTrainedModel, name: str, found: Mapping[Path, object]) -> None:
    """Check that artifacts were found on a model of this shape and, where it came from the hub, on this commit."""
    commit = getattr(model.config, "_commit_hash", None)
    for path, artifact in found.items():
        if commit is not None:
            check_found_on({"name": name, "revision": commit}, path, read_json(path))
        if not isinstance(artifact, ExpertUnits):  # of these every linear layer is checked as it is hooked
            check_shape(model, artifact)


@contextlib.contextmanager
def _counted(model: PreTrainedModel, passes: Counter) -> Iterator[None]:
    """Count the passes that begin and those that end, and the tokens of the latter."""
    decoder = decoder_of(model)

    def end(module, inputs, output) -> None:
        passes.update(ended=1, tokens=output[0].shape[:-1].numel())

    with contextlib.ExitStack() as stack:
        stack.callback(decoder.register_forward_pre_hook(lambda module, inputs: passes.update(begun=1)).remove)
        stack.callback(decoder.register_forward_hook(end).remove)
        yield


def main() -> None:
    """The harness's command line, in which a fault of what is switched is one line."""
    try:
        cli_evaluate()
    except LapeError as error:
        sys.exit(f"lape: {error}")


if __name__ == "__main__":
    main()
