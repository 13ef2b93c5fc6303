"""The answers of a model as it is and of the model with languages switched, token by token."""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch

from lape.errors import counted as number_of
from lape.generation.answers import split_thoughts
from lape.generation.asking import check_context
from lape.interventions.perturbation import Perturbation
from lape.neurons.table import Neurons
from lape.playground.asking import Asking, Request
from lape.playground.finished_run import FinishedRun, Method
from lape.playground.loaded import LoadedModel, Pair, Reading
from lape.playground.streaming import streamed
from lape.text.identification import identify


@dataclass(frozen=True)
class Side:
    """One of the two answers.

    Attributes:
        text: the answer so far, without a model's thoughts before it.
        languages: identifier -> code of the answer's language; empty until the answer is whole.
        reading: prompt and answer, read once more; None until the answer is whole.
    """

    text: str = ""
    languages: Mapping[str, str] = field(default_factory=dict)
    reading: Reading | None = None


@dataclass(frozen=True)
class Answers:
    """The answer of the model as it is, and of the model with languages switched.

    Attributes:
        normal, switched: the answers.
        sizes: language of `Reading.counts` -> number of its neurons.
        noun: what is switched.
    """

    normal: Side = Side()
    switched: Side = Side()
    sizes: Mapping[str, int] = field(default_factory=dict)
    noun: str = "neuron"

    @property
    def done(self) -> str:
        """What was switched, as a sentence; "" until the answers are whole."""
        reading = self.switched.reading
        if reading is None:
            return ""
        if not reading.switched:
            return "Nothing is switched: both answers are the model's own."
        switched, changed = number_of(reading.switched, self.noun), number_of(reading.changed, "activation")
        tokens = number_of(len(reading.tokens), "token")
        return f"{switched} switched; {changed} changed on the {tokens} of prompt and answer."


class Playground:
    """The models of a finished run, one of them loaded at a time. Several threads may ask; they take turns."""

    def __init__(self, run: FinishedRun, threads: int | None = None):
        """`threads` of the CPU; None for those of the run's jobs, so that sums round in the same way."""
        self.run, self.threads = run, threads or run.config["threads"]
        self._turn = threading.Lock()
        self._loaded: LoadedModel | None = None

    def answers(self, request: Request) -> Iterator[Answers]:
        """The answers as they grow. The last ones are whole, with their languages and what fires.

        Raises:
            LapeError: the prompt is empty or leaves the model's context, the run lacks a model, a method or a language,
                or the model cannot be loaded.
        """
        return streamed(lambda tell: self._answer(request, tell))

    def _answer(self, request: Request, tell: Callable[[Answers], None]) -> None:
        request.check()
        method = self.run.method(request.model, request.method)
        with self._turn:  # a perturbation is of the whole model
            found = self._asked(self._model(request.model), method, request, tell)
        tell(replace(found, normal=_identified(found.normal), switched=_identified(found.switched)))

    def load(self, name: str) -> None:
        """Load a model of the run, which takes seconds.

        Raises:
            LapeError: it cannot be loaded.
        """
        with self._turn:
            self._model(name)

    def _model(self, name: str) -> LoadedModel:
        if self._loaded is None or self._loaded.name != name:
            self._loaded = None  # there may be no memory for two
            torch.set_num_threads(self.threads)
            self._loaded = LoadedModel(self.run.model_json(name))
        return self._loaded

    def _asked(self, model: LoadedModel, method: Method, request: Request, tell: Callable[[Answers], None]) -> Answers:
        """Both answers, with what fires, and without their languages."""
        asking = Asking.of(self.run, request)
        neurons = model.artifact(Neurons, method.neurons)
        change = request.change.by(method, model.artifact, self.run.units)
        template = model.template(asking)
        prompt = template.prompt(request.prompt, "")
        ids = model.encode(template, prompt)
        check_context(model.model, [ids], request.max_new_tokens)
        sizes = {} if neurons is None else neurons.counts()

        def told(pair: Pair) -> None:
            tell(Answers(*(Side(split_thoughts(prompt, each.text)[1]) for each in pair), sizes))

        pair = model.answers(
            ids,
            change,
            told,
            max_new_tokens=request.max_new_tokens,
            stop=asking.stop,
            repetition_penalty=asking.repetition_penalty,
        )
        sides = []
        for answer, done in zip(pair, (Perturbation({}), change), strict=True):
            reading = model.read([*ids, *answer.tokens], len(ids), done, neurons)
            sides.append(Side(split_thoughts(prompt, answer.text)[1], {}, reading))
        return Answers(*sides, sizes, "unit" if method.units else "neuron")


def _identified(side: Side) -> Side:
    return replace(side, languages=identify(side.text))
