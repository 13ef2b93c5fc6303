"""The workflow on a tiny model: what it makes, what a change makes again, and what a kill leaves."""

import itertools
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from workflow_run import CONFIG, ENVIRONMENT, LANGUAGES, TIMED, Workspace

pytestmark = pytest.mark.workflow

# Item -> the number of its sections, each of which has a LaTeX file.
TABLES = {"corpora": 1, "baseline": 1, "deactivation_matrix": 4, "neurons_per_language": 1, "neurons_per_layer": 1}
TABLES |= {"claims": 1, "specificity": 1, "control_draws": 1, "controls": 2}
FIGURES = ("deactivation_matrix", "deactivation_log_ratio", "neurons_per_layer", "control_draws")
METHODS = ("lape", "active_lape")
SHARDS = [f"statistics/tiny/{language}.shards/{n}" for language in LANGUAGES for n in range(4)]
# Jobs that follow when the numbers of one stage change.
FIGURE_RULES = {f"{item}_figure" for item in FIGURES}
TABLES_AND_FIGURES = {*(f"{item}_table" for item in TABLES), *FIGURE_RULES}
# What follows the matrices.
MATRIX = {"deactivation_matrix_table", "specificity_table", "control_draws_table", "claims_table"}
# The table of claims follows the tables that it reads.
CHANGES = {"deactivation_matrix_table", "deactivation_matrix_figure", "deactivation_log_ratio_figure", "claims_table"}
MATRIX |= {"deactivation_matrix_figure", "deactivation_log_ratio_figure", "control_draws_figure"}
END = {"manifest", "report", "explorer"}
# One row of the control and one figure: with these targets every stage runs, and half of the jobs.
TARGETS = ("results/tiny/perplexity/tiny/active_lape/fr.json", "results/tiny/figures/neurons_per_layer.svg")
UNTIL_NEURONS = ("corpus", "models", "tokens", "statistics", "neurons/tiny/lape", "neurons/tiny/active_lape")
ENDS = ("perplexity/tiny/active_lape/fr", "tables/neurons_per_layer", "figures/neurons_per_layer")


def _declared() -> set[str]:
    """Every file that a run leaves, below the run's folder, but logs."""
    stems = {
        **{f"corpus/{language}": (".parquet", ".json") for language in LANGUAGES},
        "models/tiny/model": (".json",),
        "models/tiny/tokenizer": (".json",),
        **{
            f"tokens/tiny/{language}/{split}": (".npy", ".bytes.npy", ".documents.npy", ".json")
            for language, split in itertools.product(LANGUAGES, ("train", "valid"))
        },
        **{f"statistics/tiny/{language}": (".npz", ".json") for language in LANGUAGES},
        **dict.fromkeys(SHARDS, (".npz", ".json")),
        **{f"neurons/tiny/{method}": (".tsv", ".json") for method in (*METHODS, "matched_lape")},
        **{f"contexts/tiny/lape/{language}": (".jsonl", ".json") for language in LANGUAGES},
        "vocabulary_effects/tiny/lape": (".jsonl", ".json"),
        **{f"draws/tiny/lape-3/{language}": (".tsv", ".json") for language in LANGUAGES},
        **{
            f"perplexity/tiny/{method}/{language}": (".tsv", ".json")
            for method, language in itertools.product(METHODS, LANGUAGES)
        },
        "perplexity/tiny/none/baseline": (".tsv", ".json"),
        **{f"tables/{item}": (".csv", ".md", ".html", ".json") for item in TABLES},
        **{f"tables/{item}.latex/{item}-": [f"{n}.tex" for n in range(1, 1 + of)] for item, of in TABLES.items()},
        **{f"figures/{item}": (".pdf", ".svg", ".png", ".json") for item in FIGURES},
    }
    return {stem + suffix for stem, suffixes in stems.items() for suffix in suffixes}


WHOLE_RUN = {"config.json", "manifest.json", "report.html", "summary.rst", "index.html", "tokens/tiny/valid.sha256"}


@pytest.fixture
def run(complete_run, tmp_path) -> Workspace:
    """A copy of the complete run, to change."""
    return complete_run.copy(tmp_path / "run")


def _edit(path) -> None:
    """Change a text file without changing what it does."""
    comment = "//" if path.suffix in (".cpp", ".cu", ".h") else "#"
    path.write_text(path.read_text(encoding="utf-8") + f"\n{comment} edited\n", encoding="utf-8")


def test_a_run_makes_every_declared_artifact_and_no_other_file(complete_run):
    assert set(complete_run.artifacts()) == _declared() | WHOLE_RUN


