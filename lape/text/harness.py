"""Questions of EleutherAI's lm-evaluation-harness: the harness makes a task's documents into prompts and choices."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from lape.errors import LapeError, nearest, require
from lape.text.choice_question import Question
from lape.text.hub_datasets import reading_dataset
from lape.text.reading import Reading

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager


def read_harness(
    language: str,
    reading: Reading,
    *,
    name: str,
    codes: Mapping[str, str] | None = None,
    shots: int | None = None,
    ids: str | None = None,
    skip: Sequence[int] = (),
    include_path: str | None = None,
    overrides: Mapping | None = None,
) -> Iterator[Question]:
    """Yield the questions of a multiple-choice task of the harness, as `lm-eval` asks them without a chat template.

    A question is the whole prompt: the task's description, solved examples, and the document's text. A choice begins
    with the task's delimiter. White space at the end of a prompt goes to the choices, as in the harness; here it also
    stays with the choices where they stand alone (the score "calibrated").

    Args:
        language: the language to read.
        reading: takes note of local files, and of documents without one right choice.
        name: of the task, in which `{language}` stands for the language's code. A group gives the questions of all its
            tasks.
        codes: language -> the code that the task's names have for it; None or a language left out: the language itself.
        shots: solved examples in front of every question, which the harness draws by its own seed; None: the task's
            number.
        ids: the id of a question, with names of the document's fields in braces, where languages have their documents
            in different orders. A number stands for itself, and of another text the hash gives the number. None: the
            place in the split, from 0.
        skip: ids that are left out.
        include_path: a folder of further tasks.
        overrides: keys of the task's YAML that are set anew, such as `dataset_kwargs: {revision: ...}`.

    Raises:
        LapeError: lm-eval is not installed, there is no such task, its data cannot be read, it is no task of choices,
            its choices stand in the prompt, or a document lacks a field of `ids`.
    """
    require("lm_eval", "lm-eval", "harness")
    name = name.replace("{language}", (codes or {}).get(language, language))
    manager = _manager(name, include_path)
    with reading_dataset(name):
        tasks = manager.load(_spec(manager, name, overrides))["tasks"]
    for own, task in tasks.items():
        if task.OUTPUT_TYPE != "multiple_choice":
            raise LapeError(
                f"task {own} of the harness: is of type {task.OUTPUT_TYPE} and has no choices; evaluate it by "
                "`lape lm_eval`"
            )
        reading.inputs.extend(_files(manager, own, task))
        for requests in _requests(own, task, shots):
            place = requests[0].doc_id
            identity = place if ids is None else _number(ids, requests[0].doc, own)
            if identity not in skip:
                yield from _question(f"{own}:{place}", identity, task, requests, reading)


def _manager(name: str, include_path: str | None) -> "TaskManager":
    """The index of the tasks: that of a folder if it has the task, as the harness's own takes seconds."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=include_path, include_defaults=False)
    if name not in manager.all_tasks:
        manager = TaskManager(include_path=include_path)
    if name not in manager.all_tasks:
        raise LapeError(f"task {name}: the harness has none of this name{nearest(name, manager.all_tasks)}")
    return manager


def _spec(manager: "TaskManager", name: str, overrides: Mapping | None) -> str | dict:
    """What the index is asked for. The harness sets keys anew in the tasks of a group."""
    if not overrides:
        return name
    if name not in manager.all_subtasks:
        raise LapeError(f"task {name}: is a group of the harness, and overrides are of a task; name one of its tasks")
    return {"group": f"{name} anew", "task": [{"task": name, **overrides}]}


def _files(manager: "TaskManager", name: str, task: "Task") -> Iterator[Path]:
    """The files outside the harness that a task is read from."""
    path = manager.task_index[name].yaml_path
    if path and manager.include_path and Path(path).is_relative_to(manager.include_path):
        yield Path(path)
    files = (task.config.dataset_kwargs or {}).get("data_files") or {}
    yield from (Path(file) for file in files.values() if isinstance(file, str) and Path(file).is_file())


def _requests(name: str, task: "Task", shots: int | None) -> Iterator[list["Instance"]]:
    """What the harness would ask a model, by document."""
    from lm_eval.defaults import DEFAULT_OTHER_SEED

    if shots is not None:
        if shots and task.get_config("num_fewshot") == 0:
            raise LapeError(f"task {name} of the harness: forbids solved examples; leave shots out")
        task.set_config("num_fewshot", shots)
    task.set_fewshot_seed(DEFAULT_OTHER_SEED)
    task.build_all_requests()
    yield from (list(own) for _, own in groupby(task.instances, attrgetter("doc_id")))


def _number(ids: str, document: Mapping, name: str) -> int:
    """The id of a document, by its fields."""
    try:
        text = ids.format_map(document)
    except (KeyError, ValueError, IndexError) as error:
        raise LapeError(
            f"task {name} of the harness: a document has no id by {ids!r} ({error}); its fields are "
            f"{', '.join(document)}"
        ) from error
    return int(text) if text.isdecimal() else int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)


def _question(
    where: str, identity: int, task: "Task", requests: list["Instance"], reading: Reading
) -> Iterator[Question]:
    """The question of one document; none where the document has not one right choice."""
    document = requests[0].doc
    texts, target = list(task.doc_to_choice(document)), task.doc_to_target(document)
    asked = [request.args for request in requests[: len(texts)]]  # behind these the harness asks the choices alone
    if len({prompt for prompt, *_ in asked}) > 1:
        raise LapeError(f"task {where} of the harness: its choices stand in the prompt; evaluate it by `lape lm_eval`")
    answer = texts.index(target) if target in texts else target
    if type(answer) is not int or not 0 <= answer < len(texts):
        return reading.refuse(where, f"its target {target!r} is not one of the choices")
    whole = asked[0][0]
    prompt = whole.rstrip()
    yield Question(identity, prompt, [whole[len(prompt) :] + choice for _, choice, *_ in asked], answer)
