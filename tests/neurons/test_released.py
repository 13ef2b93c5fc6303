"""The authors' released files: read exactly, refused in one line, written back, and used like our own artifacts."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from stages import arguments, check_refusal, tree
from tiny_data import ROOT

from lape.artifacts.files import write_header
from lape.interventions.perturbation import deactivate
from lape.items.registry import TABLES
from lape.neurons.released import Source, read_neurons, write_neurons
from lape.neurons.table import Neurons
from lape.paper import paper_model

REFERENCE = ROOT.parent / "shared" / "reference"
RELEASED = {
    "LLaMA-2-7B": (
        {"en": 95, "zh": 583, "fr": 1022, "es": 838, "vi": 836, "id": 1068, "ja": 582},
        3523,
        (32, 11008),
        "table8_llama2_7b.csv",
    ),
    "BLOOM-7B": (
        {"en": 445, "zh": 653, "fr": 680, "es": 918, "vi": 551, "id": 2823},
        4915,
        (30, 16384),
        "table6_bloom_7b.csv",
    ),
}


def indices(*layers):
    """One language of a neuron file."""
    return [torch.tensor(index, dtype=torch.int64) for index in layers]


# Three layers of 32 neurons, as the tiny model; the second language has none.
CONTENT = [indices([1, 30], [], [7]), indices([], [], []), indices([1], [4], [7, 9])]
LANGUAGES = "en,no,nan"


def saved(content, path="released.neuron.pth"):
    torch.save(content, path)
    return Path(path)


def write_model(path, experts=1):
    """A model's header with the tiny model's shape."""
    fields = {"name": "tiny", "source": "hub", "path": "owner/tiny", "revision": "r1"}
    write_header(
        path, "model", **fields, layers=3, neurons_per_layer=32, experts=experts, parameters={}, inputs=[], outputs=[]
    )
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refuse(folder, lape):
    """Run a command that must fail in one line and change no file."""

    def run(*words, names=()):
        before = tree(folder)
        line = check_refusal(*lape(*words), words[0], *names)
        assert tree(folder) == before
        return line

    return run


@pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"the released files are not at {REFERENCE}")
@pytest.mark.parametrize("name", RELEASED)
def test_released_files_equal_the_papers_tables_cell_by_cell(folder, lape, name):
    counts, union, shape, table = RELEASED[name]
    released = REFERENCE / "official" / f"{name}.neuron.pth"
    assert lape("import", "neurons", released, "--output", "lape.tsv")[0] == 0
    neurons = Neurons.load("lape.json")
    assert (neurons.counts(), len(neurons.table)) == (counts, union)
    assert neurons.sites.shape == shape
    assert union == round(shape[0] * shape[1] * 0.01)

    assert lape("table", "neurons_per_layer", "lape.json", "--output", "neurons_per_layer.csv")[0] == 0
    ours = pd.read_csv("neurons_per_layer.csv", keep_default_na=False)
    printed = pd.read_csv(REFERENCE / "paper_tables" / table).set_index("layer")
    for column in ("ours", "paper"):
        cells = ours.pivot(index="layer", columns="language", values=column)[list(counts)]
        np.testing.assert_array_equal(cells.to_numpy(int), printed.to_numpy())
        assert cells.index.tolist() == printed.index.tolist() and cells.columns.tolist() == printed.columns.tolist()
    assert not ours["difference"].any() and len(ours) == shape[0] * len(counts)

    assert lape("export", "neurons", "lape.json", "--output", "back.pth")[0] == 0
    theirs, back = torch.load(released, weights_only=True), torch.load("back.pth", weights_only=True)
    for own, other in zip(theirs, back, strict=True):
        assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(own, other, strict=True))


def test_a_neuron_file_becomes_a_table_with_every_owner(folder, lape):
    model = write_model(folder / "model.json")
    status, messages = lape(
        *("import", "neurons", saved(CONTENT), "--languages", LANGUAGES, "--model", model, "--output", "lape.tsv")
    )
    assert status == 0, messages
    assert Path("lape.tsv").read_text().split("\n") == [
        "layer\tindex\tlanguages",
        "0\t1\ten,nan",
        "0\t30\ten",
        "1\t4\tnan",
        "2\t7\ten,nan",
        "2\t9\tnan",
        "",
    ]
    header = json.loads(Path("lape.json").read_text())
    known = {"method": "lape", "model": "tiny", "model_revision": "r1", "checkpoint": "owner/tiny", "selected": 5}
    assert known.items() <= header.items()
    assert header["counts"] == {"en": 3, "no": 0, "nan": 4}
    assert set(header["inputs"]) == {"released.neuron.pth", str(model)}


def test_the_width_comes_from_the_papers_model_an_option_or_nowhere(folder, lape, refuse):
    words = ["import", "neurons", saved(CONTENT), "--languages", LANGUAGES, "--output", "lape.tsv"]
    refuse(*words, names=("released", "--neurons-per-layer", "LLaMA-2-7B"))
    refuse(*words, "--name", "llama-2-7b", names=("3 layers, not the 32 of llama-2-7b",))
    refuse(*words, "--name", "LLaMA-2-7B", "--neurons-per-layer", "32", names=("11008",))
    refuse(*words, "--name", "OPT-6.7B", names=("3 layers, not the 32 of OPT-6.7B",))
    refuse(*words, "--name", "Mistral-7B", "--neurons-per-layer", "32", names=("Mistral-7B has 14336, not 32",))
    refuse(*words, "--model", write_model(folder / "model.json"), "--neurons-per-layer", "32", names=("model.json",))
    assert lape(*words, "--neurons-per-layer", "32")[0] == 0
    assert json.loads(Path("lape.json").read_text())["model"] == "released"


class Payload:
    """Unpickled, it writes a file."""

    def __reduce__(self):
        return Path.write_text, (Path("ran"), "payload")


REFUSED = {
    "languages": (CONTENT[:2], "holds 2 languages, --languages names 3 (en, no, nan)"),
    "layers": ([*CONTENT[:2], CONTENT[2][:2]], "nan has 2 layers, not the 3 of released"),
    "too large": ([*CONTENT[:2], indices([], [31, 32], [])], "nan, layer 2 (index 1) names neurons 31 ... 32 of 32"),
    "negative": ([*CONTENT[:2], indices([-1], [], [])], "nan, layer 1 (index 0) names neurons -1 ... -1 of 32"),
    "twice": ([*CONTENT[:2], indices([3, 5, 3], [], [])], "nan, layer 1 (index 0) names a neuron twice"),
    "fractions": ([*CONTENT[:2], [torch.tensor([0.5]), *CONTENT[2][1:]]], "nan, layer 1 (index 0) is no list of"),
    "mask": ([*CONTENT[:2], [torch.zeros(3, 32, dtype=torch.bool)] * 3], "nan, layer 1 (index 0) is no list of"),
    "numbers": ([*CONTENT[:2], [[1], [2], [3]]], "nan, layer 1 (index 0) is no list of"),
    "a tensor": (torch.zeros(3, 3, dtype=torch.int64), "is no list of languages of layers"),
    "nothing": ([], "is no list of languages of layers"),
    "no layers": ([[], [], []], "is no list of languages of layers"),
    "code": ([*CONTENT, Payload()], "loads without running code"),
    "another dictionary": ({"languages": ["en"], "results": {}}, "is a dictionary without the selected neurons"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_neuron_file_that_does_not_fit_is_refused(refuse, fault):
    content, said = REFUSED[fault]
    words = ["--languages", LANGUAGES, "--neurons-per-layer", "32", "--output", "lape.tsv"]
    refuse("import", "neurons", saved(content), *words, names=("released.neuron.pth", said))
    assert not Path("ran").exists()


def test_other_files_names_and_outputs_are_refused(folder, lape, refuse, capsys):
    options = ["--neurons-per-layer", "32", "--output", "lape.tsv"]
    whole = saved(CONTENT).read_bytes()
    Path("cut.pth").write_bytes(whole[: len(whole) // 2])
    refuse("import", "neurons", "cut.pth", "--languages", LANGUAGES, *options, names=("cut.pth",))
    refuse("import", "neurons", "none.pth", "--languages", LANGUAGES, *options, names=("none.pth", "No such file"))
    refuse("import", "neurons", "released.neuron.pth", "--languages", "en,no,en", *options, names=("twice", "en"))
    words = ["--languages", LANGUAGES, "--neurons-per-layer", "32", "--output", "lape.json"]
    refuse("import", "neurons", "released.neuron.pth", *words, names=("lape.json", ".tsv"))
    with pytest.raises(SystemExit):
        lape("import", "neurons", "released.neuron.pth", "--languages", "en,../x,nan", *options)
    assert "'../x' is no name of a language" in capsys.readouterr().err


def test_empty_tensors_may_have_any_type_and_indices_any_order(folder):
    content = [[torch.tensor([5, 2], dtype=torch.int32), torch.tensor([])]]
    neurons = read_neurons(saved(content), ["en"], Source("tiny", neurons_per_layer=8))
    assert neurons.table.to_numpy().tolist() == [[0, 2, ("en",)], [0, 5, ("en",)]]
    assert neurons.layers == 2


def test_an_export_read_back_deactivates_and_counts_the_same(stages, lape):
    """On the artifacts of a run: the same table, and the same likelihood of every chunk to the last bit."""
    assert lape("export", "neurons", "neurons/lape.json", "--output", "neurons/lape.pth")[0] == 0
    assert json.loads(Path("neurons/lape.pth.json").read_text())["languages"] == ["fr", "ja"]
    words = ["--languages", "fr,ja", "--model", "models/model.json", "--output", "described/lape.tsv"]
    assert lape("import", "neurons", "neurons/lape.pth", *words)[0] == 0
    assert lape("import", "neurons", "neurons/lape.pth.json", "--output", "imported/lape.tsv")[0] == 0
    ours, back = Neurons.load("neurons/lape.json"), Neurons.load("imported/lape.json")
    assert Path("described/lape.tsv").read_bytes() == Path("imported/lape.tsv").read_bytes()
    assert [back.summary[name] for name in ("method", "model", "model_revision")] == [
        ours.summary[name] for name in ("method", "model", "model_revision")
    ]
    pd.testing.assert_frame_equal(back.table, ours.table[["layer", "index", "languages"]])
    assert len(back.table) and (back.sets, back.layers) == (ours.sets, ours.layers)
    for item in ("neurons_per_layer", "neurons_per_language", "sharing"):
        same = [TABLES[item].rows([f"{folder}/lape.json"]) for folder in ("neurons", "imported")]
        pd.testing.assert_frame_equal(*same)
    row = arguments("perplexity", neurons="imported/lape.json")
    assert lape(*row[:-1], "imported/fr.tsv")[0] == 0
    assert Path("imported/fr.tsv").read_bytes() == Path("perplexity/fr.tsv").read_bytes()


def test_what_contradicts_the_header_of_an_export_is_refused(stages, lape):
    assert lape("export", "neurons", "neurons/lape.json", "--output", "neurons/lape.pth")[0] == 0
    words = ["import", "neurons", "neurons/lape.pth", "--output", "imported/lape.tsv"]
    other = write_model(Path("other.json"), experts=2)
    header = "neurons/lape.pth.json"
    check_refusal(*lape(*words, "--languages", "ja,fr"), "import", "--languages", f"{header} names fr, ja", "leave")
    check_refusal(*lape(*words, "--neurons-per-layer", "31"), "import", "--neurons-per-layer", header)
    check_refusal(*lape(*words, "--model", other), "import", "other.json", header, "leave --model out")
    Path("neurons/lape.pth").write_bytes(b"another file")
    check_refusal(*lape(*words), "import", "neurons/lape.pth", "is not the file")
    assert not Path("imported").exists()


@pytest.mark.parametrize(
    ("name", "sites", "languages"),
    [
        ("LLaMA-2-7B", (32, 11008), 7),
        ("LLaMA-2-13B", (40, 13824), 7),
        ("LLaMA-2-70B", (80, 28672), 7),
        ("BLOOM-7B", (30, 16384), 6),
        ("Mistral-7B", (32, 14336), 7),
        ("OPT-6.7B", (32, 16384), 5),
        ("phi-2", (32, 10240), 7),
    ],
)
def test_a_released_file_is_known_by_its_name(folder, lape, name, sites, languages):
    """The authors' seven files. Their last languages are missing where they have no neuron."""
    content = [[torch.tensor([language]) for _ in range(sites[0])] for language in range(languages)]
    assert lape("import", "neurons", saved(content, f"{name}.neuron.pth"), "--output", "lape.tsv")[0] == 0
    neurons = Neurons.load("lape.json")
    assert neurons.sites.shape == sites and neurons.sets == ("en", "zh", "fr", "es", "vi", "id", "ja")[:languages]
    assert (neurons.summary["model"], neurons.summary["method"]) == (name, "lape")


