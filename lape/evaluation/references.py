"""The texts that answers are compared with: normal answers, held-out sentences, or translations of aligned pairs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lape.artifacts.files import read_json
from lape.errors import LapeError
from lape.generation.answers import read_answers
from lape.text.pairs import load_pairs
from lape.text.sentences import load_sentences


def references(headers: Sequence[str | Path], header: Mapping, answers: Sequence[Mapping]) -> list[tuple[str, ...]]:
    """The texts that each answer is compared with.

    Args:
        headers: headers of the reference. Answers to questions are compared with the normal answers. Unconditional
            texts are compared with all held-out sentences of their target, which is the measure of quality of Kojima et
            al. (2024); pass the headers of every language. Translations are compared with the pairs that they were made
            from.
        header: header of the generations.
        answers: rows of the generations.

    Raises:
        LapeError: the reference is of another kind, another model or another corpus, or lacks an answer's reference.
    """
    prompt = header["prompt"]
    if prompt == "unconditional":
        return held_out_sentences(headers, answers)
    if prompt.startswith("translation-"):
        return aligned_translations(headers, prompt.removeprefix("translation-"), answers)
    if len(headers) > 1:
        raise LapeError(f"{headers[1]}: a second reference; pass the normal answers alone")
    return [(answer,) for answer in normal_answers(headers[0], header, answers)]


def held_out_sentences(headers: Sequence[str | Path], answers: Sequence[Mapping]) -> list[tuple[str, ...]]:
    """All held-out sentences of each answer's target.

    Raises:
        LapeError: a target has no held-out sentences, or two headers are of one language.
    """
    found: dict[str, tuple[str, ...]] = {}
    for path in headers:
        language = read_json(path, "sentences")["language"]
        if language in found:
            raise LapeError(f"{path}: second sentences in {language}; pass each language's once")
        found[language] = tuple(load_sentences(path)["held_out"])
    for answer in answers:
        if not found.get(answer["target"]):
            raise LapeError(
                f"{headers[0]}: neither it nor another one has held-out sentences in {answer['target']}; pass the "
                "sentences of every language"
            )
    return [found[answer["target"]] for answer in answers]


def aligned_translations(
    headers: Sequence[str | Path], corpus: str, answers: Sequence[Mapping]
) -> list[tuple[str, ...]]:
    """The translation in the pair that each answer was made from.

    Raises:
        LapeError: the pairs are of another corpus, or lack a sentence that was translated.
    """
    found = {}
    for path in headers:
        header = read_json(path, "pairs")
        if header["corpus"] != corpus:
            raise LapeError(f"{path}: pairs of {header['corpus']}, the translations are of {corpus}; pass its pairs")
        for pair in load_pairs(path):
            key = header["source_language"], header["language"], pair["number"], pair["source"]
            found[key] = (pair["reference"],)
    keys = [tuple(answer[key] for key in ("language", "target", "number", "question")) for answer in answers]
    for key in keys:
        if key not in found:
            raise LapeError(
                f"{headers[0]}: neither it nor another one has the sentence {key[2]} of {key[0]} that was translated "
                f"into {key[1]}; pass the pairs that were translated"
            )
    return [found[key] for key in keys]


def normal_answers(header_path: str | Path, header: Mapping, answers: Sequence[Mapping]) -> list[str]:
    """The answers of the same unperturbed model to the same questions, put in the language of the wanted answer.

    Args:
        header_path: path of the header of the answers in setting "normal".
        header: header of the generations.
        answers: rows of the generations.

    Returns:
        one normal answer for each of `answers`.

    Raises:
        LapeError: the normal answers are of another model, prompt or setting, or one is missing.
    """
    reference, normal = read_answers(header_path)
    expected = {key: header[key] for key in ("model", "model_revision", "prompt")} | {"setting": "normal"}
    for key, value in expected.items():
        if reference[key] != value:
            raise LapeError(f"{header_path}: its {key} is {reference[key]}, not {value}; pass the normal answers to it")
    # A prompt that asks for a language is compared with answers to one that does not ask.
    asks = ["suffixes"] if header["kind"] != "prompted" else []
    for key in ("template", *asks, "chat", "stop", "max_new_tokens", "repetition_penalty"):
        if reference["parameters"].get(key) != header["parameters"].get(key):
            raise LapeError(f"{header_path}: was generated with another {key}; pass the normal answers with the same")
    found = {(answer["language"], answer["number"]): answer["output"] for answer in normal}
    for answer in answers:
        if (answer["target"], answer["number"]) not in found:
            raise LapeError(
                f"{header_path}: has no answer to question {answer['number']} in {answer['target']}; "
                "generate the normal answers to the same questions in all languages"
            )
    return [found[answer["target"], answer["number"]] for answer in answers]
