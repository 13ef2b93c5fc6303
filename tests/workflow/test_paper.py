"""The target `paper` on a tiny model: every method, experiment, table and figure, and what audits and reruns say."""

import json
import random
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from once import made_once
from tampering import DIFFERS, flip, listed
from workflow_run import CONFIG, Workspace

from lape.artifacts.files import read_json, sha256, write_json
from lape.audit.replication import Run, compare
from lape.audit.run import CHECKS
from lape.items.layout import markdown
from lape.items.registry import ITEMS
from lape.items.tables import read
from lape.neurons.table import Neurons
from lape.parameter_variation.parameters import Parameters

pytestmark = pytest.mark.workflow

LANGUAGES = ("fr", "ja", "en")
TWO = ("fr", "ja")
# One model knows two of the languages, and one item has models of its own.
PAPER = {
    "languages": list(LANGUAGES),
    "catalogue": {"other": {**CONFIG["catalogue"]["other"], "languages": list(TWO)}},
    "experiments": {"models": {"neurons_per_layer": ["other", "tiny"]}},
}
METHODS = ("lape", "lap", "lave", "pv")
TABLES = [item.name for item in ITEMS if item.table]
FIGURES = [item.name for item in ITEMS if item.figure]
# What is made from the average precision.
UNITS = {"select_units", "active_units", "perplexity_units", "sample", "score_sample", "translate", "score_translation"}
ACCURACIES = {"baseline_accuracy", "accuracy", "accuracy_steered"}
PRECISION = {"average_precision", "select_ap", "active_control", "steering", "perplexity", *UNITS}
MANIFEST = "results/tiny/paper/manifest.json"


@pytest.fixture(scope="module")
def paper_run(complete_run, tmp_path_factory) -> Workspace:
    """The target `paper` in three languages, which PV needs; for reading only."""
    folder = made_once(tmp_path_factory, "paper", lambda folder: run_paper(complete_run.copy(folder)))
    return Workspace(folder, complete_run.programs)


def run_paper(workspace: Workspace) -> None:
    workspace.configure(**PAPER)
    before = workspace.times()
    workspace.run("paper")
    after = workspace.times()
    kept = ("corpus", "models", "tokens", "statistics")  # of the two languages that the default target had
    assert {name for name in before if after[name] != before[name] and name.startswith(kept)} == {
        "tokens/tiny/valid.sha256"  # of three languages now
    }


@pytest.fixture
def run(paper_run, tmp_path) -> Workspace:
    """A copy, to change."""
    return paper_run.copy(tmp_path / "run")


def table(workspace: Workspace, item: str) -> pd.DataFrame:
    return pd.read_csv(workspace.results / "tables" / f"{item}.csv", keep_default_na=False, na_values=[""])


@pytest.mark.cuda
@pytest.mark.skipif(
    not (torch.cuda.is_available() and shutil.which("snakemake")), reason="no CUDA device, or no Snakemake"
)
def test_a_gpu_makes_everything_and_counts_the_same(paper_run, tmp_path, monkeypatch, lape):
    workspace = paper_run.copy(tmp_path / "gpu")
    catalogue = {**CONFIG["catalogue"], **PAPER["catalogue"]}
    workspace.configure(
        **PAPER | {"catalogue": {name: entry | {"device": "cuda"} for name, entry in catalogue.items()}}
    )
    workspace.run("paper", cores=8)
    agreement = compare(Run(workspace.folder / MANIFEST), Run(paper_run.folder / MANIFEST))
    assert len(agreement.flips) == 5 and not agreement.faults  # two models' counts; one knows two languages
    monkeypatch.chdir(workspace.folder)
    status, messages = lape("audit", MANIFEST)
    assert status == 0, messages


def test_every_item_is_there(paper_run):
    names = set(paper_run.artifacts())
    for item in TABLES:
        assert {
            f"tables/{item}{suffix}" for suffix in (".csv", ".md", ".html", f".latex/{item}-1.tex", ".json")
        } <= names
    for item in FIGURES:
        assert {f"figures/{item}{suffix}" for suffix in (".pdf", ".svg", ".png", ".json")} <= names
    assert {f"paper/{name}" for name in ("manifest.json", "report.html", "summary.rst", "index.html")} <= names


