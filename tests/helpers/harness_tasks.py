"""Tasks of EleutherAI's harness on files of this machine, in French and Japanese."""

import json
from pathlib import Path

import yaml
from tiny_data import make_text

# Name before the language -> how its documents become prompts and choices.
KINDS = {
    "mood": {
        "doc_to_text": "{{text}} ?",
        "doc_to_choice": ["la", "maison près de", "窓が"],
        "fewshot_split": "train",
        "description": "la maison.\n",
    },
    "ending": {"doc_to_text": "", "doc_to_choice": "{{[text + ' la', text + ' cette rivière', text]}}"},
    "hollow": {"doc_to_text": "{{text}}", "doc_to_choice": ["家の", "窓が", "開く"], "target_delimiter": ""},
}


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
        for kind, settings in KINDS.items():
            task = {
                "task": f"{kind}_{language}_XX",
                "dataset_path": "json",
                "dataset_kwargs": {"data_files": files},
                "output_type": "multiple_choice",
                "test_split": "test",
                "doc_to_target": "label",
                "metric_list": [{"metric": metric} for metric in ("acc", "acc_bytes", "acc_mutual_info")],
                **settings,
            }
            (folder / f"{kind}_{language}.yaml").write_text(yaml.safe_dump(task, allow_unicode=True), encoding="utf-8")
        written = {
            "task": f"written_{language}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": files},
            "output_type": "generate_until",
            "test_split": "test",
            "doc_to_text": "{{text}}",
            "doc_to_target": "{{text}}",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8},
            "metric_list": [{"metric": "exact_match"}],
        }
        (folder / f"written_{language}.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    return folder
