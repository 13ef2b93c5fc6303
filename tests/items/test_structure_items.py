"""Figures 6 and 7: tables from small artifacts, neurons counted by hand, refusals, drawings, and their audit."""

import json

import numpy as np
import pandas as pd
import pytest
from aligned_embeddings import aligned
from neuron_artifacts import neurons_header

from lape.artifacts.files import read_json, sha256, write_header, write_json
from lape.artifacts.manifest import build_manifest
from lape.audit.run import _check_table, audit
from lape.cli import main
from lape.errors import LapeError
from lape.evaluation.similarity import dominance, ses
from lape.items.figures import draw
from lape.items.registry import TABLES
from lape.items.tables import read

# "no" and "nan" are languages that a careless reader takes for missing values.
LANGUAGES = ("no", "nan", "fr")
OWNERS = {(0, 3): "no", (0, 5): "no,nan", (1, 2): "fr", (2, 1): "nan,fr", (2, 2): "nan", (2, 3): "no,nan,fr"}


def write_embeddings(folder, model="tiny", languages=LANGUAGES, embeddings=None, **fields) -> list:
    """An embeddings artifact a language; returns their headers."""
    embeddings = aligned(0, languages) if embeddings is None else embeddings
    (folder / model).mkdir(exist_ok=True)
    headers = []
    for language, array in embeddings.items():
        path = folder / model / f"{language}.npy"
        np.save(path, array)
        layers, sentences, width = array.shape
        header = {"language": language, "model": model, "model_revision": "1", "pooling": "mean", "layers": layers}
        header |= {"sentences": sentences, "width": width, "numbers": list(range(1, sentences + 1))}
        headers.append(path.with_suffix(".json"))
        write_header(headers[-1], "embeddings", **header | fields, parameters={}, inputs=[], outputs=[path])
    return headers


def write_neurons(folder, model="tiny", layers=3, revision="1", sets=LANGUAGES, owners=OWNERS):
    """LAPE's neurons of a model; returns their header."""
    path = neurons_header(folder, model, owners, sets=list(sets), layers=layers)
    write_json(path, read_json(path) | {"model_revision": revision})
    return path


def test_similarity_by_layer_puts_ses_beside_the_neurons_of_each_pair(tmp_path):
    paths = [*write_embeddings(tmp_path), write_neurons(tmp_path)]
    frame = TABLES["similarity_by_layer"].rows(paths)
    expected = ses(aligned(0, LANGUAGES))
    assert frame["layer"].equals(expected["layer"] + 1) and frame["layer_index"].equals(expected["layer"])
    pd.testing.assert_frame_equal(frame[expected.columns.drop("layer")], expected.drop(columns="layer"))
    assert list(frame.columns) == [
        "model",
        "pooling",
        "sentences",
        "layer",
        "layer_index",
        *expected.columns[1:],
        "neurons",
    ]
    assert frame[["model", "pooling", "sentences"]].drop_duplicates().to_numpy().tolist() == [["tiny", "mean", 6]]
    for row in frame.itertuples():
        there = [names.split(",") for (layer, _), names in OWNERS.items() if layer + 1 == row.layer]
        wanted = LANGUAGES if row.language == "" else (row.language, row.other)
        assert row.neurons == sum(not set(wanted).isdisjoint(names) for names in there)


def test_dominance_by_layer_is_the_dominance_of_every_model(tmp_path):
    first, second = (
        write_embeddings(tmp_path),
        write_embeddings(tmp_path, "other", embeddings=aligned(1, LANGUAGES[:2])),
    )
    frame = TABLES["dominance_by_layer"].rows([second[0], *first, second[1]])
    assert list(frame["model"].unique()) == ["other", "tiny"]
    expected = dominance(aligned(0, LANGUAGES))
    own = frame[frame["model"] == "tiny"].reset_index(drop=True)
    assert own["layer"].equals(expected["layer"] + 1)
    pd.testing.assert_frame_equal(own[expected.columns.drop("layer")], expected.drop(columns="layer"))


