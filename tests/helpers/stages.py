"""Every stage's command line, and what a refusal looks like: shared by the tests of bad input."""

import json
from collections.abc import Collection
from pathlib import Path

from tiny_data import make_model, make_task, make_text, make_texts

from lape import cli

SENTENCES = json.dumps({"maximum_characters": 5000})  # a text of the tests is one sentence
CORPUS = json.dumps({"pattern": "texts/{language}/*", "text_column": "text", "id_column": None})
# A command line of every stage, in the order in which data flow; the last word is what it writes.
STAGES = {
    "corpus": f"corpus --language fr --source files --settings {CORPUS.replace(' ', '')} --language-check off "
    "--output corpus/fr.parquet",
    "model": "model --name tiny --path model --device cpu --dtype float32 --output models/model.json",
    "tokens": "tokens --corpus corpus/fr.parquet --model models/model.json --split train --budget 512 "
    "--chunk-length 16 --bos --output tokens/fr/train.npy",
    "valid": "tokens --corpus corpus/fr.parquet --model models/model.json --split valid --budget 128 "
    "--chunk-length 16 --bos --output tokens/fr/valid.npy",
    "statistics": "statistics --model models/model.json --tokens tokens/fr/train.json --shards 4 "
    "--output statistics/fr.npz",
    "select": "select --statistics statistics/fr.json statistics/ja.json --ratio 0.1 --output neurons/lape.tsv",
    "contexts": "contexts --model models/model.json --neurons neurons/lape.json --statistics statistics/fr.json "
    "statistics/ja.json --tokens tokens/fr/train.json --budget 256 --output contexts/fr.jsonl",
    "vocabulary_effects": "vocabulary_effects --model models/model.json --neurons neurons/lape.json "
    "--tokens tokens/fr/train.json tokens/ja/train.json --output vocabulary_effects/lape.jsonl",
    "control": "control --neurons neurons/lape.json --statistics statistics/fr.json statistics/ja.json "
    "--output neurons/active_lape.tsv",
    "baseline": "perplexity --model models/model.json --tokens tokens/fr/valid.json tokens/ja/valid.json "
    "--output perplexity/baseline.tsv",
    "perplexity": "perplexity --model models/model.json --tokens tokens/fr/valid.json tokens/ja/valid.json "
    "--neurons neurons/lape.json --deactivate fr --output perplexity/fr.tsv",
    "questions": 'questions --language fr --settings {"pattern":"asked/{language}.txt"} --output questions/fr.jsonl',
    "steering": "steering --neurons neurons/lape.json --statistics statistics/fr.json statistics/ja.json "
    "--output steering/lape.tsv",
    "directions": "directions --model models/model.json --tokens tokens/fr/train.json tokens/ja/train.json "
    "--budget 128 --output directions/tiny.npz",
    "generate": "generate --model models/model.json --questions questions/fr.json questions/ja.json --setting steered "
    "--neurons neurons/lape.json --values steering/lape.json --template {question} --max-new-tokens 4 "
    "--output generations/steered.jsonl",
    "normal": "generate --model models/model.json --questions questions/fr.json questions/ja.json --setting normal "
    "--template {question} --max-new-tokens 4 --output generations/normal.jsonl",
    "score": "score --model models/model.json --generations generations/steered.json "
    "--reference generations/normal.json --output scores/steered.tsv",
    "sentences": f"sentences --language fr --source corpus --settings {SENTENCES.replace(' ', '')} "
    "--corpus corpus/fr.parquet --number 6 --held-out 2 --output sentences/fr.jsonl",
    "responses": "responses --model models/model.json --sentences sentences/fr.json sentences/ja.json --max-length 32 "
    "--output expert_units/responses.json",
    "average_precision": "average_precision --responses expert_units/responses.json "
    "--output expert_units/average_precision.npy",
    "select_units": "select_units --average-precision expert_units/average_precision.json "
    "--responses expert_units/responses.json --number 20 --output expert_units/units.tsv",
    "control_units": "control_units --units expert_units/units.json "
    "--average-precision expert_units/average_precision.json --responses expert_units/responses.json "
    "--output expert_units/active_units.tsv",
    "select_ap": "select_ap --average-precision expert_units/average_precision.json --neurons neurons/lape.json "
    "--output neurons/ap.tsv",
    "units": "perplexity --model models/model.json --tokens tokens/fr/valid.json tokens/ja/valid.json "
    "--neurons expert_units/units.json --like neurons/lape.json --deactivate fr --output perplexity/units.tsv",
    "sample": "sample --model models/model.json --setting both-4 --units expert_units/units.json --languages fr ja "
    "--seeds 2 --max-new-tokens 4 --output generations/both-4.jsonl",
    "sampled": "score --model models/model.json --generations generations/both-4.json "
    "--reference sentences/fr.json sentences/ja.json --output scores/both-4.tsv",
    "pairs": "pairs --corpus questions --source-language ja --language fr --source questions --settings {} "
    "--questions questions/ja.json questions/fr.json --output pairs/fr.jsonl",
    "translate": "translate --model models/model.json --setting both-4 --units expert_units/units.json "
    "--pairs pairs/fr.json --template {source} --max-new-tokens 4 --output generations/translated.jsonl",
    "task": 'task --task mood --language fr --source files --settings {"pattern":"moods/{language}.jsonl"} '
    "--output tasks/fr.jsonl",
    "accuracy": "accuracy --model models/model.json --task tasks/fr.json tasks/ja.json --neurons neurons/lape.json "
    "--deactivate fr --template {question}:{choice} --output accuracy/fr.tsv",
    "embed": "embed --model models/model.json --sentences questions/fr.json --output embeddings/fr.npy",
    "table": "table neurons_per_layer neurons/lape.json --output tables/neurons_per_layer.csv",
    "figure": "figure neurons_per_layer tables/neurons_per_layer.csv --output figures/neurons_per_layer.pdf",
    "manifest": "manifest tables/neurons_per_layer.json --config config.json --output manifest.json",
}