def test_deactivation_by_method_holds_every_method_and_its_control(paper_run):
    frame = table(paper_run, "deactivation_by_method")
    assert set(frame["method"]) == {*METHODS, "active_lape", "active_lap", "active_lave", "active_pv", "diffmean"}
    assert (frame.groupby("method").size() == len(LANGUAGES) ** 2).all()
    tested = frame[frame["method"].isin(METHODS)]
    assert tested["p_holm"].notna().all() and (tested["p_holm"] >= tested["p_value"]).all()
    assert frame["ppl_change_low"].notna().all()


def test_what_the_other_items_compare(paper_run):
    cells = table(paper_run, "deactivation_by_model")
    for model, languages in (("tiny", LANGUAGES), ("other", TWO)):
        found = cells[(cells["model"] == model) & (cells["method"] == "lape")]
        assert list(zip(found["deactivated"], found["evaluated"], strict=True)) == list(product(languages, languages))
    counts = table(paper_run, "neurons_per_layer").groupby("model", sort=False)["language"].unique().map(tuple)
    assert counts.to_dict() == {"other": TWO, "tiny": LANGUAGES}
    sweep = table(paper_run, "deactivation_by_ratio")
    assert sorted(set(sweep["ratio"])) == [0, 0.05, 0.2] and set(sweep["deactivated"]) == {"fr"}
    assert set(table(paper_run, "deactivation_random")["method"]) == {"random", "matched_lape", "active_lape"}
    scores = table(paper_run, "specificity_by_method")
    # With controls, random and layer-matched ones, and directions; two matrices of the other model.
    assert len(scores) == len(METHODS) * 2 + 2 + 1 + 2
    draws = table(paper_run, "control_draws_by_method")
    assert draws.groupby("method")["draws"].unique().map(list).to_dict() == {"lape": [4], "pv": [4]}
    learned = table(paper_run, "pv_learning_curve")
    assert learned.groupby("method")["steps"].unique().map(list).to_dict() == {"pv": [1, 3], "active_pv": [3]}
    assert len(learned) == 3 * (len(LANGUAGES) + 1) and set(learned["examples"]) == {6}
    curve = table(paper_run, "equal_effect")
    assert set(curve["method"]) == {*METHODS, "active_lape", "active_lap", "active_lave", "active_pv", "diffmean"}
    variants = table(paper_run, "robustness").set_index("variant")
    assert variants["selected"].to_dict() == {"run": "own", "text": "own", "mean-ablation": "run"}
    assert variants["evaluated"].to_dict() == {"run": "own", "text": "own", "mean-ablation": "run"}
    assert variants["jaccard"][["run", "mean-ablation"]].tolist() == [1, 1] and variants.at["text", "jaccard"] < 1
    assert variants.at["run", "diagonal"] == scores.set_index(["model", "method"]).at[("tiny", "lape"), "diagonal"]
    assert variants["diagonal"].nunique() == 3
    sections = table(paper_run, "claims_of_both_papers")["section"].str.split().str[0]
    assert {"Tang", "Kojima"} == set(sections)


def test_methods_share_the_form_of_their_artifacts(paper_run):
    folder = paper_run.results / "neurons/tiny"
    sizes = Neurons.load(folder / "lape.json").counts()
    controls = [f"{kind}_{method}" for kind in ("active", "matched") for method in ("lape", "lap", "lave")]
    for method in ("lap", "lave", "random", *controls, "active_ap", "sweep-0.05"):
        neurons = Neurons.load(folder / f"{method}.json")
        assert neurons.sets == LANGUAGES
        assert neurons.summary["method"] == ("lape" if method.startswith("sweep") else method)
        if method in ("random", "active_lape", "matched_lape"):
            assert neurons.counts() == sizes
    zeroed = Parameters.load(paper_run.results / "parameters/tiny/pv.json")
    control = Parameters.load(paper_run.results / "parameters/tiny/active_pv.json")
    assert zeroed.counts() == control.counts() and sum(zeroed.counts().values()) > 0