def test_the_order_of_the_headers_is_that_of_the_languages_and_changes_no_number(tmp_path):
    paths = [*write_embeddings(tmp_path), write_neurons(tmp_path)]
    frames = [TABLES["similarity_by_layer"].rows(each) for each in (paths, paths[::-1])]
    assert [list(frame["language"].unique()) for frame in frames] == [["", *LANGUAGES], ["", *LANGUAGES[::-1]]]
    keys = ["layer", "language", "other"]
    there, back = (frame.set_index(keys).sort_index().drop(columns=["model", "pooling"]) for frame in frames)
    np.testing.assert_allclose(there, back, rtol=1e-9)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"model_revision": "2"}, "has another model_revision than"),
        ({"pooling": "last"}, "has another pooling than"),
        ({"numbers": [1, 2, 3, 4, 5, 7]}, "has another numbers than"),
        ({"language": "no"}, "no of tiny a second time"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(tmp_path, changed, fault):
    paths = write_embeddings(tmp_path)
    write_json(paths[2], read_json(paths[2]) | changed)
    for item in ("similarity_by_layer", "dominance_by_layer"):
        with pytest.raises(LapeError, match=fault) as refusal:
            TABLES[item].rows(paths)
        assert str(paths[2]) in str(refusal.value)


def test_neurons_that_are_missing_or_of_another_checkpoint_are_refused(tmp_path):
    paths = write_embeddings(tmp_path)
    with pytest.raises(LapeError, match="neurons of tiny: missing; pass"):
        TABLES["similarity_by_layer"].rows(paths)
    for settings in ({"revision": "2"}, {"layers": 4}):
        path = write_neurons(tmp_path, **settings)
        with pytest.raises(LapeError, match=f"{path}: not found on the checkpoint of {paths[0]}; select"):
            TABLES["similarity_by_layer"].rows([*paths, path])
    # A released file names no revision; one that lacks a language says so.
    TABLES["similarity_by_layer"].rows([*paths, write_neurons(tmp_path, revision=None)])
    path = write_neurons(tmp_path, sets=["no", "nan"], owners={(0, 3): "no"})
    with pytest.raises(LapeError, match="no set 'fr'"):
        TABLES["similarity_by_layer"].rows([*paths, path])


def test_an_array_that_changed_is_refused(tmp_path):
    paths = write_embeddings(tmp_path)
    np.save(paths[1].with_suffix(".npy"), np.zeros((3, 6, 10), np.float32))
    with pytest.raises(LapeError, match=r"nan\.npy: is not the file that"):
        TABLES["dominance_by_layer"].rows(paths)


def test_sections_show_layers_and_the_pairs_of_the_peak(tmp_path):
    paths = [*write_embeddings(tmp_path), write_neurons(tmp_path)]
    frame = TABLES["similarity_by_layer"].rows(paths)
    layers, raw, corrected = TABLES["similarity_by_layer"].sections(frame)
    assert "6 sentences, mean over tokens" in layers.title
    first = frame.iloc[0]
    assert layers.cells.loc[1].tolist() == [
        f"{first['ses']:.4f} [{first['ses_low']:.4f}, {first['ses_high']:.4f}]",
        f"{first['misaligned']:.4f}",
        f"{first['corrected']:.3f} [{first['corrected_low']:.3f}, {first['corrected_high']:.3f}]".replace("-", "−"),
        "2",
    ]
    for section, column, digits in ((raw, "ses", 4), (corrected, "corrected", 3)):
        mean = frame[frame["language"] == ""].set_index("layer")[column]
        assert f"in layer {mean.idxmax()} (index {mean.idxmax() - 1})," in section.title
        assert section.cells.index.tolist() == section.cells.columns.tolist() == list(LANGUAGES)
        pairs = frame[frame["layer"] == mean.idxmax()].set_index(["language", "other"])[column]
        assert section.cells.at["no", "fr"].startswith(f"{pairs['no', 'fr']:.{digits}f} [")
        assert section.cells.at["fr", "fr"] == ""

    frame = TABLES["dominance_by_layer"].rows(paths[:-1])
    for section, column, digits in zip(
        TABLES["dominance_by_layer"].sections(frame), ("dominance", "corrected"), (4, 3), strict=True
    ):
        assert section.cells.columns.tolist() == list(LANGUAGES) and section.cells.index.tolist() == [1, 2, 3]
        means = frame[frame["language"] == ""].set_index(["layer", "target"])[column]
        assert section.cells.at[2, "nan"].startswith(f"{means[2, 'nan']:.{digits}f} [")


@pytest.mark.parametrize("item", ["similarity_by_layer", "dominance_by_layer"])
def test_commands_write_table_and_figure_and_the_same_bytes_twice(tmp_path, item):
    paths = [*write_embeddings(tmp_path), *([write_neurons(tmp_path)] if item == "similarity_by_layer" else [])]
    found = []
    for _ in range(2):
        assert main(["table", item, *map(str, paths), "--output", str(tmp_path / f"t/{item}.csv")]) == 0
        assert main(["figure", item, str(tmp_path / f"t/{item}.csv"), "--output", str(tmp_path / f"f/{item}.pdf")]) == 0
        found.append(
            {file.name: file.read_bytes() for part in "tf" for file in (tmp_path / part).rglob("*.*") if file.is_file()}
        )
    assert found[0] == found[1]
    svg = found[0][f"{item}.svg"].decode()
    assert ">tiny" in svg and (
        "no-" in svg if item == "similarity_by_layer" else all(f">{name}<" in svg for name in LANGUAGES)
    )

    header = read_json(tmp_path / f"t/{item}.json", "table")
    assert sorted(header["languages"]) == sorted(LANGUAGES) and header["parameters"] == {}
    data = [path.with_suffix(".tsv" if "tiny-lape" in path.name else ".npy") for path in paths]
    assert header["inputs"] == {str(path): sha256(path) for path in (*paths, *data)}
    # What the figure reads back are the numbers of the table, to the last bit.
    pd.testing.assert_frame_equal(read(tmp_path / f"t/{item}.csv", ["language"]), TABLES[item].rows(paths))


def test_similarity_by_layer_draws_means_intervals_pairs_and_neurons(tmp_path):
    paths = [*write_embeddings(tmp_path), write_neurons(tmp_path)]
    more = [
        *write_embeddings(tmp_path, "other", embeddings=aligned(1, LANGUAGES[:2])),
        write_neurons(tmp_path, "other"),
    ]
    frame = TABLES["similarity_by_layer"].rows([*paths, *more])
    figure = draw("similarity_by_layer", frame)
    raw, corrected, _, single, *bars = figure.axes
    mean = frame[(frame["model"] == "tiny") & (frame["language"] == "")]
    misaligned, whole = (line.get_ydata().tolist() for line in raw.lines)
    assert (misaligned, whole) == (mean["misaligned"].tolist(), mean["ses"].tolist())
    # Three pairs, the highest and the lowest once more, and the mean on top.
    assert len(corrected.lines) == 3 + 2 + 1
    assert corrected.lines[-1].get_ydata().tolist() == mean["corrected"].tolist()
    peak = frame[(frame["model"] == "tiny") & (frame["layer"] == mean.loc[mean["corrected"].idxmax(), "layer"])]
    pairs = peak[peak["language"] != ""].set_index(["language", "other"])["corrected"]
    assert {text.get_text() for text in corrected.texts} == {
        "-".join(sorted(pair, key=LANGUAGES.index)) for pair in (pairs.idxmax(), pairs.idxmin())
    }
    assert [text.get_text() for text in single.texts] == ["no-nan"]  # of two languages, the one pair is both
    (band,) = raw.collections
    low, high = band.get_datalim(raw.transData).intervaly
    assert (low, high) == pytest.approx((mean["ses_low"].min(), mean["ses_high"].max()))
    assert [bar.get_height() for bar in bars[0].patches] == mean["neurons"].tolist()
    titles = [axis.get_title().partition(", ρ = ") for axis in figure.axes[:4]]
    assert [model for model, *_ in titles] == ["tiny", "tiny", "other", "other"]
    assert all(-1 <= float(correlation) <= 1 for *_, correlation in titles)


@pytest.mark.parametrize(("languages", "spread"), [(LANGUAGES, 1.0), ([f"l{place}" for place in range(30)], 1e-3)])
def test_dominance_by_layer_names_a_line_for_every_target(tmp_path, languages, spread):
    embeddings = {name: 1 + spread * array for name, array in aligned(2, languages).items()}
    frame = TABLES["dominance_by_layer"].rows(write_embeddings(tmp_path, embeddings=embeddings))
    figure = draw("dominance_by_layer", frame)
    for axis, measure in zip(figure.axes, ("dominance", "corrected"), strict=True):
        assert [text.get_text() for text in axis.texts] == sorted(languages, key=dict(last(frame, measure)).get)
        for line, target in zip(axis.lines, languages, strict=True):
            own = frame[(frame["target"] == target) & (frame["language"] == "")]
            assert line.get_ydata().tolist() == own[measure].tolist()
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == min(len(languages), 21)


def last(frame: pd.DataFrame, measure: str) -> pd.Series:
    """Target -> its mean in the last layer."""
    return frame[(frame["layer"] == frame["layer"].max()) & (frame["language"] == "")].set_index("target")[measure]


@pytest.fixture
def run(tmp_path, monkeypatch, tiny_folder):
    """Embeddings of two languages by the command, their table, and a function that audits them with hashes anew."""
    monkeypatch.chdir(tmp_path)
    words = ["model", "--name", "tiny", "--path", str(tiny_folder), "--device", "cpu", "--dtype", "float32"]
    assert main([*words, "--output", "model.json"]) == 0
    for language, texts in {"no": ["la maison", "près de", "claire"], "fr": ["the house", "under", "light"]}.items():
        rows = [{"number": number, "question": text} for number, text in enumerate(texts, 1)]
        (tmp_path / f"{language}.txt.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        settings = json.dumps({"pattern": f"{language}.txt.jsonl"})
        assert (
            main(["questions", "--language", language, "--settings", settings, "--output", f"q/{language}.jsonl"]) == 0
        )
        words = ["embed", "--model", "model.json", "--sentences", f"q/{language}.json"]
        assert main([*words, "--output", f"e/{language}.npy"]) == 0
    assert main(["table", "dominance_by_layer", "e/no.json", "e/fr.json", "--output", "t/dominance_by_layer.csv"]) == 0
    config = {"run": "tiny", "models": [], "languages": ["no", "fr"]}
    (tmp_path / "config.json").write_text(json.dumps(config))

    def faults() -> list[tuple[str, str]]:
        for path in ("e/no.json", "e/fr.json", "t/dominance_by_layer.json"):
            header = read_json(path)
            header["outputs"] = {name: sha256(tmp_path / path[0] / name) for name in header["outputs"]}
            header["inputs"] = {name: sha256(name) for name in header["inputs"]}
            write_json(path, header)
        return list(audit(build_manifest(["t/dominance_by_layer.json"], ".", "config.json")))

    return faults


def test_audit_finds_embeddings_that_are_not_those_of_their_header(run):
    assert run() == []
    array = np.load("e/fr.npy")
    np.save("e/fr.npy", np.where(np.arange(16) == 3, np.nan, array[:2]).astype(np.float64))
    found = [fault for path, fault in run() if path == "e/fr.json"]
    assert "is float64 of shape (2, 3, 16), the header says float32 of (3, 3, 16)" in found
    assert "holds a number that is NaN or infinite" in found
    np.save("e/fr.npy", array)
    write_json("e/fr.json", read_json("e/fr.json") | {"numbers": [1, 2, 4], "layers": 2})
    found = [fault for path, fault in run() if path == "e/fr.json"]
    assert "its sentences are not those of q/fr.json" in found and "has 2 layers, not those of model.json" in found


def test_audit_makes_the_table_again_from_all_its_inputs(run):
    np.save("e/fr.npy", np.load("e/fr.npy")[:, ::-1])
    assert {path for path, _ in run()} == {"t/dominance_by_layer.json"}


def test_a_table_of_two_kinds_of_artifacts_is_made_again_in_its_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [*write_embeddings(tmp_path), write_neurons(tmp_path)]
    assert main(["table", "similarity_by_layer", *map(str, paths[::-1]), "--output", "t/similarity_by_layer.csv"]) == 0
    header = read_json("t/similarity_by_layer.json", "table")
    assert list(_check_table(tmp_path / "t/similarity_by_layer.json", header)) == []
    text = (tmp_path / "t/similarity_by_layer.csv").read_text()
    (tmp_path / "t/similarity_by_layer.csv").write_text(text.replace("no,nan", "nan,no", 1))
    assert len(list(_check_table(tmp_path / "t/similarity_by_layer.json", header))) == 1