def rule_of(header: Path) -> str:
    """The rule that makes an artifact."""
    named = {"tables": f"{header.stem}_table", "figures": f"{header.stem}_figure", "models": "model_path"}
    named |= {
        "neurons": {"lape": "select", "active_lape": "active_control", "matched_lape": "matched_control"}.get(
            header.stem
        )
    }
    named |= {"perplexity": "baseline_perplexity" if header.stem == "baseline" else "perplexity"}
    return named.get(header.parts[0], header.parts[0])


def test_the_manifest_lists_every_artifact(complete_run):
    manifest = json.loads((complete_run.results / "manifest.json").read_text(encoding="utf-8"))
    assert {key: manifest["config"][key] for key in ("run", "models", "languages")} == {
        key: CONFIG[key] for key in ("run", "models", "languages")
    }
    entries = manifest["artifacts"]
    listed = {name for path, entry in entries.items() for name in (path, *entry["files"])}
    assert listed == {f"results/tiny/{name}" for name in _declared()}
    for path, entry in entries.items():
        assert entry["seconds"] > 0, path
        assert entry["rule"] == rule_of(Path(path).relative_to("results/tiny")), path
    counted = entries["results/tiny/statistics/tiny/fr.json"]
    assert (counted["artifact"], counted["device"], counted["backend"]) == ("statistics", "cpu", "cpp")


def test_the_report_holds_tables_figures_and_captions(complete_run):
    report = (complete_run.results / "report.html").read_text(encoding="utf-8")
    for item in {*TABLES, *FIGURES}:
        caption = (complete_run.folder / "rules" / "captions" / f"{item}.rst").read_text(encoding="utf-8")
        # The first words: markup and line ends come out otherwise in HTML.
        assert " ".join(caption.split()[:7]) in report.replace("\\n", " ")
    for name in [f"tables/{item}.html" for item in TABLES] + [f"figures/{item}.svg" for item in FIGURES]:
        assert f'"results/tiny/{name}"' in report
    assert '"1 Claims"' in report and '"3 Perplexity without neurons"' in report
    # The first page: what was run, what was found, and where to go on.
    for words in ("languages fr, ja", "Under tiny the text of a language loses", 'href=\\"index.html\\"'):
        assert words in report


def test_the_audit_of_a_run_passes(complete_run, monkeypatch, lape):
    monkeypatch.chdir(complete_run.folder)
    status, messages = lape("audit", "results/tiny/manifest.json")
    assert status == 0, messages
    assert f"{len(_declared())} files, all as they were" in messages


def test_a_second_run_does_nothing(run):
    before = run.times()
    assert "Nothing to be done" in run.run()
    assert run.times() == before


def test_another_folder_and_number_of_cores_give_the_same_bytes(complete_run, programs, tmp_path):
    other = Workspace.create(tmp_path / "other", programs)
    other.run(*TARGETS, cores=1)
    here, there = complete_run.hashes(), other.hashes()
    assert set(there) == {name for name in _declared() | WHOLE_RUN if name.startswith((*UNTIL_NEURONS, *ENDS))}
    assert {name for name in there if here[name] != there[name]} == set()


def test_processes_of_their_own_make_the_bytes_of_forks(run, tmp_path):
    """A job of each kind: it counts, evaluates, tabulates or draws."""
    again = run.copy(tmp_path / "again", ENVIRONMENT)
    made = (
        "statistics/tiny/fr.npz",
        "perplexity/tiny/lape/fr.tsv",
        "tables/neurons_per_language.csv",
        "figures/neurons_per_layer.svg",
    )
    before, written = again.hashes(), again.times()
    again.snakemake("--cores", "2", "--force", "--", *(f"results/tiny/{name}" for name in made))
    assert all(again.times()[name] != written[name] for name in made)
    assert {name for name, digest in again.hashes().items() if digest != before[name]} <= TIMED


def test_a_new_ratio_selects_anew_and_counts_nothing(run):
    before = run.times()
    run.configure(neurons={"ratio": 0.2})
    jobs = run.pending()
    controls = {"matched_control", "active_control", "draws"}
    made = {"select", *controls, "contexts", "vocabulary_effects", "perplexity", "config"}
    assert set(jobs) == {*made, *TABLES_AND_FIGURES, *END} - {"corpora_table", "baseline_table"}
    assert jobs["perplexity"] == 2 * len(LANGUAGES)

    lines = run.run(*TARGETS).splitlines()
    told = [re.sub(r"^ *\d+%  ", "", line) for line in lines if not line.startswith("warning: ")]
    assert told[-1] == "open results/tiny"  # no report was asked for
    assert len(told) < 20 and not any("lape/commands" in line or "--rule" in line for line in told)
    after = run.times()
    rewritten = {name for name in after if after[name] != before[name]}
    written = ("neurons/tiny/lape", "neurons/tiny/active_lape", *ENDS)
    assert rewritten == {name for name in _declared() if name.startswith(written)}
    header = json.loads((run.results / "neurons/tiny/lape.json").read_text(encoding="utf-8"))
    assert (header["parameters"]["ratio"], header["wanted"]) == (0.2, 19)
    assert f"neurons tiny lape: {header['selected']} selected" in told
    assert not {"select", "active_control"} & set(run.pending())