def test_the_audit_passes_and_names_every_file_with_a_flipped_byte(run, monkeypatch, lape):
    monkeypatch.chdir(run.folder)
    status, messages = lape("audit", MANIFEST)
    assert status == 0, messages
    names = listed(MANIFEST)
    assert len(names) > 300
    for name in names:
        flip(Path(name), random.Random(name))
    status, messages = lape("audit", MANIFEST)
    assert status == 1
    named = {line.split(": ", 1)[0] for line in messages.splitlines() if line.endswith(DIFFERS)}
    assert named == set(names)


def test_the_manifest_holds_what_both_targets_made(paper_run):
    both = [json.loads((paper_run.results / name).read_text()) for name in ("manifest.json", "paper/manifest.json")]
    default, paper = (set(manifest["artifacts"]) for manifest in both)
    assert default < paper
    listed = {name for path, entry in both[1]["artifacts"].items() for name in (path, *entry["files"])}
    own = {f"results/tiny/{name}" for name in paper_run.artifacts()}
    pages = ("report.html", "summary.rst", "index.html")
    ends = {f"results/tiny/{folder}{name}" for folder in ("", "paper/") for name in pages}
    ends |= {"results/tiny/config.json", "results/tiny/manifest.json"}
    ends |= {f"results/tiny/tokens/{model}/valid.sha256" for model in ("tiny", "other", "tiny@text")}
    assert own - listed == {*ends, MANIFEST}
    rules = {path: entry["rule"] for path, entry in both[1]["artifacts"].items()}
    assert rules["results/tiny/perplexity/tiny/pv/fr.json"] == "perplexity_parameters"


def test_a_second_run_does_nothing(run):
    assert "Nothing to be done" in run.run("paper")


@pytest.mark.parametrize(
    ("sections", "rules"),
    [
        ({"neurons": {"lap_probability": 0.9}}, {"select", "active_control", "matched_control", "perplexity"}),
        ({"perplexity": {"seed": 1}}, set()),
        ({"stability": {"seed": 1}}, {"measure_stability"}),
        ({"parameter_variation": {"checkpoint_steps": 1}}, set()),
        ({"questions": {"number": 3}}, {"questions", "generate", "score", "pairs", "translate", "score_translation"}),
        ({"steering": {"dose": "max-all-1-1"}}, {"generate", "score", "accuracy_steered"}),
        ({"scores": {"minimum_bytes": 2}}, {"score", "score_sample", "score_translation"}),
        ({"scores": {"minimum_bytes": 1000, "seed": 1}}, set()),
        ({"structure": {"pooling": "last"}}, {"embed"}),
        ({"tasks": {"mood": CONFIG["tasks"]["mood"] | {"score": "sum"}}}, ACCURACIES),
        ({"sentences": {"held_out": 3}}, {"sentences", "responses", *PRECISION}),
        ({"expert_units": {"storage": "float16"}}, {"responses", *PRECISION}),
        ({"expert_units": {"seed": 1}}, UNITS),
        ({"expert_units": {"temperature": 1.0}}, {"sample", "score_sample"}),
        ({"translation": {"max_new_tokens": 5}}, {"translate", "score_translation"}),
    ],
)
def test_a_setting_makes_anew_what_it_concerns(run, sections, rules):
    run.configure(**PAPER, **sections)
    pending = run.pending("paper")
    computing = {"model_path", "tokens", "statistics", "select", "sweep", "random_control", "matched_control"}
    computing |= {
        "active_control",
        "draws",
        "draws_parameters",
        "measure_stability",
        "baseline_perplexity",
        "perplexity",
        "instructions",
        "finetune",
        "select_parameters",
        "perplexity_parameters",
    }
    computing |= {"steering", "questions", "aligned", "generate", "score", "embed", "sentences", "responses", "pairs"}
    computing |= {"task"} | ACCURACIES | PRECISION
    assert set(pending) & computing == rules
    if "select" in rules:
        assert (pending["select"], pending["active_control"], pending["perplexity"]) == (1, 1, 2 * len(LANGUAGES))