def arguments(stage: str, **options: str) -> list[str]:
    """A stage's command line with some options set anew, --output last."""
    words = STAGES[stage].split()
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if option in words:
            words[words.index(option) + 1] = value
        else:
            words[-2:-2] = [option, value]
    return words


def finish(folder: Path, only: Collection[str] = tuple(STAGES), **model) -> None:
    """Run stages, all or some, in a folder, which is the working directory, for French and Japanese.

    `model` has settings for the tiny model.
    """
    make_model(folder / "model", **model)
    make_texts(folder / "texts")
    (folder / "config.json").write_text("{}")
    (folder / "asked").mkdir()
    make_task(folder / "moods")
    for language in ("fr", "ja"):
        questions = (make_text(language, 4 + number, 50 + number) for number in range(3))
        (folder / "asked" / f"{language}.txt").write_text("\n".join(questions), encoding="utf-8")
    for stage in filter(only.__contains__, STAGES):
        assert cli.main(arguments(stage)) == 0
        if stage in ("corpus", "valid", "tokens", "statistics", "questions", "sentences", "task", "embed"):
            assert cli.main([word.replace("fr", "ja") for word in arguments(stage)]) == 0


def tree(folder: Path) -> dict[str, tuple]:
    """Every file below a folder, hidden ones too, with its size and time."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def check_refusal(status: int, messages: str, command: str, *names: str) -> str:
    """One clear line, which is returned: the command, what is wrong, and after the last semicolon what to do."""
    *_, last = messages.strip().splitlines()
    assert status == 1, messages
    assert "Traceback" not in messages
    assert last.startswith(f"lape {command}: ")
    assert sum(line.startswith("lape ") for line in messages.splitlines()) == 1
    for name in names:
        assert name in last
    fault, _, remedy = last.rpartition("; ")
    assert fault and len(remedy.split()) > 1, f"no remedy: {last}"
    return last


def cut(path: str | Path) -> None:
    """Leave the first half of a file."""
    path = Path(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