def test_a_new_valid_budget_leaves_the_statistics_alone(run):
    run.configure(tokens={"valid": 64})
    jobs = run.pending()
    measured = {"baseline_perplexity", "perplexity", "draws", "baseline_table", *MATRIX}
    assert set(jobs) == {"tokens", "valid_tokens", "config", *measured, *END}
    assert jobs["tokens"] == len(LANGUAGES)


def test_a_new_seed_of_the_control_leaves_the_languages_alone(run):
    run.configure(neurons={"control_seed": 1})
    jobs = run.pending()
    assert (jobs["active_control"], jobs["perplexity"], jobs["draws"]) == (1, len(LANGUAGES), len(LANGUAGES))
    assert "select" not in jobs and "baseline_perplexity" not in jobs


@pytest.mark.parametrize(
    "file", ["lape/statistics/sums.py", "lape/model/ffn.py", "lape/commands/statistics.py", "csrc/stats_cpu.cpp"]
)
def test_edited_counting_code_counts_again(run, file):
    _edit(run.folder / file)
    jobs = run.pending()
    assert jobs["statistics"] == len(LANGUAGES)
    assert {"select", "perplexity", "manifest", "report"} <= set(jobs)
    # The FFN's shape stands in the model's artifact, too.
    unconcerned = {"corpus"} if file == "lape/model/ffn.py" else {"corpus", "tokens", "model_path"}
    assert not unconcerned & set(jobs)


def test_edited_counting_code_does_not_take_over_finished_shards(run):
    before = run.times()
    sums = np.load(run.results / "statistics/tiny/fr.npz")["count"]
    _edit(run.folder / "lape" / "statistics" / "sums.py")
    run.run("results/tiny/statistics/tiny/fr.npz")
    after = run.times()
    rewritten = {name for name in after if after[name] != before[name]}
    assert rewritten == {name for name in _declared() if name.startswith("statistics/tiny/fr.")}
    assert np.array_equal(np.load(run.results / "statistics/tiny/fr.npz")["count"], sums)


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        ("rules/captions/neurons_per_layer.rst", END),
        ("lape/items/drawing/style.py", {*FIGURE_RULES, *END}),
        ("lape/commands/table.py", {*TABLES_AND_FIGURES, *END}),
        (
            "lape/interventions/perturbation.py",
            # The baseline is the same command's, though nothing is perturbed in it.
            {"perplexity", "draws", "baseline_perplexity", "baseline_table", *MATRIX, *END},
        ),
        ("lape/items/perplexity/sections.py", {"baseline_table", *CHANGES, *END}),
        ("lape/errors.py", set()),
        ("lape/items/registry.py", set()),
        ("lape/model/architectures.py", set()),
    ],
)
def test_an_edited_file_reruns_what_depends_on_it(run, file, rules):
    _edit(run.folder / file)
    assert set(run.pending()) == rules


def test_another_entry_of_the_models_architecture_makes_anew_what_the_model_made(run):
    table = run.folder / "lape" / "model" / "architectures.py"
    entries = table.read_text(encoding="utf-8")
    table.write_text(entries.replace('"mistral": _GLU', '"mistral": _EXPERTS'), encoding="utf-8")
    assert run.pending() == {}
    table.write_text(entries.replace('"llama": _GLU', '"llama": Architecture("mlp.act_fn", "mlp.down_proj")'))
    jobs = run.pending()
    assert {"model_path", "statistics", "perplexity", "baseline_perplexity"} <= set(jobs) and "corpus" not in jobs


def test_an_edited_caption_changes_only_the_report_and_its_hash(run):
    before = run.hashes()
    caption = run.folder / "rules" / "captions" / "neurons_per_language.rst"
    caption.write_text(caption.read_text(encoding="utf-8") + "\nA sentence of this test.\n", encoding="utf-8")
    run.run()
    after = run.hashes()
    assert {name for name in after if after[name] != before[name]} == {
        "report.html",
        "manifest.json",
        "index.html",
    }
    assert "A sentence of this test." in (run.results / "report.html").read_text(encoding="utf-8")


def test_a_fresh_checkout_of_the_same_files_reruns_nothing(run):
    for path in [*run.folder.glob("lape/**/*.py"), *run.folder.glob("csrc/*"), *run.folder.glob("rules/captions/*")]:
        path.touch()
    assert run.pending() == {}


