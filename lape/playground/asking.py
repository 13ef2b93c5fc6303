"""What is asked in the playground, and how a run asks it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lape.errors import LapeError
from lape.playground.change import Change
from lape.playground.finished_run import FinishedRun


@dataclass(frozen=True)
class Request:
    """What is asked of a run's model.

    Attributes:
        model, method: of the run.
        prompt: a question, or a text to go on with.
        change: what is switched.
        is_question: whether the prompt is asked as the run asks its questions. Otherwise the model goes on with it.
        max_new_tokens: tokens of an answer, at most.
    """

    model: str
    method: str
    prompt: str
    change: Change = field(default_factory=Change)
    is_question: bool = True
    max_new_tokens: int = 32

    def check(self) -> None:
        """Check the prompt.

        Raises:
            LapeError: it is empty, or no text.
        """
        if not self.prompt.strip():
            raise LapeError("the prompt is empty; write a question")
        try:
            self.prompt.encode()
        except UnicodeEncodeError as error:
            raise LapeError("the prompt holds half a character (a lone surrogate); write it again") from error


@dataclass(frozen=True)
class Asking:
    """How a prompt becomes what the model reads, and where an answer ends.

    Attributes:
        template: with {question}.
        chat, chat_arguments: whether the model's chat template wraps it, and further arguments of that template.
        stop: strings that end an answer.
        repetition_penalty: see `lape.generation.decoding.greedy_answers`.
    """

    template: str
    chat: bool = False
    chat_arguments: Mapping[str, object] = field(default_factory=dict)
    stop: Sequence[str] = ()
    repetition_penalty: float = 1.0

    @classmethod
    def of(cls, run: FinishedRun, request: Request) -> "Asking":
        """How a run asks its questions without a request for a language; or a text that the model goes on with."""
        settings, entry = run.config["generation"], run.config["catalogue"][request.model]
        penalty = settings["repetition_penalty"]
        if not request.is_question:
            return cls("{question}", repetition_penalty=penalty)
        chat = bool(entry.get("chat", False))
        text = settings["chat_template" if chat else "template"].replace("{suffix}", "")
        return cls(text, chat, (chat and entry.get("chat_arguments")) or {}, settings["stop"], penalty)
