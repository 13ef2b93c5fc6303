"""Questions with choices, one of which is right: what a model's accuracy on a task is measured on.

All languages of a task have the same questions under the same ids, with the same right choices. Answers are compared
question by question.
"""

import inspect
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lape.artifacts.files import checked, read_json, read_rows, write_header, writing
from lape.errors import LapeError
from lape.text.choice_question import Question
from lape.text.files import json_lines, matching_paths
from lape.text.harness import read_harness
from lape.text.next_passage import read_next_passage
from lape.text.reading import Reading
from lape.text.shortcuts import baselines

logger = logging.getLogger(__name__)


_KINDS = {"id": int, "question": str, "choices": list, "answer": int}


def read_examples(
    language: str,
    reading: Reading,
    *,
    file: str | Path,
    document: str,
    labels: Mapping[str, str] | None = None,
    skip: Sequence[int] = (),
) -> Iterator[Question]:
    """Yield the questions of a BIG-bench task: a JSON document's list `examples`, with `input` and `target_scores`.

    The id of a question is its place among the examples, from 0. The right choice is the one of the highest score.

    Args:
        language: the language to read.
        reading: takes note of the file and of unusable examples.
        file: a file of one JSON document or of several, one after another.
        document: `name` of the document, in which `{language}` stands for the language.
        labels: label in `target_scores` -> text of the choice. Examples of which another label is right are left out.
            None: all labels are choices, by their names.
        skip: ids that are left out, such as those of examples that are empty in one language.

    Raises:
        LapeError: the file cannot be read, or has no such document with examples.
    """
    name = document.replace("{language}", language)
    found = next((each for each in _documents(Path(file)) if each.get("name") == name), None)
    if found is None or not isinstance(found.get("examples"), list):
        raise LapeError(f"{file}: has no document {name!r} with a list 'examples'; correct 'document' or the languages")
    reading.inputs.append(Path(file))
    for place, example in enumerate(found["examples"]):
        if place in skip:
            continue
        where, scores = f"{name}:example {place}", example.get("target_scores") if isinstance(example, dict) else None
        if not isinstance(scores, dict) or not all(isinstance(score, int | float) for score in scores.values()):
            reading.refuse(where, "no target_scores with numbers")
            continue
        best = [label for label, score in scores.items() if score == max(scores.values())]
        if len(best) != 1:
            reading.refuse(where, f"{len(best)} labels have the highest score")
            continue
        texts = dict(zip(scores, scores, strict=True)) if labels is None else labels
        if best[0] in texts and reading.document(where, place, example.get("input")):
            yield Question(place, example["input"].strip(), list(texts.values()), list(texts).index(best[0]))


def _documents(path: Path) -> Iterator[dict]:
    """The JSON objects of a file, which stand one after another."""
    try:
        text, place, decoder = path.read_text(encoding="utf-8").strip(), 0, json.JSONDecoder()
        while place < len(text):
            found, place = decoder.raw_decode(text, place)
            if isinstance(found, dict):
                yield found
            while text[place : place + 1].isspace():
                place += 1
    except OSError as error:
        raise LapeError(f"{path}: cannot be read ({error.strerror}); run the step that downloads it") from error
    except (ValueError, RecursionError) as error:
        raise LapeError(f"{path}: is not valid JSON ({error}); name another download") from error


def read_files(
    language: str, reading: Reading, *, pattern: str | Mapping[str, str], skip: Sequence[int] = ()
) -> Iterator[Question]:
    """Yield the questions of JSON lines with `id`, `question`, `choices` and `answer`, as `build_task` writes them.

    Args:
        language: the language to read.
        reading: takes note of the files and of unusable lines.
        pattern: glob in which `{language}` stands for the language, or a glob for each language.
        skip: ids that are left out.

    Raises:
        LapeError: no file matches, or a file cannot be read.
    """
    for path in matching_paths(pattern, language):
        reading.inputs.append(path)
        try:
            for where, row in json_lines(path, str(path), reading):
                if any(type(row.get(key)) is not kind for key, kind in _KINDS.items()):
                    reading.refuse(where, f"no object with {', '.join(_KINDS)}")
                elif row["id"] in skip:
                    continue
                elif not all(isinstance(choice, str) and choice.strip() for choice in row["choices"]):
                    reading.refuse(where, "a choice is no text")
                elif not 0 <= row["answer"] < len(row["choices"]) or len(row["choices"]) < 2:
                    reading.refuse(where, f"answer {row['answer']} is no place among two choices or more")
                elif reading.document(where, row["id"], row["question"]):
                    yield Question(*(row[key] for key in _KINDS))
        except OSError as error:
            raise LapeError(
                f"{path}: cannot be read ({error.strerror or error}); mend it, or name files without it"
            ) from error


