"""What rules ask `lape.workflow`: inputs, flags, bookings and names, by configurations that differ from the default."""

import copy
import re
import shlex
from types import SimpleNamespace as Wildcards

import pytest
from default_config import DEFAULTS
from tiny_data import ROOT

from lape.config import check_config, named_models
from lape.errors import LapeError
from lape.items.variants import all_variants, check_variants
from lape.workflow import names, repository, targets
from lape.workflow.flags import Flags, optional, optional_list
from lape.workflow.inputs import Inputs
from lape.workflow.resources import Booking
from lape.workflow.sources import check_files

MODEL = {"source": "path", "path": "m", "device": "cpu"}


@pytest.fixture
def config() -> dict:
    config = copy.deepcopy(DEFAULTS)
    config["catalogue"] = {"m": dict(MODEL), "two": MODEL | {"languages": ["fr", "ja"]}}
    config["models"] = ["m"]
    return config


def job(**wildcards: str) -> Wildcards:
    return Wildcards(**wildcards)


def test_options_are_quoted_and_left_out_without_a_value():
    assert optional("--log", None) == "" and optional_list("--headers", []) == ""
    assert shlex.split(optional("--dose", "-it's")) == ["--dose=-it's"]
    assert shlex.split(optional_list("--headers", ["a b", "c"])) == ["--headers", "a b", "c"]


def test_a_models_flags(config):
    config["catalogue"]["m"] |= {"dtype": "float32", "compile": True, "shape": {"num_hidden_layers": 2}}
    assert shlex.split(Flags(config).model(job(model="m"))) == [
        *("--dtype=float32", "--device=cpu", "--compile"),
        '--shape={"num_hidden_layers": 2}',
    ]


def test_a_task_of_the_harness_has_the_files_of_its_folder(config, tmp_path):
    (tmp_path / "mine.yaml").write_text("")
    folder = {"include_path": str(tmp_path)}
    config["tasks"]["x"] = {"source": "harness", "name": "x_{language}", "shots": 2, "template": "{question}{choice}"}
    inputs, wildcards = Inputs(config, ROOT), job(task="x", language="fr")
    assert inputs.task(wildcards) == [] and inputs.task_settings(wildcards) == {
        "skip": [],
        "name": "x_{language}",
        "shots": 2,
    }
    config["tasks"]["x"] |= folder
    assert inputs.task(wildcards) == [str(tmp_path / "mine.yaml")]
    assert inputs.task_settings(wildcards).items() > folder.items()


def test_ranks_claim_their_gpus(config):
    assert Flags(config).torchrun(job(model="m")) == ""
    config["catalogue"]["m"] |= {"device": "cuda", "tensor_parallel": 2}
    words = Flags(config).torchrun(job(model="m")).split()
    assert words[:6] == ["OMP_NUM_THREADS=1", "lape", "claim", "2", "--", "torchrun"]


def test_a_sweep_has_no_quota(config):
    config["neurons"]["quota"] = "language"
    flags = Flags(config)
    assert "--quota" in flags.selection(job(model="m", method="lape"))
    assert "--quota" not in flags.selection(job(model="m", ratio="0.1"))
    assert "--probability" in flags.selection(job(model="m", method="lap"))
    assert "--negative" in flags.selection(job(model="m", method="lave"))


@pytest.mark.parametrize(
    ("setting", "files"),
    [
        ("normal", []),
        ("random", ["neurons/m/active_lape"]),
        ("deactivated-fr", ["neurons/m/lape"]),
        ("steered@add-all-1-1", ["neurons/m/lape", "steering/m/lape"]),
        ("cross_random-fr", ["neurons/m/active_lape", "steering/m/active_lape"]),
    ],
)
def test_what_a_setting_of_the_answers_takes(config, setting, files):
    wildcards = job(model="m", setting=setting)
    found = Inputs(config, ROOT).perturbing(wildcards)
    assert found == [f"<results>/{stem}{suffix}" for stem in files for suffix in (".json", ".tsv")]
    given = Flags(config).perturbing(wildcards, Wildcards(perturbing=found))
    assert re.findall("--[a-z]+", given) == ["--neurons", "--values"][: len(files)]
    names_own = "@" in setting or setting in ("normal", "random", "deactivated-fr")
    assert (Flags(config).dose(wildcards) == "") == names_own


@pytest.mark.parametrize(
    ("selection", "options"),
    [
        ("none", {}),
        ("both-20", {"--units": "expert_units/m/units"}),
        ("top-lape", {"--units": "expert_units/m/units", "--neurons": "neurons/m/lape"}),
        ("ap", {"--neurons": "neurons/m/ap", "--values": "steering/m/ap"}),
    ],
)
def test_what_a_setting_of_the_texts_takes(config, selection, options):
    wildcards = job(model="m", selection=selection)
    found = Inputs(config, ROOT).selected(wildcards)
    given = shlex.split(Flags(config).selected(wildcards, Wildcards(selected=found)))
    assert given == [word for option, stem in options.items() for word in (option, f"<results>/{stem}.json")]