def test_a_file_of_another_name_needs_its_languages(folder, refuse):
    words = ["import", "neurons", saved(CONTENT), "--neurons-per-layer", "32", "--output", "lape.tsv"]
    refuse(*words, names=("released.neuron.pth", "pass --languages"))


def test_languages_without_a_neuron_keep_their_place_and_bytes_do_not_change(folder, tiny_model):
    neurons = read_neurons(saved(CONTENT), LANGUAGES.split(","), Source("tiny", neurons_per_layer=32))
    for path in ("one.pth", "another.pth"):
        write_neurons(neurons, path)
    assert Path("one.pth").read_bytes() == Path("another.pth").read_bytes()
    back = torch.load("one.pth", weights_only=True)
    assert [[index.tolist() for index in layers] for layers in back] == [
        [[1, 30], [], [7]],
        [[], [], []],
        [[1], [4], [7, 9]],
    ]
    assert {index.dtype for layers in back for index in layers} == {torch.int64}

    # What an import switches off is off, by torch alone.
    ids = torch.arange(8)[None]
    with deactivate(tiny_model, neurons, "nan"), torch.inference_mode():
        found = tiny_model(ids).logits
    off = {0: [1], 1: [4], 2: [7, 9]}
    for layer, index in off.items():
        tiny_model.model.layers[layer].mlp.down_proj.weight.data[:, index] = 0
    torch.testing.assert_close(found, tiny_model(ids).logits)


