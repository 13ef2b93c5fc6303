"""Files that are broken or missing, full disks and read-only folders: one clear line, and nothing half-written."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from disks import fill, mounted
from judge_server import serve_fixture, words  # noqa: F401 (a fixture)
from package_index import digest, wheel
from stages import STAGES, arguments, check_refusal, cut, tree
from workflow_run import Workspace

from lape import cli

# What lies broken on the disk.


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("tokens", "corpus/fr.parquet"),
        ("statistics", "tokens/fr/train.npy"),
        ("baseline", "tokens/fr/valid.npy"),
        ("baseline", "tokens/fr/valid.bytes.npy"),
        ("select", "statistics/fr.npz"),
        ("perplexity", "neurons/lape.tsv"),
        ("contexts", "tokens/fr/train.documents.npy"),
        ("contexts", "statistics/ja.npz"),
        ("vocabulary_effects", "tokens/ja/train.npy"),
        ("control", "neurons/lape.tsv"),
        ("steering", "statistics/fr.npz"),
        ("directions", "tokens/ja/train.npy"),
        ("generate", "questions/fr.jsonl"),
        ("generate", "steering/lape.tsv"),
        ("score", "generations/normal.jsonl"),
        ("embed", "questions/fr.jsonl"),
        ("sentences", "corpus/fr.parquet"),
        ("responses", "sentences/fr.jsonl"),
        ("average_precision", "expert_units/responses.tsv"),
        ("average_precision", "expert_units/responses.blocks/0.npy"),
        ("select_units", "expert_units/average_precision.npy"),
        ("select_units", "expert_units/responses.blocks/0.npy"),
        ("select_ap", "expert_units/average_precision.npy"),
        ("units", "expert_units/units.tsv"),
        ("sample", "expert_units/units.tsv"),
        ("sampled", "sentences/ja.jsonl"),
        ("pairs", "questions/ja.jsonl"),
        ("translate", "pairs/fr.jsonl"),
        ("table", "neurons/lape.tsv"),
    ],
)
@pytest.mark.parametrize("fault", ["cut", "empty", "missing"])
def test_data_file_that_is_broken(refused, stage, file, fault):
    if fault == "missing":
        Path(file).unlink()
    elif fault == "empty":
        Path(file).write_bytes(b"")
    else:
        cut(file)
    refused(arguments(stage, output=f"out/{Path(arguments(stage)[-1]).name}"), file)


def test_figure_without_its_table(refused):
    Path("tables/neurons_per_layer.csv").write_text("")
    refused(arguments("figure", output="out/neurons_per_layer.pdf"), "tables/neurons_per_layer.csv")
    Path("tables/neurons_per_layer.csv").write_text("model,language\ntiny,fr\n")
    refused(arguments("figure", output="out/neurons_per_layer.pdf"), "tables/neurons_per_layer.csv", "was written for")
    Path("tables/neurons_per_layer.json").unlink()  # a table of the user's own has no header
    refused(
        arguments("figure", output="out/neurons_per_layer.pdf"), "tables/neurons_per_layer.csv", "no column 'method'"
    )
    Path("tables/neurons_per_layer.csv").unlink()
    refused(arguments("figure", output="out/neurons_per_layer.pdf"), "tables/neurons_per_layer.csv")


@pytest.mark.parametrize(
    ("stage", "header"),
    [
        ("tokens", "corpus/fr.json"),
        ("tokens", "models/model.json"),
        ("statistics", "models/model.json"),
        ("statistics", "tokens/fr/train.json"),
        ("select", "statistics/ja.json"),
        ("control", "neurons/lape.json"),
        ("perplexity", "neurons/lape.json"),
        ("baseline", "tokens/ja/valid.json"),
        ("generate", "questions/ja.json"),
        ("generate", "steering/lape.json"),
        ("score", "generations/steered.json"),
        ("embed", "questions/fr.json"),
        ("responses", "sentences/ja.json"),
        ("average_precision", "expert_units/responses.json"),
        ("select_units", "expert_units/average_precision.json"),
        ("select_ap", "neurons/lape.json"),
        ("units", "neurons/lape.json"),
        ("sample", "expert_units/units.json"),
        ("sampled", "sentences/fr.json"),
        ("pairs", "questions/fr.json"),
        ("translate", "pairs/fr.json"),
        ("table", "neurons/lape.json"),
        ("manifest", "tables/neurons_per_layer.json"),
    ],
)
@pytest.mark.parametrize("fault", ["not JSON", "another header", "no dictionary", "missing"])
def test_header_that_is_broken(refused, stage, header, fault):
    path = Path(header)
    if fault == "missing":
        path.unlink()
    else:
        path.write_text(
            {"not JSON": path.read_text()[:-9], "another header": '{"artifact": "x"}', "no dictionary": "[]"}[fault]
        )
    refused(arguments(stage, output=f"out/{Path(arguments(stage)[-1]).name}"), header)


def test_audit_without_a_manifest(refused):
    refused(["audit", "nowhere/manifest.json"], "nowhere/manifest.json")


def test_broken_shard_of_an_earlier_run_is_counted_anew(stages, lape):
    whole = Path("statistics/fr.npz").read_bytes()
    cut("statistics/fr.shards/2.npz")
    status, messages = lape(*arguments("statistics"))
    assert status == 0, messages
    assert Path("statistics/fr.npz").read_bytes() == whole


# Disks.


@pytest.fixture
def small_disk(stages):
    """out/: a tmpfs of 1 MB."""
    folder = stages / "out"
    mounted(folder)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("stage", STAGES)
def test_full_disk(small_disk, refused, stage):
    fill(small_disk, 0)
    name = Path(arguments(stage)[-1]).name
    refused(arguments(stage, output=f"out/{name}"), "out/", "no space left")


INSTRUCTIONS = '{"pattern":"told/{language}.jsonl"}'
TRAINED = "--batch-size 2 --device-batch-size 2 --epochs 1 --max-length 64"
# What is no stage of the tests, in an order in which each finds its input; the last word is what it writes.
OTHERS = [
    "stability --statistics statistics/fr.json statistics/ja.json --neurons neurons/lape.json --resamples 5 "
    "--output stability/tiny.json",
    f"instructions --language fr --source files --settings {INSTRUCTIONS} --output instructions/fr.jsonl",
    f"instructions --language ja --source files --settings {INSTRUCTIONS} --output instructions/ja.jsonl",
    f"instructions --language en --source files --settings {INSTRUCTIONS} --output instructions/en.jsonl",
    f"finetune --model models/model.json --instructions instructions/fr.json {TRAINED} --output tuned/fr.safetensors",
    f"finetune --model models/model.json --instructions instructions/ja.json {TRAINED} --output tuned/ja.safetensors",
    f"finetune --model models/model.json --instructions instructions/en.json {TRAINED} --output tuned/en.safetensors",
    "select_parameters --model models/model.json --finetuned tuned/fr.json tuned/ja.json tuned/en.json "
    "--output tuned/pv.safetensors",
    "control_parameters --parameters tuned/pv.json --output tuned/matched.safetensors",
    "draws --model models/model.json --tokens tokens/fr/valid.json --selected tuned/pv.json --finetuned tuned/fr.json "
    "--draws 2 --output draws/fr.tsv",
    "export neurons neurons/lape.json --output released/lape.pth",
    "import neurons released/lape.pth --languages fr,ja --neurons-per-layer 32 --output imported/lape.tsv",
    "import counts fr=counts.pth ja=counts.pth --name tiny --output counted",
]


def test_full_disk_of_the_other_commands(small_disk, refused, lape):
    Path("told").mkdir()
    for language, said in (("fr", "la maison près de"), ("ja", "小さな川が 流れて"), ("en", "a small river")):
        rows = [{"instruction": f"va {number}", "output": said} for number in range(4)]
        Path(f"told/{language}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    torch.save({"n": 9, "over_zero": torch.ones(3, 32, dtype=torch.int32)}, "counts.pth")
    for line in OTHERS:
        status, messages = lape(*line.split())
        assert status == 0, messages
    fill(small_disk, 0)
    for line in OTHERS:
        *words, output = line.split()
        refused([*words, f"out/{Path(output).name}"], "out/", "no space left")


def test_full_disk_of_a_download(small_disk, refused, index):
    fill(small_disk, 0)
    index.bodies["/x"] = bytes(99_999)
    index.add("data", "data-1.0-py3-none-any.whl", wheel({"x": bytes(99_999)}))
    rest = ["--sha256", digest(bytes(99_999)), "--output", "out/x"]
    refused(["download", "--url", index.url.replace("/simple/", "/x"), *rest], "out/x", "no space left")
    words = ["download", "--package", "data", "--version", "1.0", "--file", "x", "--index", index.url]
    refused([*words, *rest], "out/x", "no space left")


@pytest.mark.parametrize("full", ["the cache", "the table"])
def test_full_disk_of_a_judge(small_disk, refused, lape, serve, full):
    """Its verdicts cost money: where only the table finds no room, they are kept."""
    server = serve()
    if full == "the table":
        assert lape(*words(server))[0] == 0
    fill(small_disk, 0)
    cache = "out/cache" if full == "the cache" else "cache"
    refused([*words(server), "--cache", cache, "--output", "out/again.tsv"], "out/", "no space left")


@pytest.mark.workflow
def test_full_disk_of_a_workflow(tmp_path, programs):
    """The job fails, is not taken for done, and goes on once there is room."""
    run = Workspace.create(tmp_path / "run", programs)
    mounted(run.folder / "results")
    try:
        target = "results/tiny/corpus/fr.parquet"
        fill(run.folder / "results", 3 * 4096)  # the log has room
        letters = np.random.default_rng(0).integers(0x4E00, 0x9FFF, 50_000).astype("<u4")
        (run.folder / "texts/fr/long.txt").write_text(letters.tobytes().decode("utf-32-le"))
        output = run.snakemake("--cores", "1", "--", target, status=1)
        assert output.splitlines()[-1].endswith("no space left to write it; free some disk and run again")
        assert not [name for name in run.artifacts() if name.startswith("corpus/")]
        (run.folder / "results/other.bin").unlink()
        assert run.pending(target) == {"corpus": 1}
        run.run(target)
        assert {"corpus/fr.parquet", "corpus/fr.json"} <= set(run.artifacts())
    finally:
        subprocess.run(["umount", "-l", run.folder / "results"], check=True)


def test_output_larger_than_the_disk(small_disk, refused):
    """1 MB is there at first: the write fails in the middle."""
    letters = np.random.default_rng(0).integers(0x4E00, 0x9FFF, 1_000_000).astype("<u4")
    Path("texts/fr/long.txt").write_text(letters.tobytes().decode("utf-32-le"))
    refused(arguments("corpus", output="out/fr.parquet"), "out/fr.parquet", "no space left")


def test_header_that_does_not_fit(small_disk, lape):
    """The data fit and their header does not: they are whole, and without a header no artifact."""
    fill(small_disk, 5 * 4096)  # the shard (two pages), its header and the sum (two pages)
    status, messages = lape(*arguments("statistics", shards="1", output="out/fr.npz"))
    check_refusal(status, messages, "statistics", "out/fr.json", "no space left")
    assert set(tree(small_disk)) == {"other.bin", "fr.shards/0.npz", "fr.shards/0.json", "fr.npz"}


@pytest.fixture
def read_only(stages):
    """out/: a folder in which nothing can be made."""
    folder = stages / "out"
    if os.geteuid():
        folder.mkdir(mode=0o555)
        yield folder
        folder.chmod(0o755)
    else:
        # Permissions do not bind root.
        mounted(folder, "ro")
        yield folder
        subprocess.run(["umount", "-l", folder], check=True)


def test_checkpoint_larger_than_the_disk(small_disk, refused, monkeypatch):
    """The conversion of a GGUF file, whose reading is tested elsewhere, ends on a full disk."""
    from transformers import AutoModelForCausalLM

    fill(small_disk, 16384)
    model = AutoModelForCausalLM.from_pretrained("model")
    monkeypatch.setattr("lape.model.conversion.convert_gguf", lambda gguf, folder, dtype: model.save_pretrained(folder))
    words = ["model", "--name", "tiny", "--gguf", "x.gguf", "--weights", "out/weights", "--output", "models/x.json"]
    refused(words, "out/weights", "free some disk")


@pytest.mark.parametrize("stage", STAGES)
def test_read_only_results(read_only, refused, stage):
    name = Path(arguments(stage)[-1]).name
    refused(arguments(stage, output=f"out/{name}"), "out/", "cannot be written")
    refused([*arguments(stage), "--log", "out/logs/x.log"], "out/logs", "the log cannot be written")


@pytest.mark.parametrize(
    "stage, file",
    [("figure", "tables/neurons_per_layer.csv"), ("perplexity", "neurons/lape.tsv"), ("control", "neurons/lape.tsv")],
)
def test_table_that_is_cut_between_rows(refused, stage, file):
    lines = Path(file).read_text().splitlines(keepends=True)
    Path(file).write_text("".join(lines[:-1]))
    refused(arguments(stage, output=f"out/{Path(arguments(stage)[-1]).name}"), file, "was written for")


def test_what_a_killed_writer_left_goes_with_the_next(stages):
    left = Path("neurons/.lape.tsv.abc.tsv")
    left.write_text("half")
    assert cli.main(arguments("select")) == 0
    assert not left.exists()
