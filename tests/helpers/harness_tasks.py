"""Tasks of EleutherAI's harness on files of this machine, in French and Japanese."""

import json
from functools import partialmethod
from pathlib import Path

import pytest
import yaml
from tiny_data import make_text

CODES = {"fr": "fr_XX", "ja": "ja_XX"}  # of the tasks' names
# Name before the language -> how its documents become prompts and choices.
KINDS = {
    "mood": {
        "doc_to_text": "{{text}} ?",
        "doc_to_choice": ["la", "maison près de", "窓が"],
        "fewshot_split": "train",
        "description": "la maison.\n",
    },
    "ending": {
        "doc_to_text": "",
        "doc_to_choice": "{{[text + ' la', text + ' cette rivière', text]}}",
        "num_fewshot": 0,
    },
    "joined": {
        "doc_to_text": "{{text}} \n",
        "doc_to_choice": ["家の", "窓が", "開く"],
        "target_delimiter": "",
        "num_fewshot": 0,
    },
}


@pytest.fixture(scope="module")
def harness_tasks(tmp_path_factory):
    """A folder of tasks, with a harness that has no others. What it reads is kept in this test run's folder."""
    from lm_eval.tasks import TaskManager

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))
        # The harness's own tasks, and a description of this machine, take seconds.
        patch.setattr(TaskManager, "__init__", partialmethod(TaskManager.__init__, include_defaults=False))
        patch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
        yield make_tasks(tmp_path_factory.mktemp("harness") / "tasks")


def make_tasks(folder: Path, documents: int = 6) -> Path:
    """Write the YAML file and the documents of every kind and language; returns the folder."""
    folder.mkdir(parents=True)
    for language in ("fr", "ja"):
        order = range(documents)[:: 1 if language == "fr" else -1]
        for split, seed in (("test", 90), ("train", 190)):
            rows = [
                {"text": make_text(language, 3 + number % 3, seed + number), "label": number % 3, "number": number}
                for number in order
            ]
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / f"{language}-{split}.jsonl").write_text(lines, encoding="utf-8")
        files = {split: str(folder / f"{language}-{split}.jsonl") for split in ("test", "train")}
        read = {"dataset_path": "json", "dataset_kwargs": {"data_files": files}, "test_split": "test"}
        for kind, settings in KINDS.items():
            task = {
                "task": f"{kind}_{CODES[language]}",
                **read,
                "output_type": "multiple_choice",
                "doc_to_target": "label",
                "metric_list": [
                    {"metric": metric, "aggregation": "mean", "higher_is_better": True}
                    for metric in ("acc", "acc_bytes", "acc_mutual_info")
                ],
                **settings,
            }
            (folder / f"{kind}_{language}.yaml").write_text(yaml.safe_dump(task, allow_unicode=True), encoding="utf-8")
        written = {
            "task": f"written_{language}",
            **read,
            "output_type": "generate_until",
            "doc_to_text": "{{text}}",
            "doc_to_target": "{{text}}",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8},
            "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        }
        (folder / f"written_{language}.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    solved = {"include": "mood_fr.yaml", "task": "solved_fr", "test_split": "train"}
    for name, content in (("solved_fr", solved), ("both", {"group": "both", "task": ["mood_fr_XX", "solved_fr"]})):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder
