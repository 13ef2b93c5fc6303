"""From a question to the text that a model continues: by the paper's template, or by a chat model's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer

from lape.errors import LapeError, first_line
from lape.model.tokenizer import prompt_ids

# With the prompt "suffix", a request to answer in the wanted language follows the question; with "plain" none does.
PROMPTS = ("plain", "suffix")


@dataclass(frozen=True)
class Template:
    """How a question becomes a prompt.

    Attributes:
        text: the template with {question} and {suffix}. The released code has "Q: {question}{suffix}\\nA:".
        suffixes: language of the answer -> request for the language, with a leading space; None for no request.
        chat: a tokenizer whose chat template wraps the text as a message of the user; None where the text is the whole
            prompt.
        chat_arguments: further arguments of the chat template, such as {"enable_thinking": False}.
    """

    text: str
    suffixes: dict[str, str] | None = None
    chat: object | None = None  # a transformers tokenizer
    chat_arguments: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self):
        places = ("{question}", *(["{suffix}"] if self.suffixes is not None else []))
        if missing := [place for place in places if place not in self.text]:
            raise LapeError(f"generation template {self.text!r}: has no {missing[0]}; write it where it belongs")

    def prompt(self, question: str, target: str) -> str:
        """The whole text that the model gets, except for the BOS that its tokenizer adds.

        Raises:
            LapeError: there is no suffix for the target, or the tokenizer has no chat template.
        """
        if self.suffixes is not None and target not in self.suffixes:
            raise LapeError(f"generation.suffixes: none asks for an answer in {target!r}; add it")
        suffix = "" if self.suffixes is None else self.suffixes[target]
        text = self.text.replace("{suffix}", suffix).replace("{question}", question)
        if self.chat is None:
            return text
        said = [{"role": "user", "content": text}]
        try:
            arguments = {"add_generation_prompt": True, **self.chat_arguments, "tokenize": False}
            return self.chat.apply_chat_template(said, **arguments)
        except Exception as error:  # A template is a program in the checkpoint, which may raise anything.
            raise LapeError(
                f"the chat template fails ({first_line(error)}); set the model's `chat` to false"
            ) from error

    def encode(self, tokenizer: Tokenizer, prompt: str) -> list[int]:
        """Token ids of a prompt. The text of a chat template has its special tokens already, so none is added."""
        return prompt_ids(tokenizer, prompt, begin=self.chat is None)


def chat_tokenizer(path: str | Path, revision: str | None, trust_remote_code: bool):
    """The transformers tokenizer of a checkpoint, for its chat template.

    Raises:
        LapeError: the tokenizer has no chat template.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code)
    if tokenizer.chat_template is None:
        raise LapeError(f"{path}: its tokenizer has no chat template; set the model's `chat` to false")
    return tokenizer
