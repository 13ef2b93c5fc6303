"""`lape export task`: what lm-evaluation-harness reads, and what is refused."""

import json
from pathlib import Path

import yaml
from stages import check_refusal
from tiny_data import make_task

from lape.cli import main
from lape.text.tasks import build_task, load_task


def test_a_task_is_written_as_the_harness_reads_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_task(tmp_path / "moods")
    for language in ("fr", "ja"):
        build_task("mood", language, "files", {"pattern": "moods/{language}.jsonl"}, f"run/tasks/mood/{language}.jsonl")
    config = {"tasks": {"mood": {"template": "- {question}\n-\n {choice}"}}}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    words = ["export", "task", "run", "mood", "--output", "out"]
    assert main(words) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"mood_{language}.{suffix}" for language in ("fr", "ja") for suffix in ("jsonl", "yaml")
    ]
    written = yaml.safe_load((tmp_path / "out" / "mood_fr.yaml").read_text())
    assert (written["task"], written["tag"], written["output_type"]) == ("mood_fr", "mood", "multiple_choice")
    # The harness fills in {{question}} and puts the delimiter before every choice.
    assert (written["doc_to_text"], written["target_delimiter"]) == ("- {{question}}\n-", "\n ")
    lines = Path(written["dataset_kwargs"]["data_files"]["test"]).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows == [each._asdict() for each in load_task("run/tasks/mood/fr.json")]
    assert rows[1][written["doc_to_choice"]][rows[1][written["doc_to_target"]]] == "BC"
    unknown = [*words[:3], "x", *words[4:]]
    for wrong, fault in ((words, "out: is there already"), (unknown, "no questions of a task 'x'")):
        capsys.readouterr()
        check_refusal(main(wrong), capsys.readouterr().err, "export", fault)