def test_a_killed_count_goes_on_after_its_finished_shards(complete_run, tmp_path):
    """Kill -9 of Snakemake and its job while it counts; the next run ends with the bytes of an uninterrupted one."""
    target, shards = "results/tiny/statistics/tiny/fr.npz", 128
    settings = {"tokens": {"train": 4096}, "statistics": {"shards": shards, "batch_size": 1}}
    whole = complete_run.copy(tmp_path / "whole")
    whole.configure(**settings)
    whole.run("results/tiny/tokens/tiny/fr/train.npy")
    broken = whole.copy(tmp_path / "broken")
    whole.run(target)

    folder = broken.results / "statistics" / "tiny" / "fr.shards"
    for file in folder.iterdir():
        file.unlink()
    process = subprocess.Popen(**broken.command("--cores", "1", "--", target), start_new_session=True)
    try:
        while not (folder / "1.json").exists():
            assert process.poll() is None, "the count ended before it could be killed"
            time.sleep(0.005)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finished = {file: file.stat().st_mtime_ns for file in folder.glob("[0-9]*.json")}
    finished |= {file.with_suffix(".npz"): file.with_suffix(".npz").stat().st_mtime_ns for file in finished}
    assert 4 <= len(finished) < 2 * shards
    (folder / ".77.npz.left.npz").write_bytes(b"what a kill in the middle of a write leaves")

    # Whoever kills Snakemake itself leaves its lock, and is told how to remove it.
    assert "--unlock" in broken.snakemake("--cores", "1", "--", target, status=1)
    broken.snakemake("--unlock")
    broken.run(target)
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    assert sorted(file.name for file in folder.iterdir()) == sorted(
        f"{n}{suffix}" for n in range(shards) for suffix in (".npz", ".json")
    )
    here, there = whole.hashes(), broken.hashes()
    assert set(here) == set(there)
    assert {name for name in here if here[name] != there[name]} == set()


def test_jobs_that_share_a_language_make_the_same_statistics(run):
    sums, header = (run.results / f"statistics/tiny/fr{suffix}" for suffix in (".npz", ".json"))
    before, written = sums.read_bytes(), json.loads(header.read_text(encoding="utf-8"))
    run.configure(statistics={"jobs": 3})
    assert {key: run.pending(str(sums.relative_to(run.folder)))[key] for key in ("count", "statistics")} == {
        "count": 3,
        "statistics": 1,
    }
    for file in (run.results / "statistics/tiny/fr.shards").iterdir():
        file.unlink()
    run.run("results/tiny/statistics/tiny/fr.npz")
    assert sums.read_bytes() == before
    assert json.loads(header.read_text(encoding="utf-8")) | {"command": ""} == written | {"command": ""}
    assert not list(sums.parent.glob("fr.[0-9].json"))  # the jobs' notes


def test_replaced_weights_of_the_same_size_are_noticed(run):
    weights = run.folder / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert {"model_path", "statistics", "perplexity"} <= set(run.pending())


def test_a_missing_model_folder_is_named_before_anything_runs(run):
    run.configure(catalogue={"tiny": {"source": "path", "path": "nowhere"}})
    assert "nowhere: no such model folder; mend the model's `path`" in run.snakemake("--cores", "1", status=1)


def test_a_model_that_wants_more_gpus_than_the_limit_is_refused(run):
    """Snakemake would cut what its jobs book, without a word."""
    entry = {"source": "path", "path": "model", "device": "cuda", "resources": {"gpu": 4}}
    run.configure(catalogue={"tiny": entry})
    message = "config catalogue.tiny: wants 4 GPUs, the limit is 1; raise it: --resources gpu=4"
    assert message in run.snakemake("--cores", "2", status=1)
    assert "gpu=4" in run.snakemake("--cores", "2", "--dry-run", "--resources", "gpu=4")


def test_absolute_globs_and_paths_with_spaces(tmp_path):
    workspace = Workspace.create(tmp_path / "run")
    (workspace.folder / "model").rename(workspace.folder / "my model")
    pattern = str(workspace.folder / "texts" / "{language}" / "*")
    workspace.configure(
        catalogue={"tiny": {**CONFIG["catalogue"]["tiny"], "path": "my model"}}, corpus={"files": {"pattern": pattern}}
    )
    workspace.run("results/tiny/models/tiny/model.json", "results/tiny/corpus/fr.parquet")
    header = json.loads((workspace.results / "corpus/fr.json").read_text(encoding="utf-8"))
    assert header["documents"] == len(list((workspace.folder / "texts/fr").iterdir()))