def test_a_file_of_kinit_switches_off_in_its_readers_what_it_switches_off_here(folder, tiny_model, lape, refuse):
    """Its reader sets rows of the gate projection to zero. Beside FFNs its files may have attention."""
    neurons = read_neurons(saved(CONTENT), LANGUAGES.split(","), Source("tiny", neurons_per_layer=32))
    neurons.save("lape.tsv", method="lape", model="tiny", model_revision=None)
    assert lape("export", "neurons", "lape.json", "--form", "kinit", "--output", "out.pt")[0] == 0
    content = torch.load("out.pt", weights_only=True)
    content["results"]["attn_q_proj_over_threshold_rate"] = {"selected_mask": torch.ones(3, 3, 8)}
    words = ["import", "neurons", saved(content, "theirs.pt"), "--output", "back.tsv"]
    refuse(*words, "--languages", "en,fr,ja", names=("--languages: theirs.pt names en, no, nan; leave --languages",))
    refuse(*words, "--neurons-per-layer", "31", names=("theirs.pt: has 32 neurons per layer, not the 31 of theirs",))
    for file in ("theirs.pt", "out.pt.json"):
        assert lape("import", "neurons", file, "--output", "back.tsv")[0] == 0
        back = Neurons.load("back.tsv")
        pd.testing.assert_frame_equal(back.table, neurons.table)
        assert (back.sets, back.sites) == (neurons.sets, neurons.sites)
    ids = torch.arange(8)[None]
    with deactivate(tiny_model, neurons, "nan"), torch.inference_mode():
        wanted = tiny_model(ids).logits
    found = content["results"]["mlp_over_threshold_rate"]
    for layer, index in enumerate(found["selected_indices_by_language"]["nan"]):
        tiny_model.model.layers[layer].mlp.gate_proj.weight.data[index] = 0
    torch.testing.assert_close(tiny_model(ids).logits, wanted)
    assert found["selected_mask"].sum((1, 2)).tolist() == [3, 0, 4]


