"""A run's task as lm-evaluation-harness reads it by `--include_path`: JSON lines and a YAML file per language."""

import json
from pathlib import Path

import yaml

from lape.artifacts.files import read_json, writing_folder
from lape.errors import LapeError
from lape.evaluation.choices import ChoiceTemplate
from lape.text.tasks import load_aligned


def export_task(run: Path, task: str, folder: Path) -> list[str]:
    """Write a run's task for the harness, which then knows `<task>_<language>`, and all of them by the tag `<task>`.

    The prompt and the delimiter before a choice are those of the run's template. So `acc` is the accuracy by the summed
    log-likelihood. `acc_norm` divides it by the choice's characters.

    Args:
        run: the folder of the run, which has made the questions.
        task: by its name in the configuration.
        folder: a new folder. The YAML files name it by its whole path.

    Returns:
        the names of the harness's tasks.

    Raises:
        LapeError: the run has no such task, or the folder exists.
    """
    headers = sorted((run / "tasks" / task).glob("*.json"))
    if not headers:
        raise LapeError(f"{run}: has no questions of a task {task!r}; run `snakemake downstream` with it")
    if folder.exists():
        raise LapeError(f"{folder}: is there already; name a new folder")
    template = ChoiceTemplate(read_json(run / "config.json")["tasks"][task]["template"])
    questions = {f"{task}_{language}": own for language, own in load_aligned(headers).items()}
    with writing_folder(folder) as temporary:
        for name, own in questions.items():
            lines = "".join(json.dumps(each._asdict(), ensure_ascii=False) + "\n" for each in own)
            (temporary / f"{name}.jsonl").write_text(lines, encoding="utf-8")
            settings = _settings(name, task, template, folder.resolve() / f"{name}.jsonl")
            text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
            (temporary / f"{name}.yaml").write_text(text, encoding="utf-8")
    return list(questions)


def _settings(name: str, task: str, template: ChoiceTemplate, lines: Path) -> dict:
    """What the harness is told of one language."""
    metrics = [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in ("acc", "acc_norm")]
    return {
        "task": name,
        "tag": task,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(lines)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": template.prompt("{{question}}"),
        "target_delimiter": template.delimiter,
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": metrics,
        "metadata": {"version": 1.0},
    }
