"""One question, one answer: what a notebook asks a model, in any block that perturbs it."""

from typing import TYPE_CHECKING

from lape.artifacts.shipped import default_config
from lape.errors import LapeError
from lape.generation.answers import split_thoughts
from lape.generation.decoding import greedy_answers, padded_length
from lape.generation.prompts import Template
from lape.model.tokenizer import backend_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def answer(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    question: str,
    *,
    max_tokens: int = 64,
    chat: bool | None = None,
    repetition_penalty: float | None = None,
) -> str:
    """The model's answer to a question, by greedy search as in the workflow.

    It works inside the blocks of `deactivate`, `steer`, `switch`, `perturbed`, `overwritten` and `zeroed`.

    Args:
        model: a Hugging Face causal LM.
        tokenizer: its fast tokenizer.
        question: the question.
        max_tokens: tokens of the answer, at most.
        chat: ask through the tokenizer's chat template. False continues "Q: <question>\\nA:", the workflow's default
            prompt, and ends before the next question. None: the chat template where the tokenizer has one.
        repetition_penalty: penalty of tokens that were there before; None for that of the default configuration, 1.1.

    Returns:
        the answer, without white space around it and without a model's thoughts before it.

    Raises:
        LapeError: question and answer leave the model's context, a template is wanted that the tokenizer lacks, or the
            tokenizer is not fast.
    """
    settings, backend = default_config()["generation"], backend_of(tokenizer)
    if chat is None:
        chat = getattr(tokenizer, "chat_template", None) is not None
    text = settings["chat_template" if chat else "template"].replace("{suffix}", "")
    template = Template(text, None, tokenizer if chat else None)
    prompt = template.prompt(question, "")
    ids = template.encode(backend, prompt)
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context and padded_length(model, [ids], max_tokens) + max_tokens > context:
        raise LapeError(
            f"the question takes {len(ids)} tokens, with {max_tokens} of an answer more than the context of {context}; "
            "shorten it or lower max_tokens"
        )
    (found,) = greedy_answers(
        model,
        backend,
        [ids],
        max_new_tokens=max_tokens,
        stop=() if chat else settings["stop"],
        repetition_penalty=settings["repetition_penalty"] if repetition_penalty is None else repetition_penalty,
    )
    return split_thoughts(prompt, found.text)[1]