def test_a_mixture_of_experts_goes_by_places(folder, lape):
    """Neuron j of expert e is e * 16 + j."""
    words = ["--languages", LANGUAGES, "--output", "lape.tsv", "--model", write_model(folder / "model.json", experts=2)]
    assert lape("import", "neurons", saved(CONTENT), *words)[0] == 0
    neurons = Neurons.load("lape.json")
    assert neurons.table[["layer", "expert", "index"]].to_numpy().tolist() == [
        [0, 0, 1],
        [0, 1, 14],
        [1, 0, 4],
        [2, 0, 7],
        [2, 0, 9],
    ]
    line = check_refusal(*lape("export", "neurons", "lape.json", "--form", "kinit", "--output", "back.pth"), "export")
    assert line.endswith("are of a mixture of experts, which this form does not know; use form lape")
    assert lape("export", "neurons", "lape.json", "--output", "back.pth")[0] == 0
    assert all(
        torch.equal(*pair)
        for own, other in zip(CONTENT, torch.load("back.pth", weights_only=True), strict=True)
        for pair in zip(own, other, strict=True)
    )


def count_files(shape=(2, 40), tokens=1000):
    """Random counts of three languages in the authors' form."""
    counts = {
        name: np.random.default_rng(seed).integers(0, tokens, shape) for seed, name in enumerate(["en", "no", "nan"])
    }
    for name, value in counts.items():
        saved({"n": tokens, "over_zero": torch.tensor(value, dtype=torch.int32)}, f"{name}.pth")
    return counts, [f"{name}=./{name}.pth" for name in counts]


