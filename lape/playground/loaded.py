"""A model of a finished run, loaded, with its tokenizer and what was found on it."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from lape.artifacts.files import read_json
from lape.contexts.text import pieces
from lape.generation.decoding import Answer, filled_up, greedy_answers, padded_length
from lape.generation.prompts import Template, chat_tokenizer
from lape.interventions.overwriting import UnitPerturbation, overwritten
from lape.interventions.perturbation import Perturbation, perturbed
from lape.model.decoder import decoder_of, input_device
from lape.model.loading import check_found_on, load_model, location
from lape.model.tokenizer import load_tokenizer
from lape.neurons.table import Neurons
from lape.playground.asking import Asking
from lape.playground.firing import FiringCounter

_T = TypeVar("_T")
Pair = tuple[Answer, Answer]


@dataclass(frozen=True)
class Reading:
    """A text that was read under a change.

    Attributes:
        tokens: the text of each token.
        prompt_length: how many of the tokens are the prompt.
        counts: int64 [T, K]; see `FiringCounter`. None where no neurons are known.
        switched: number of neurons or units that the change is of.
        changed: number of activations or outputs that it changed, over the tokens.
    """

    tokens: list[str]
    prompt_length: int
    counts: np.ndarray | None
    switched: int
    changed: int


class LoadedModel:
    """A model that is asked. It is perturbed as a whole: one thread at a time may ask it.

    Attributes:
        name: of the model.
        model: in evaluation mode.
    """

    def __init__(self, model_json: Path):
        self.name, self._json = model_json.parent.name, model_json
        self.model, self._description = load_model(model_json)
        self._tokenizer = load_tokenizer(model_json.with_name("tokenizer.json"))
        self._artifacts: dict[Path, object] = {}

    def template(self, asking: Asking) -> Template:
        """How a prompt is asked."""
        chat = None
        if asking.chat:
            trust = self._description["parameters"]["trust_remote_code"]
            chat = chat_tokenizer(*location(self._json, self._description), trust)
        return Template(asking.template, None, chat, asking.chat_arguments)

    def encode(self, template: Template, prompt: str) -> list[int]:
        """Token ids of a prompt that a template made."""
        return template.encode(self._tokenizer, prompt)

    def artifact(self, kind: type[_T], path: Path | None) -> _T | None:
        """What was found on the model, read once from its header; None where there is no header.

        Raises:
            LapeError: it is damaged, or was found on another model.
        """
        if path is None:
            return None
        if path not in self._artifacts:
            check_found_on(self._description, path, read_json(path))
            self._artifacts[path] = kind.load(path)
        return self._artifacts[path]

    def answers(
        self,
        ids: Sequence[int],
        change: Perturbation | UnitPerturbation,
        on_token: Callable[[Pair], None],
        **settings,
    ) -> Pair:
        """The answer as the model is, and the answer under a change.

        Neurons are changed in one row of a batch and not in the other, so that both answers grow together. Where
        nothing is changed, there is one answer.

        Args:
            ids: token ids of the prompt.
            change: of neurons or of expert units.
            on_token: called after each token with both answers so far.
            **settings: of `greedy_answers`.
        """

        def ask(rows: int, told: Callable[[list[Answer]], None]) -> list[Answer]:
            return greedy_answers(self.model, self._tokenizer, [ids] * rows, on_token=told, **settings)

        if isinstance(change, Perturbation) and _size(change):
            length = padded_length(self.model, [ids], settings["max_new_tokens"])
            choice = torch.tensor(filled_up([-1, 0]))
            with perturbed(self.model, change, choice, prompt_length=length):
                return tuple(ask(2, lambda both: on_token(tuple(both))))
        [normal] = ask(1, lambda own: on_token((own[0], own[0])))
        if not _size(change):
            return normal, normal
        with overwritten(self.model, change):
            [changed] = ask(1, lambda own: on_token((normal, own[0])))
        return normal, changed

    @torch.inference_mode()
    def read(
        self,
        ids: Sequence[int],
        prompt_length: int,
        change: Perturbation | UnitPerturbation,
        neurons: Neurons | None,
    ) -> Reading:
        """Read a text under a change, and count what fires.

        Args:
            ids: T token ids, the first `prompt_length` of them the prompt.
            change: of neurons or of expert units.
            neurons: of some languages, whose firing is counted.
        """
        counter = None if neurons is None else FiringCounter(self.model, neurons, len(ids))
        see = counter and counter.see
        with contextlib.ExitStack() as stack:
            if isinstance(change, UnitPerturbation):
                firing = stack.enter_context(overwritten(self.model, change))
                stack.enter_context(perturbed(self.model, Perturbation({}), see=see))
            else:
                firing = stack.enter_context(perturbed(self.model, change, prompt_length=prompt_length, see=see))
            decoder_of(self.model)(input_ids=torch.tensor([ids], device=input_device(self.model)), use_cache=False)
        texts = pieces(self._tokenizer, ids)
        return Reading(texts, prompt_length, counter and counter.counts(), _size(change), sum(firing.changed.values()))


def _size(change: Perturbation | UnitPerturbation) -> int:
    """Number of neurons or units that are changed."""
    if isinstance(change, UnitPerturbation):
        return change.size
    return sum(len(index) for part in change.parts for index in part.indices.values())