def test_two_languages_leave_out_what_needs_three(complete_run):
    jobs = complete_run.pending("paper")
    assert "perplexity" in jobs and not {"finetune", "perplexity_parameters", "left_out_table"} & set(jobs)


def test_a_language_that_is_not_there_is_named(run):
    run.configure(experiments={"figure4": {"language": "de", "ratios": [0.1]}})
    output = run.snakemake("--cores", "1", "figure4", status=1)
    assert "config experiments.deactivation_by_ratio.language: 'de' is not in languages; name one of them" in output


def edited_table(path, edit) -> None:
    frame = pd.read_csv(path, sep="\t", keep_default_na=False)
    edit(frame).to_csv(path, sep="\t", index=False)


def own_set_as_control(run: Workspace) -> None:
    folder = run.results / "parameters/tiny"
    (folder / "active_pv.safetensors").write_bytes((folder / "pv.safetensors").read_bytes())


def best_units_as_control(run: Workspace) -> None:
    folder = run.results / "expert_units/tiny"
    (folder / "active_units.tsv").write_bytes((folder / "units.tsv").read_bytes())


def one_line_less(path) -> None:
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]), encoding="utf-8")


def higher_precision(run: Workspace) -> None:
    path = run.results / "expert_units/tiny/average_precision.npy"
    precision = np.load(path)
    precision[0, 0, 0] += 1e-9
    np.save(path, precision)


def rarer_neuron(run: Workspace) -> None:
    path = run.results / "stability/tiny.frequency.tsv"
    edited_table(path, lambda frame: frame.assign(frequency=frame["frequency"] / 2))


def another_answer(run: Workspace) -> None:
    path = run.results / "generations/tiny/plain/steered.jsonl"
    first, *others = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text(json.dumps(json.loads(first) | {"output": "Yes."}) + "\n" + "".join(others), encoding="utf-8")


def hooks(run: Workspace, name: str, change) -> None:
    path = run.results / name
    header = json.loads(path.read_text())
    change(header["hooks"])
    path.write_text(json.dumps(header))


