"""Texts under expert units or neurons: what a setting does to a model, and the texts that it then writes."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transformers import PreTrainedModel

from lape.artifacts.files import checked, read_json, write_header
from lape.errors import LapeError
from lape.expert_units.selection import ExpertUnits
from lape.generation.decoding import Answer
from lape.generation.parts import AnswerParts, answer_row, check_context, check_options, proven_answers
from lape.generation.settings import Dose, TextSetting
from lape.interventions.overwriting import UnitPerturbation, overwritten
from lape.interventions.perturbation import Perturbation, perturbed
from lape.interventions.steering import SteeringValues
from lape.kernels import ops
from lape.machine.memory import Halving
from lape.machine.progress import progress
from lape.model.architectures import ffn_entry
from lape.model.ffn import input_device
from lape.model.loading import check_found_on, load_model
from lape.neurons.set_names import known_sets
from lape.neurons.table import Neurons

logger = logging.getLogger(__name__)


def text_perturbation(
    setting: TextSetting,
    target: str,
    units: ExpertUnits | None = None,
    neurons: Neurons | None = None,
    values: SteeringValues | None = None,
) -> UnitPerturbation | Perturbation | None:
    """What a setting does to a model that is to write in `target` (Kojima et al. 2024, and its counterpart by LAPE).

    Args:
        setting: of the experiment.
        target: a language.
        units: that it overwrites with their medians, where it takes expert units.
        neurons: of LAPE, where the setting takes as many units as the target has of them.
        values: mean activations, where the setting takes neurons.

    Returns:
        None where nothing is overwritten.

    Raises:
        LapeError: units, neurons or values know no such language, or there are fewer units.
    """
    if setting.kind == "none":
        return None
    if setting.kind == "neurons":
        return values.perturbation(target, Dose())
    size = setting.size
    if size == "lape":
        known_sets(target, neurons.sets, neurons.origin)
        size = neurons.counts()[target]
    return units.perturbation(target, setting.kind, size)


def applied(
    model: PreTrainedModel, perturbation: UnitPerturbation | Perturbation | None, backend: str = "extension"
) -> AbstractContextManager:
    """The context in which a model writes under a perturbation; it yields the record of what fired."""
    if isinstance(perturbation, UnitPerturbation):
        return overwritten(model, perturbation, backend=backend)
    return perturbed(model, Perturbation({}) if perturbation is None else perturbation, backend=backend)


@dataclass(frozen=True)
class Selected:
    """A setting by its name, what it overwrites, and the files that this was read from."""

    name: str
    units: ExpertUnits | None = None
    neurons: Neurons | None = None
    values: SteeringValues | None = None
    files: tuple[Path, ...] = ()

    @property
    def setting(self) -> TextSetting:
        return TextSetting.parse(self.name)

    @classmethod
    def load(
        cls, name: str, description: dict, units: Path | None, neurons: Path | None, values: Path | None
    ) -> "Selected":
        """Read the artifacts that a setting needs.

        Args:
            name: of the setting.
            description: header of the model artifact.
            units, neurons, values: headers of expert units, neurons and steering values; None where it needs none.

        Raises:
            LapeError: one is missing or not needed, of another method, or found on another model.
        """
        setting = TextSetting.parse(name)
        of_neurons = setting.kind == "neurons"
        check_options(
            name,
            {
                "--units": (units, setting.method == "expert_units"),
                "--neurons": (neurons, of_neurons or setting.size == "lape"),
                "--values": (values, of_neurons),
            },
        )
        headers = {path: read_json(path) for path in (units, neurons, values) if path}
        wanted = setting.method if of_neurons else "lape"
        for path, header in headers.items():
            if path != units and header.get("method") != wanted:
                raise LapeError(f"{path}: of method {header.get('method')}; setting {name} wants {wanted}")
            check_found_on(description, path, header)
        return cls(
            name,
            ExpertUnits.load(units) if units else None,
            Neurons.load(neurons) if neurons else None,
            SteeringValues.load(values) if values else None,
            (*headers, *(checked(path, header, ".tsv") for path, header in headers.items())),
        )

    def perturbation(self, target: str) -> UnitPerturbation | Perturbation | None:
        """See `text_perturbation`."""
        return text_perturbation(self.setting, target, self.units, self.neurons, self.values)


@dataclass(frozen=True)
class Wanted:
    """A text that is wanted.

    Attributes:
        target: the language that it is to be in.
        number: the seed, or the number of the sentence.
        ids: the prompt's tokens, BOS included.
        language, question, prompt: as a row of a generations artifact has them; "" where there is only BOS.
    """

    target: str
    number: int
    ids: tuple[int, ...]
    language: str = ""
    question: str = ""
    prompt: str = ""


def write_texts(
    output: Path,
    model_json: Path,
    selected: Selected,
    wanted: Sequence[Wanted],
    write: Callable[[PreTrainedModel, list[Wanted], Callable[[int, int], None]], list[Answer]],
    *,
    prompt: str,
    parameters: dict,
    inputs: Sequence[Path],
    backend: str,
) -> None:
    """Write the texts of one setting as a generations artifact, one target after the other.

    Targets are kept over an interruption. Where nothing is overwritten, the same prompt and number have the same text
    for all targets, which is written once.

    Args:
        output: the JSON lines; the header lies beside them.
        model_json: header of the model artifact.
        selected: the setting.
        wanted: the texts, target by target.
        write: gives the answers to some of them; it takes the model, these, and `on_batch` of `greedy_answers`.
        prompt: what the header calls the kind of prompts.
        parameters: every setting that shapes the texts.
        inputs: files that were read, without those of the setting.
        backend: "extension" or "reference".

    Raises:
        LapeError: a prompt leaves the model's context, or a hook did not fire.
    """
    description, setting = read_json(model_json, "model"), selected.setting
    longest = max(wanted, key=lambda text: len(text.ids))
    what = f"prompt {longest.number} of {longest.target}"
    remedy = "lower max_new_tokens (expert_units.max_new_tokens, translation.max_new_tokens), or leave the sentence out"
    check_context(what, len(longest.ids), parameters["max_new_tokens"], description["context_length"], remedy)
    model, _ = load_model(model_json)

    device, inputs = str(input_device(model)), [*inputs, *selected.files]
    targets = list(dict.fromkeys(text.target for text in wanted))
    parts = {target: [text for text in wanted if text.target == target] for target in targets}
    if setting.kind == "none":
        parts = {"all": list(wanted)}
    identity = {"setting": selected.name, "targets": targets, "parameters": parameters, "device": device}
    identity["ffn"] = ffn_entry(description["model_type"])
    kept = AnswerParts(output, inputs, ["lape.commands.sample", "lape.commands.translate"], **identity)
    label = f"texts {description['name']} {prompt} {selected.name}"
    hooks = []
    with progress(sum(len(_different(texts)) for texts in parts.values()), label, "text") as bar:
        halving = Halving(parameters["batch_size"], label, bar)
        for target, texts in parts.items():
            different = _different(texts)
            hook = kept.kept(target)
            if hook is not None:
                bar.update(len(different))
            else:
                perturbing = partial(applied, model, selected.perturbation(target), backend)
                answering = partial(write, model, list(different.values()))
                try:
                    # Of neurons that were drawn by chance some never fire, and their mean is what they do anyway.
                    must_change = setting.method != "matched_lape"
                    answers, fired = proven_answers(perturbing, answering, halving, bar.update, must_change)
                except LapeError as error:
                    raise LapeError(f"{label}, {target}: {error}") from error
                given = dict(zip(different, answers, strict=True))
                rows = [
                    answer_row(text.language, text.target, text.number, text.question, text.prompt, given[_key(text)])
                    for text in texts
                ]
                hook = {"language": texts[0].language, "target": target, **fired}
                kept.keep(target, rows, hook)
            hooks.append(hook)
            if setting.method and not hook["neurons"]:
                logger.warning("%s, %s: nothing is overwritten", label, target)
    rows = kept.join()
    write_header(
        output.with_suffix(".json"),
        "generations",
        model=description["name"],
        model_revision=description["revision"],
        prompt=prompt,
        setting=selected.name,
        kind=setting.kind,
        deactivated=None,
        activated="target" if setting.method else None,
        method=setting.method,
        steering=None,
        size={hook["target"]: hook["neurons"] for hook in hooks} if setting.method else dict.fromkeys(targets, 0),
        languages=targets,
        rows=rows,
        hooks=hooks if setting.method else [],
        batch_size=min(hook["batch_size"] for hook in hooks),
        device=device,
        backend=ops.active_backend(device, backend),
        dtype=description["dtype"],
        parameters=parameters,
        inputs=inputs,
        outputs=[output],
    )
    kept.remove()
    logger.info("%s: %d texts", label, len(wanted))


def _key(text: Wanted) -> tuple[int, str]:
    return text.number, text.prompt


def _different(texts: Sequence[Wanted]) -> dict[tuple[int, str], Wanted]:
    """The texts by number and prompt, each once."""
    return {_key(text): text for text in texts}