@pytest.mark.parametrize(
    ("wildcard", "matching", "others"),
    [
        ("setting", ["normal", "cross-fr", "steered@set-all-1-1", "steered_random"], ["cross", "normal-fr", "other"]),
        ("selection", ["none", "both-2000", "random-lape", "active_lape"], ["both", "both-0", "lape-3"]),
        ("language", ["fr"], ["f", "frr", "xx"]),
        ("model", ["m", "two"], ["mm", "."]),
    ],
)
def test_wildcards_match_names_and_nothing_else(config, wildcard, matching, others):
    pattern = re.compile(names.constraints(config)[wildcard])
    assert all(map(pattern.fullmatch, matching)) and not any(map(pattern.fullmatch, others))


def test_no_name_matches_where_there_is_none():
    assert not re.fullmatch(names.one_of([]), "")


def test_languages_are_the_models_own(config):
    inputs = Inputs(config, ROOT)
    assert inputs.of_languages("<results>/x/{model}/{language}")(job(model="two")) == [
        "<results>/x/two/fr",
        "<results>/x/two/ja",
    ]
    assert [path.split("/")[4] for path in inputs.valid_tokens(job(model="two"))] == ["fr", "ja"]


def test_questions_are_the_repositorys_unless_the_user_has_some(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs = Inputs(config, ROOT)
    (found,) = inputs.questions(job(language="fr"))
    assert (tmp_path / found).resolve() == ROOT / "config/questions/fr.jsonl"
    config["questions"]["pattern"] = "mine/{language}.txt"
    with pytest.raises(LapeError, match=r"config questions.pattern: no file matches mine/fr.txt \(language fr\)"):
        inputs.questions(job(language="fr"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "fr.txt").write_text("Où ?")
    assert inputs.questions(job(language="fr")) == ["mine/fr.txt"]


def test_a_variant_makes_what_it_changes_and_shares_the_rest(config):
    changed = {"text": {"tokens": {"seed": 1, "train": 512}}, "less": {"neurons": {"ratio": 0.1}, "only": "selection"}}
    changed |= {"mean": {"ablation": "mean"}, "none": None}
    changed |= {"on-maths": {"corpus": {"source": "archive"}, "only": "evaluation"}}
    config["experiments"]["robustness"]["variants"] = changed
    config["languages"] = ["fr", "ja"]
    inputs, flags = Inputs(config, ROOT), Flags(config)
    assert all_variants(config) == ["m@text", "m@less", "m@mean", "m@on-maths"]
    train = {name: inputs.counted(".npy")(job(model=name, language="fr")) for name in all_variants(config)}
    assert [path.split("/")[2] for path in train.values()] == ["m@text", "m", "m", "m"]
    for name, folder, neurons in (("m@text", "m@text", "m@text"), ("m@less", "m", "m@less"), ("m@mean", "m", "m")):
        each = job(model=name, method="lape", split="valid", language="fr")
        assert inputs.evaluated_text(each) == f"<results>/tokens/{folder}/valid.sha256"
        assert inputs.neurons(".tsv")(each) == f"<results>/neurons/{neurons}/lape.tsv"
        assert inputs.model("model.json")(each) == "<results>/models/m/model.json"
        assert inputs.documents(each)[0] == "<results>/corpus/fr.parquet"
    maths = job(model="m@on-maths", method="lape", split="valid", language="fr", variant="@on-maths")
    assert inputs.documents(maths)[0] == "<results>/corpus@on-maths/fr.parquet"
    assert inputs.neurons(".tsv")(maths) == "<results>/neurons/m/lape.tsv"
    (download,) = inputs.corpus(maths)
    assert download.endswith(".whl") and "--source archive" in flags.corpus(maths, Wildcards(text=[download]))
    means = inputs.means(job(model="m@mean"))
    assert means == [f"<results>/statistics/m/{each}{end}" for end in (".json", ".npz") for each in ("fr", "ja")]
    assert inputs.means(job(model="m@text")) == []
    assert "--budget 512 --seed 1" in flags.tokens(job(model="m@text", split="train"))
    assert "--ratio 0.1" in flags.selection(job(model="m@less", method="lape"))
    config["languages"].append("xx")
    assert "m@on-maths" not in all_variants(config)
    changed["text"]["tokens"]["sed"] = 1
    with pytest.raises(LapeError, match=r"robustness\.variants\.text: tokens: unknown key 'sed'; did you mean 'seed'"):
        check_variants(config, lambda each: check_config(each, ROOT / "config/schema.yaml"))


def test_jobs_that_share_a_language_are_waited_for(config):
    inputs, wildcards = Inputs(config, ROOT), job(model="m", language="fr")
    assert inputs.shares(wildcards) == []
    config["statistics"]["jobs"] = 2
    assert inputs.shares(wildcards) == [f"<results>/statistics/m/fr.{number}.json" for number in (0, 1)]


def test_a_failed_job_asks_for_more_and_a_model_for_no_more_gpus_than_there_are(config):
    config["catalogue"]["m"] |= {"device": "cuda", "resources": {"gpu": 4, "mem_mb": 10}}
    assert Booking(config).gpus(job(model="m")) == 4
    assert Booking(config).mem_mb(job(model="m"), attempt=2) == 20
    assert Booking(config).runtime(job(language="fr"), attempt=1) == config["resources"]["runtime"]
    with pytest.raises(
        LapeError, match=r"config catalogue.m: wants 4 GPUs, the limit is 1; raise it: --resources gpu=4"
    ):
        Booking(config, gpu_limit=lambda: 1).gpus(job(model="m"))


def test_items_need_what_the_configuration_has(config):
    assert "<results>/tables/expert_agreement.html" in targets.of_target(config, "paper")
    config["expert_units"]["languages"] = ["fr", "de"]
    assert "<results>/tables/expert_agreement.html" not in targets.of_target(config, "paper")
    with pytest.raises(LapeError, match=r"config expert_units.languages: are not the run's"):
        targets.comparison(config)
    config["languages"], config["catalogue"]["m"]["languages"] = ["fr", "de"], ["fr", "de"]
    assert "<results>/tables/left_out.html" not in targets.of_target(config, "paper")
    config["languages"] = ["xx", "yy"]
    assert "<results>/tables/pretraining_shares.html" not in targets.of_target(config, "paper")


def test_a_models_architecture_is_known_once_its_header_lies_there(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert repository.architecture(config, job(model="m")) == ""
    header = tmp_path / "results" / config["run"] / "models" / "m" / "model.json"
    header.parent.mkdir(parents=True)
    own = "mlp.act/mlp.c_proj///"
    for text, entry, another in (
        (f'{{"model_type": "gpt2", "ffn": "{own}"}}', own, ""),
        ('{"model_type": "gpt2", "ffn": "probed"}', own, own),
        ('{"model_type": "new", "ffn": "probed"}', "probed", ""),
        ("{", "", ""),
    ):
        header.write_text(text)
        assert repository.architecture(config, job(model="m")) == entry
        assert repository.another_architecture(config, job(model="m")) == another


@pytest.fixture
def texts(config, tmp_path, monkeypatch) -> dict:
    """A configuration of two languages with five texts each, and budgets that fit."""
    monkeypatch.chdir(tmp_path)
    config["catalogue"] = {name: {"source": "embedded"} for name in named_models(config)}
    config |= {"languages": ["fr", "ja"], "corpus": config["corpus"] | {"source": "files"}}
    config["tokens"] |= {"train": 64, "valid": 16, "chunk_length": 16, "valid_chunk_length": 8, "valid_share": 0.4}
    for language in config["languages"]:
        (tmp_path / "texts" / language).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "texts" / language / f"{number}.txt").write_text("où vas-tu ? " * 4, encoding="utf-8")
    return config


def test_text_is_found_while_the_run_is_planned(texts, tmp_path):
    inputs = Inputs(texts, ROOT)
    assert inputs.corpus(job(language="fr", variant="")) == [f"texts/fr/{number}.txt" for number in range(5)]
    for file in (tmp_path / "texts" / "ja").iterdir():
        file.unlink()
    with pytest.raises(LapeError, match=r"config corpus.files.pattern: no file matches texts/ja/\* \(language ja\)"):
        check_files(texts)
    texts["corpus"]["files"]["pattern"] = "results/downloads/mine/{language}.txt"  # a download will make it
    assert inputs.corpus(job(language="ja", variant="")) == ["results/downloads/mine/ja.txt"]


@pytest.mark.parametrize(
    ("tokens", "fault"),
    [
        ({"train": 300}, "config tokens: train 300 and valid 16 are more than fr has: its text has 260 bytes"),
        ({"valid": 24}, "config tokens.valid: 24 are 3 chunks of a document each, and the text of fr has 2 of its 5"),
        ({"train": 300, "valid": 24, "allow_fewer": True}, None),
        ({"valid": 24, "excerpts": False}, None),
    ],
)
def test_budgets_beyond_the_text_are_refused_while_the_run_is_planned(texts, tokens, fault):
    texts["tokens"] |= tokens
    if fault is None:
        check_files(texts)
    else:
        with pytest.raises(LapeError, match=fault):
            check_files(texts)


def test_budgets_beyond_the_embedded_text_are_refused_too(config):
    config |= {key: DEFAULTS[key] for key in ("catalogue", "models")}
    config["tokens"]["valid"] = 30 * 96
    check_files(config)
    config["tokens"]["valid"] = 31 * 96
    with pytest.raises(LapeError, match="the embedded text of a language has 30 of its 152 documents for it"):
        check_files(config)


@pytest.mark.parametrize("key", ["scores.fasttext", "judge.template", "catalogue.m.path"])
def test_a_missing_file_is_named_with_its_key(config, key):
    config["catalogue"] = DEFAULTS["catalogue"] | {"m": {"source": "gguf", "path": str(ROOT / "README.md")}}
    check_files(config)
    *places, last = key.split(".")
    section = config
    for place in places:
        section = section[place]
    section[last] = "nowhere.bin"
    with pytest.raises(LapeError, match=rf"config {key}: nowhere.bin: no such file; mend the path"):
        check_files(config)