def test_imported_counts_select_as_plain_numpy_does(folder, lape):
    counts, files = count_files()
    assert lape("import", "counts", *files, "--output", "statistics/tiny")[0] == 0
    headers = [f"statistics/tiny/{name}.json" for name in counts]
    header = json.loads(Path(headers[2]).read_text())
    expected = {"language": "nan", "model": "tiny", "model_revision": None, "tokens": 1000, "shards": []}
    assert expected.items() <= header.items()
    assert (header["layers"], header["neurons_per_layer"]) == (2, 40)
    select = ["select", "--statistics", *headers, "--ratio", "0.1", "--output", "lape.tsv"]
    assert lape(*select)[0] == 0

    P = np.stack(list(counts.values()), axis=-1) / 1000
    Q = P / P.sum(axis=-1, keepdims=True)
    H = -(Q * np.log(np.where(Q > 0, Q, 1))).sum(axis=-1)
    T = np.sort(P, axis=None)[round(P.size * 0.95) - 1]
    H[(P <= T).all(axis=-1)] = np.inf
    lowest = np.sort(np.argsort(H, axis=None)[:8])
    table = Neurons.load("lape.json").table
    assert (table["layer"] * 40 + table["index"]).tolist() == lowest.tolist()
    owners = [tuple(np.array(list(counts))[row > T]) for row in P.reshape(-1, 3)[lowest]]
    assert table["languages"].tolist() == owners

    # Counts say nothing about means.
    line = check_refusal(*lape(*select[:-1], "lave.tsv", "--method", "lave"), "select")
    assert "no sums of activations" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"over_zero": torch.zeros(2, 40, dtype=torch.int32)}, "no 'n' and 'over_zero'"),
        ({"n": 0, "over_zero": torch.zeros(2, 40, dtype=torch.int32)}, "its n is 0"),
        ({"n": 10, "over_zero": torch.full((2, 40), 11, dtype=torch.int32)}, "11, outside 0 ... n = 10"),
        ({"n": 10, "over_zero": torch.full((2, 40), -1, dtype=torch.int32)}, "overflows"),
        ({"n": 10, "over_zero": torch.zeros(2, 40)}, "no matrix of counts"),
        ({"n": 10, "over_zero": torch.zeros(40, dtype=torch.int32)}, "no matrix of counts"),
        ({"n": 10, "over_zero": torch.zeros(2, 41, dtype=torch.int32)}, "2 x 41 counts, not the 2 x 40"),
        ({"n": 10, "over_zero": torch.zeros(2, 40, dtype=torch.int32), "more": Payload()}, "running code"),
        (CONTENT, "no 'n' and 'over_zero'"),
    ],
)
def test_counts_that_do_not_fit_are_refused(refuse, content, said):
    _, files = count_files()
    saved(content, "nan.pth")
    refuse("import", "counts", *files, "--output", "tiny", names=("nan.pth", said))
    assert not Path("ran").exists()


def test_counts_of_another_model_are_refused(folder, refuse, lape, capsys):
    _, files = count_files()
    refuse("import", "counts", *files, "--output", "LLaMA-2-7B", names=("en.pth", "2 x 40", "32 x 11008"))
    model = write_model(folder / "model.json", experts=2)
    refuse("import", "counts", *files, "--model", model, "--output", "tiny", names=("mixture of experts",))
    refuse("import", "counts", *files, files[0], "--output", "tiny", names=("twice", "en, no, nan, en"))
    with pytest.raises(SystemExit):
        lape("import", "counts", "en.pth", "--output", "tiny")
    assert "'en.pth' is not LANGUAGE=FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LLaMA-2-7B", "LLaMA-2-7B"),
        ("llama-2-7b", "LLaMA-2-7B"),
        ("llama2_7b", "LLaMA-2-7B"),
        ("meta-llama/Llama-2-7b-hf", "LLaMA-2-7B"),
        ("meta-llama/Llama-2-70b", "LLaMA-2-70B"),
        ("bigscience/bloom-7b1", "BLOOM-7B"),
        ("bloom-7b", "BLOOM-7B"),
        ("meta-llama/Llama-2-7b-chat-hf", None),
        ("gemma3-270m", None),
    ],
)
def test_the_papers_models_are_known_by_name_or_repository(name, expected):
    found = paper_model(None, name)
    assert (found and found.name) == expected