@pytest.mark.parametrize(
    ("kind", "name", "forge", "fault"),
    [
        ("parameters", "parameters/tiny/active_pv.json", own_set_as_control, "drawing again gives another index"),
        (
            "expert_units",
            "expert_units/tiny/active_units.json",
            best_units_as_control,
            "selecting again from the average precision gives other units or medians",
        ),
        (
            "instructions",
            "instructions/fr.json",
            lambda run: one_line_less(run.results / "instructions/fr.jsonl"),
            "has 5 examples, the header says 6",
        ),
        (
            "sentences",
            "sentences/fr.json",
            lambda run: one_line_less(run.results / "sentences/fr.jsonl"),
            "has 7 sentences scored, the header says 8",
        ),
        (
            "pairs",
            "pairs/questions/fr.json",
            lambda run: one_line_less(run.results / "pairs/questions/fr.jsonl"),
            "has 1 pairs, the header says 2",
        ),
        (
            "responses",
            "expert_units/tiny/responses.json",
            lambda run: edited_table(
                run.results / "expert_units/tiny/responses.tsv", lambda frame: frame.assign(number=0)
            ),
            "its columns are not the sentences of its languages",
        ),
        ("average_precision", "expert_units/tiny/average_precision.json", higher_precision, "scoring unit 0 again"),
        (
            "expert_units",
            "expert_units/tiny/units.json",
            lambda run: edited_table(
                run.results / "expert_units/tiny/units.tsv", lambda frame: frame.assign(median=frame["median"] + 1)
            ),
            "gives other units or medians",
        ),
        (
            "neurons",
            "neurons/tiny/ap.json",
            lambda run: edited_table(
                run.results / "neurons/tiny/ap.tsv", lambda frame: frame.assign(index=31 - frame["index"])
            ),
            "selecting again from the average precision gives other neurons",
        ),
        (
            "generations",
            "generations/tiny/unconditional/both-10.json",
            lambda run: hooks(run, "generations/tiny/unconditional/both-10.json", lambda own: own[0].update(neurons=1)),
            "its hooks for fr are on 1 units",
        ),
        ("generations", "generations/tiny/plain/steered.json", another_answer, "is not the text of its tokens"),
        (
            "generations",
            "generations/tiny/plain/cross-fr.json",
            lambda run: hooks(run, "generations/tiny/plain/cross-fr.json", lambda own: own[0].update(neurons=1)),
            "its hooks on fr to ja are on 1 neurons",
        ),
        (
            "steering",
            "steering/tiny/lape.json",
            lambda run: edited_table(
                run.results / "steering/tiny/lape.tsv", lambda frame: frame.assign(mean=frame["mean"] * 2)
            ),
            "are not the means of its statistics",
        ),
        (
            "scores",
            "scores/tiny/plain/steered.json",
            lambda run: edited_table(
                run.results / "scores/tiny/plain/steered.tsv", lambda frame: frame.assign(chrf=frame["chrf"] + 1)
            ),
            "its means do not follow from its answers",
        ),
        (
            "task",
            "tasks/mood/fr.json",
            lambda run: one_line_less(run.results / "tasks/mood/fr.jsonl"),
            "has 3 questions, the header says 4",
        ),
        (
            "accuracy",
            "accuracy/tiny/mood/lape/fr.json",
            lambda run: edited_table(
                run.results / "accuracy/tiny/mood/lape/fr.tsv", lambda frame: frame.assign(loglik=-frame["loglik"])
            ),
            "its measures of fr do not follow from its choices",
        ),
        (
            "accuracy",
            "accuracy/tiny/mood/active_lape/fr.json",
            lambda run: edited_table(
                run.results / "accuracy/tiny/mood/active_lape/fr.tsv", lambda frame: frame.assign(right=frame["choice"])
            ),
            "its choices of fr are not those of its questions",
        ),
        (
            "accuracy",
            "accuracy/tiny/mood/steered_lape/fr.json",
            lambda run: hooks(
                run, "accuracy/tiny/mood/steered_lape/fr.json", lambda own: own["by_layer"][0].update(neurons=99)
            ),
            "its hooks are on other layers than the neurons that steer towards fr",
        ),
        ("stability", "stability/tiny.json", rarer_neuron, "its frequencies of all languages do not add up"),
        (
            "perplexity",
            "perplexity/tiny/pv/fr.json",
            lambda run: hooks(run, "perplexity/tiny/pv/fr.json", lambda own: own.update(parameters=1)),
            "it zeroed 1 parameters",
        ),
        (
            "perplexity",
            "perplexity/tiny/lape/fr.json",
            lambda run: hooks(run, "perplexity/tiny/lape/fr.json", lambda own: own["by_layer"][0].update(tokens=1)),
            "its hooks did not see the",
        ),
        (
            "perplexity",
            "perplexity/tiny/none/baseline.json",
            lambda run: hooks(run, "perplexity/tiny/none/baseline.json", lambda own: own.update(neurons=1)),
            "is the baseline and has hooks",
        ),
    ],
)
def test_numbers_that_do_not_follow_under_right_hashes(run, monkeypatch, kind, name, forge, fault):
    monkeypatch.chdir(run.folder)
    path = run.results / name
    assert list(CHECKS[kind](path, read_json(path))) == []
    forge(run)
    header = read_json(path)
    header["outputs"] = {file: sha256(path.parent / file) for file in header["outputs"]}
    write_json(path, header)
    assert [found for found in CHECKS[kind](path, header) if fault in found]


def test_a_table_that_is_read_back_looks_as_the_run_wrote_it(paper_run):
    """The explorer's page lays out what it reads from the CSV."""
    for item in (item for item in ITEMS if item.name in TABLES):
        csv = paper_run.results / "tables" / f"{item.name}.csv"
        laid_out = markdown(item.table.sections(read(csv, ())))
        assert laid_out == csv.with_suffix(".md").read_text(encoding="utf-8"), item.name
