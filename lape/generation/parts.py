"""Answers part by part: each part proves that its perturbation fired, and is kept over an interruption."""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from lape.artifacts.code import code_hash
from lape.artifacts.files import sha256, versions, writing
from lape.artifacts.kept_parts import finished, mark_finished
from lape.errors import LapeError
from lape.generation.answers import counts
from lape.generation.decoding import Answer
from lape.machine import ranks
from lape.machine.memory import Halving


class AnswerParts:
    """The parts of a generations artifact, each a file beside the whole until that is written.

    A part of an earlier run is kept only if everything that shapes its answers is the same.

    Args:
        output: the JSON lines of the whole.
        inputs: files that were read.
        code: modules that decide on a token, see `artifacts.code.code_of`.
        **identity: what else shapes an answer.
    """

    def __init__(self, output: Path, inputs: Iterable[Path], code: Iterable[str], **identity):
        self._output, self._folder, self._files = output, output.with_suffix(".parts"), []
        self._identity = {
            **identity,
            "inputs": {str(path): sha256(path) for path in inputs},
            "code": code_hash(*code),
            "versions": {package: versions()[package] for package in ("torch", "transformers", "tokenizers")},
        }

    def kept(self, name: str) -> dict | None:
        """The notes on a part that an earlier run finished, which is then part of the whole; else None."""
        file = self._folder / f"{name}.jsonl"
        notes = finished(file, self._identity)
        if notes is not None:
            self._files.append(file)
        return notes

    def keep(self, name: str, rows: Iterable[dict], notes: dict) -> None:
        """Write a part, the next of the whole, and notes on it."""
        file = self._folder / f"{name}.jsonl"
        with writing(file) as temporary, open(temporary, "w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        mark_finished(file, self._identity, notes)
        self._files.append(file)

    def join(self) -> list[dict]:
        """Write the whole; returns the `counts` of its answers."""
        lines = b"".join(file.read_bytes() for file in self._files)
        with writing(self._output) as temporary:
            temporary.write_bytes(lines)
        return counts(map(json.loads, lines.strip().split(b"\n")))

    def remove(self) -> None:
        """Remove the parts, once the whole has its header."""
        if ranks.writes():
            shutil.rmtree(self._folder, ignore_errors=True)  # another run of the same may have done so


def answer_row(language: str, target: str, number: int, question: str, prompt: str, answer: Answer) -> dict:
    """A row of a generations artifact."""
    said = {"output": answer.text, "tokens": answer.tokens, "finish_reason": answer.finish_reason}
    return {"language": language, "target": target, "number": number, "question": question, "prompt": prompt, **said}


def proven_answers(
    perturbing: Callable[[], AbstractContextManager],
    answer: Callable[[int, Callable[[int, int], None]], Sequence[Answer]],
    halving: Halving,
    on_answers: Callable[[int], object],
    must_change: bool,
) -> tuple[Sequence[Answer], dict]:
    """Answers under a perturbation, once every hook is seen to have fired at every token.

    Args:
        perturbing: makes what perturbs the model; it yields the record of what fired, such as `perturbation.Firing`.
        answer: gives the answers; it takes the `batch_size` and the `on_batch` of `greedy_answers`.
        halving: the size of the batches, which memory may lower.
        on_answers: called with the number of each batch's answers, for progress.
        must_change: fail where the perturbation changed nothing, too.

    Returns:
        the answers; and what the hooks did, over all layers, with the size of the batches. Padding and the rows that
        fill a batch are fed and changed too.

    Raises:
        LapeError: a hook did not fire, or not even one answer fits the memory.
    """

    def attempt(size: int) -> tuple[Sequence[Answer], dict]:
        fed = []

        def note(answered: int, tokens: int) -> None:
            fed.append(tokens)
            on_answers(answered)

        with perturbing() as firing:
            given = answer(size, note)
        firing.check(sum(fed), must_change=must_change)
        return given, {
            "batch_size": size,
            "layers": len(firing.neurons),
            "neurons": sum(firing.neurons.values()),
            "fed": max(firing.rows.values(), default=0),
            "changed": sum(firing.changed.values()),
        }

    return halving(attempt)


def check_context(what: str, tokens: int, new_tokens: int, context: int | None, remedy: str) -> None:
    """Refuse what would leave the model's context: position embeddings end there, or mean nothing behind it.

    Raises:
        LapeError: the text, such as "a question in fr", would, or has no token to go on from.
    """
    if not tokens:
        raise LapeError(f"{what} takes no token; write a longer template, or mend the tokenizer")
    if context and tokens + new_tokens > context:
        raise LapeError(
            f"{what} takes {tokens} tokens, with {new_tokens} of an answer more than the context of {context}; {remedy}"
        )


def check_options(setting: str, options: Mapping[str, tuple[Path | None, bool]]) -> None:
    """Refuse a setting without the artifacts that it needs, or with others.

    Args:
        setting: its name.
        options: option -> the path that was given, and whether the setting needs one.

    Raises:
        LapeError: one is missing or not used.
    """
    for option, (path, needed) in options.items():
        if needed != (path is not None):
            fault = "is missing; pass it" if needed else "is not used; leave it out"
            raise LapeError(f"setting {setting}: {option} {fault}")