SOURCES = {
    "embedded": read_examples,
    "files": read_files,
    "harness": read_harness,
    "next_passage": read_next_passage,
}


def balanced(questions: Sequence[Question], number: int | None, label: str) -> list[Question]:
    """As many questions of each answer, by the places of the right choices: the first of each, in the order of the ids.

    The share of right answers is then 1 / K by any constant answer, where each of K places is right equally often.

    Args:
        questions: the questions of one language.
        number: how many to take over all answers; None for as many as the rarest answer allows.
        label: what messages call the questions.

    Raises:
        LapeError: the number is no multiple of the number of answers, or there are fewer questions of an answer.
    """
    groups: dict[int, list[Question]] = {}
    for question in sorted(questions, key=lambda each: each.id):
        groups.setdefault(question.answer, []).append(question)
    answers = max(len(question.choices) for question in questions) if questions else 0
    fewest = min((len(groups.get(answer, ())) for answer in range(answers)), default=0)
    each, rest = (fewest, 0) if number is None else divmod(number, max(answers, 1))
    if rest:
        raise LapeError(f"{label}: {number} questions are no multiple of {answers} answers; name a multiple")
    if not 0 < each <= fewest:
        raise LapeError(
            f"{label}: {each or 1} questions of each answer are wanted, {fewest} is all there is of one; lower the "
            "number, or add questions"
        )
    return sorted((question for group in groups.values() for question in group[:each]), key=lambda each: each.id)


def build_task(
    task: str, language: str, source: str, settings: Mapping, output: str | Path, *, number: int | None = None
) -> None:
    """Write one language's questions as JSON lines, in the order of the ids, and the header of the file beside it.

    Args:
        task: what the task is called.
        language: the language to read.
        source: one of `SOURCES`.
        settings: keyword arguments of the source's reader.
        output: the `.jsonl`; the header is the `.json` beside it.
        number: see `balanced`.

    Raises:
        LapeError: a setting is missing or unknown, the questions cannot be read, two have the same id, or see
            `balanced`.
    """
    output, reading, label = Path(output), Reading(), f"task {task} {language}"
    read = SOURCES[source]
    try:
        inspect.signature(read).bind(language, reading, **settings)
    except TypeError as error:
        raise LapeError(f"settings of tasks source {source}: {error}; correct the settings") from error
    found = list(read(language, reading, **settings))
    if reading.bad:
        raise LapeError(
            f"{label}: {reading.bad} bad rows, the first is {reading.examples[0]}; mend the file, or "
            "leave the id out of all languages by `skip`"
        )
    if twice := [identity for identity, times in Counter(each.id for each in found).items() if times > 1]:
        raise LapeError(f"{label}: id {min(twice)} is there twice; number the questions")
    chosen = balanced(found, number, label)
    solved = baselines(chosen)
    with writing(output) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        for question in chosen:
            file.write(json.dumps(question._asdict(), ensure_ascii=False) + "\n")
    write_header(
        output.with_suffix(".json"),
        "task",
        task=task,
        language=language,
        source=source,
        questions=len(chosen),
        found=len(found),
        baselines=solved,
        parameters={"settings": dict(settings), "number": number},
        inputs=reading.inputs,
        outputs=[output],
    )
    logger.info("%s: %d of %d questions", label, len(chosen), len(found))
    if better := [f"{row['rule']} {row['accuracy']:.2f}" for row in solved if row["low"] > row["chance"]]:
        logger.warning("%s: rules that read nothing are better than chance: %s", label, ", ".join(better))


def load_task(header_path: str | Path) -> list[Question]:
    """The questions of an artifact, in the order of the ids.

    Raises:
        LapeError: the header is of another kind of artifact, or was written for another file.
    """
    path = checked(header_path, read_json(header_path, "task"), ".jsonl")
    return [Question(*(row[key] for key in _KINDS)) for row in read_rows(path, _KINDS)]


def load_aligned(headers: Sequence[str | Path]) -> dict[str, list[Question]]:
    """Language -> its questions, after a check that all languages have the same ids with the same right choices.

    Raises:
        LapeError: a language is there twice, is of another task, or has other questions than the first language.
    """
    first, found = headers[0], {}
    for path in headers:
        header, questions = read_json(path, "task"), load_task(path)
        if header["task"] != read_json(first, "task")["task"]:
            raise LapeError(
                f"{path}: is of the task {header['task']}, {first} of another; name the headers of one task"
            )
        if header["language"] in found:
            raise LapeError(f"{path}: {header['language']} is there twice; name each language once")
        found[header["language"]] = questions
        keys = [[(each.id, each.answer, len(each.choices)) for each in some] for some in (questions, load_task(first))]
        if keys[0] != keys[1]:
            raise LapeError(
                f"{path}: has other questions, or other right choices, than {first}; give all languages the same "
                "questions under the same ids"
            )
    return found
