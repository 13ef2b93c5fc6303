"""Parameter variation: which parameters are selected, random controls of them, and what setting them to zero does."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from stages import check_refusal, cut

from lape.artifacts.files import read_json, write_header
from lape.audit.neurons import check_parameters
from lape.errors import LapeError
from lape.interventions.zeroing import zeroed
from lape.parameter_variation import reading
from lape.parameter_variation.controls import control_parameters, magnitude_matched_controls
from lape.parameter_variation.parameters import Parameters
from lape.parameter_variation.selection import select_parameters

IDS = torch.arange(2, 12).view(2, 5)
LANGUAGES = ("en", "nan", "ja", "fr")  # a code that a careless reader takes for a missing value
# Owners of four parameters each in two matrices.
PLANTED = [("en",), ("nan",), ("ja",), ("fr",), ("en", "ja")]
GATE, QUERY = "model.layers.0.mlp.gate_proj.weight", "model.layers.2.self_attn.q_proj.weight"


def plain_selection(base: dict, finetuned: dict, ratio: float, change: str) -> list[tuple[str, int, tuple]]:
    """The definition, one parameter at a time in float64."""
    candidates, total = [], 0
    for position, (name, weights) in enumerate(base.items()):
        for index, before in enumerate(weights.ravel().tolist()):
            total += 1
            if before == 0:
                continue
            changes = [(copies[name].ravel().tolist()[index] - before) / before for copies in finetuned.values()]
            changes = list(map(abs, changes)) if change == "absolute" else changes
            refined = [max(changes) - change for change in changes]
            if not sum(refined):
                continue
            shares = [value / sum(refined) for value in refined]
            entropy = -sum(share * math.log(share) for share in shares if share)
            members = tuple(share > 1 / len(shares) for share in shares)
            # Rounded, so that what ties in exact numbers ties here too.
            candidates.append((round(entropy, 5), position, index, name, members))
    candidates.sort()
    wanted = round(ratio * total)
    return [(name, index, members) for _, _, index, name, members in sorted(candidates[:wanted], key=lambda c: c[1:3])]


def listed(parameters: Parameters) -> list[tuple[str, int, tuple]]:
    return [
        (name, int(index), tuple(map(bool, members)))
        for name in parameters.matrices
        if name in parameters.index
        for index, members in zip(parameters.index[name], parameters.member[name], strict=True)
    ]


def copies(seed: int = 0, languages=("a", "b", "c", "d")) -> tuple[dict, dict]:
    """Three matrices, one of three dimensions, and a changed copy a language; with zeros and with ties."""
    generator = np.random.default_rng(seed)
    shapes = {"z.first": (7, 12), "a.second": (3, 5, 4), "m.third": (30, 2)}
    base = {name: generator.choice([-2.0, -1, 0.5, 1, 4], shape).astype(np.float32) for name, shape in shapes.items()}
    # Changes in eighths of a few sizes: exact in float32, and often alike.
    finetuned = {
        language: {
            name: (weights + weights * generator.integers(-5, 6, weights.shape) / 8).astype(np.float32)
            for name, weights in base.items()
        }
        for language in languages
    }
    base["z.first"][2] = 0
    for language in languages:
        finetuned[language]["a.second"][1] = base["a.second"][1] * 1.5  # the same change everywhere
    return base, finetuned


@pytest.mark.parametrize("change", ["absolute", "signed"])
@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.3, 0.8])
@pytest.mark.parametrize(("read", "block"), [(1 << 22, 1 << 16), (1, 1), (20, 7)])
def test_selection_is_the_definition(monkeypatch, ratio, read, block, change):
    monkeypatch.setattr(reading, "_READ", read)
    monkeypatch.setattr(reading, "_BLOCK", block)
    base, finetuned = copies()
    parameters = select_parameters(base, finetuned, ratio, change)
    assert listed(parameters) == plain_selection(base, finetuned, ratio, change)
    assert parameters.summary["wanted"] == round(204 * ratio)
    assert parameters.summary["selected"] == len(listed(parameters))


def test_ties_go_to_the_earlier_matrix_and_index():
    base = {"z": np.ones((2, 5), np.float32), "a": np.ones((2, 5), np.float32)}
    changed = {name: np.full((2, 5), 1.5, np.float32) for name in base}
    parameters = select_parameters(base, {"x": base, "y": changed, "w": changed}, 0.6)
    assert listed(parameters) == [
        *(("z", index, (True, False, False)) for index in range(10)),
        *(("a", index, (True, False, False)) for index in range(2)),
    ]
    assert parameters.summary["entropy_at_cut"] == 0 and parameters.summary["entropy_maximum"] == math.log(2)


def test_a_parameter_that_keeps_its_value_in_two_languages_belongs_to_both():
    base = {"w": np.ones((1, 2), np.float32)}
    after = {"a": [[1, 1.5]], "b": [[1, 1]], "c": [[2, 2]], "d": [[2, 2]]}
    finetuned = {language: {"w": np.array(rows, np.float32)} for language, rows in after.items()}
    parameters = select_parameters(base, finetuned, 1.0)
    # Shares of the second: (1/2, 1, 0, 0) / (3/2); an even share is 1/4.
    assert parameters.member["w"].tolist() == [[True, True, False, False], [True, True, False, False]]
    expected = -(1 / 3 * math.log(1 / 3) + 2 / 3 * math.log(2 / 3))
    assert parameters.summary["entropy_at_cut"] == pytest.approx(max(expected, math.log(2)), rel=1e-6)


def test_two_languages_are_refused():
    base, finetuned = copies(languages=("a", "b"))
    with pytest.raises(LapeError, match="between two every entropy of PV is 0; name at least three"):
        select_parameters(base, finetuned, 0.1)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda base, finetuned: finetuned.pop("b") and finetuned.pop("c") and finetuned.pop("d"), "at least three"),
        (lambda base, finetuned: finetuned["c"].pop("m.third"), "c: the fine-tuned matrices .*m.third"),
        (lambda base, finetuned: base.update({"z.first": np.ones((12, 7))}), "a: the fine-tuned matrices .*z.first"),
        (lambda base, finetuned: finetuned.update(dict.fromkeys(finetuned, base)), "no parameter changed more"),
    ],
)
def test_selection_refuses(change, line):
    base, finetuned = copies()
    change(base, finetuned)
    with pytest.raises(LapeError, match=line):
        select_parameters(base, finetuned, 0.1)


# Planted parameters, found by the commands on a real model and switched off in it.


@pytest.fixture
def planted(tmp_path, monkeypatch, tiny_folder, tiny_model, lape):
    """A model and a changed copy of it a language, in which known parameters kept their values; what these are."""
    monkeypatch.chdir(tmp_path)
    status, messages = lape(
        *"model --name tiny --device cpu --dtype float32 --output model.json --path".split(), tiny_folder
    )
    assert status == 0, messages
    base = {
        name: weights.detach().numpy()
        for name, weights in tiny_model.named_parameters()
        if "layers" in name and weights.dim() == 2
    }
    generator = np.random.default_rng(1)
    # Factors of change: what is not planted changes most in one language and alike in the others.
    factors = {name: np.full((len(LANGUAGES), weights.size), 1.25) for name, weights in base.items()}
    for factor in factors.values():
        places = np.arange(factor.shape[1])
        factor[places % len(LANGUAGES), places] = 1.5
    plants = {language: {} for language in LANGUAGES}
    for name in (GATE, QUERY):
        for owners, places in zip(PLANTED, generator.permutation(base[name].size).reshape(-1, 4), strict=False):
            factors[name][:, places] = 2
            for language in owners:
                factors[name][LANGUAGES.index(language), places] = 1
                plants[language][name] = np.sort([*plants[language].get(name, []), *places]).astype(np.int64)
    revision = json.loads((tmp_path / "model.json").read_text())["revision"]
    for number, language in enumerate(LANGUAGES):
        after = {name: (weights.ravel() * factors[name][number]).astype(np.float32) for name, weights in base.items()}
        save_file({name: values.reshape(base[name].shape) for name, values in after.items()}, f"{language}.safetensors")
        write_header(
            f"{language}.json",
            "finetuned",
            language=language,
            model_revision=revision,
            matrices={name: list(weights.shape) for name, weights in base.items()},
            steps=12,
            examples=8 + number,
            parameters={},
            inputs=[],
            outputs=[f"{language}.safetensors"],
        )
    ratio = 2 * 4 * len(PLANTED) / sum(weights.size for weights in base.values())
    words = f"select_parameters --model model.json --ratio {ratio} --output pv.safetensors --finetuned".split()
    status, messages = lape(*words, *(f"{language}.json" for language in LANGUAGES))
    assert status == 0, messages
    return plants


def test_exactly_the_planted_parameters_are_found(planted):
    parameters = Parameters.load("pv.json")
    assert parameters.sets == LANGUAGES and parameters.summary["method"] == "pv"
    for language, plant in planted.items():
        found = parameters.indices(language)
        assert found.keys() == plant.keys()
        assert all(np.array_equal(found[name], plant[name]) for name in plant)
    assert parameters.counts() == {"en": 16, "nan": 8, "ja": 16, "fr": 8}
    assert parameters.summary["selected"] == parameters.summary["wanted"] == 40
    assert parameters.summary["training"]["nan"] == {"steps": 12, "examples": 9}
    both = parameters.indices(["en", "ja"])
    assert np.array_equal(both[GATE], np.union1d(planted["en"][GATE], planted["ja"][GATE]))


@torch.inference_mode()
def test_the_planted_parameters_are_zeroed_and_come_back(planted, tiny_folder, tiny_model):
    from transformers import AutoModelForCausalLM

    before = {name: weights.clone() for name, weights in tiny_model.state_dict().items()}
    logits = tiny_model(input_ids=IDS).logits
    by_hand = AutoModelForCausalLM.from_pretrained(tiny_folder).eval()
    for name, places in planted["ja"].items():
        by_hand.get_parameter(name).view(-1)[torch.from_numpy(places)] = 0
    with zeroed(tiny_model, Parameters.load("pv.json"), "ja") as record:
        changed = tiny_model(input_ids=IDS).logits
        assert torch.equal(changed, by_hand(input_ids=IDS).logits) and not torch.equal(changed, logits)
    assert record.matrices == {GATE: 8, QUERY: 8} and record.parameters == record.nonzero == 16
    assert all(torch.equal(weights, before[name]) for name, weights in tiny_model.state_dict().items())
    assert torch.equal(tiny_model(input_ids=IDS).logits, logits)


@pytest.mark.parametrize("method", ["matched_pv", "active_pv"])
def test_the_control_has_as_many_in_every_matrix_and_none_of_the_languages_own(planted, lape, method):
    words = "control_parameters --parameters pv.json --seed {} --output {}.safetensors"
    weights = ["--model", "model.json", "--finetuned", *(f"{language}.json" for language in LANGUAGES)]
    weights = weights if method == "active_pv" else []
    for seed, name in ((0, "control"), (0, "again"), (1, "other")):
        status, messages = lape(*words.format(seed, name).split(), *weights)
        assert status == 0, messages
    selected, control = Parameters.load("pv.json"), Parameters.load("control.json")
    assert control.summary["method"] == method and control.counts() == selected.counts()
    assert list(check_parameters(Path("control.json"), read_json("control.json"))) == []
    assert check_refusal(*lape(*words.format(0, "x").split(), "--model", "model.json"), "control_parameters", "--model")
    for language in LANGUAGES:
        own, drawn = selected.indices(language), control.indices(language)
        assert {name: len(places) for name, places in own.items()} == {name: len(p) for name, p in drawn.items()}
        assert not any(np.isin(drawn[name], own[name]).any() for name in own)
    load = {name: load_file(f"{name}.safetensors") for name in ("control", "again", "other")}
    assert all(np.array_equal(load["control"][key], load["again"][key]) for key in load["control"])
    assert any(not np.array_equal(load["control"][key], load["other"].get(key)) for key in load["control"])


def test_the_control_draws_every_other_place_equally_often():
    parameters = one([0, 3, 4, 9], shape=(3, 4))
    drawn = [control_parameters(parameters, seed).index["w"] for seed in range(2000)]
    counts = np.bincount(np.concatenate(drawn), minlength=12)
    assert not counts[[0, 3, 4, 9]].any()
    others = np.delete(counts, [0, 3, 4, 9])
    # 2000 draws of 4 of 8: 1000 each, with a standard deviation of 22.
    assert (abs(others - 1000) < 110).all()


def test_a_control_does_not_fit_beside_more_than_half_of_a_matrix():
    with pytest.raises(LapeError, match="fr has 3 of its parameters, and 2 are in no set"):
        control_parameters(one([0, 1, 2], shape=(1, 5)), 0)


def sizes(base: dict, finetuned: dict, name: str, places: np.ndarray) -> np.ndarray:
    """Sizes of the weights and of the changes of some places, [2, n]."""
    before, after = (weights[name].ravel()[places].astype(float) for weights in (base, finetuned))
    return np.abs(np.stack([before, after - before]))


def test_a_matched_control_is_as_large_and_as_changed(monkeypatch):
    generator = np.random.default_rng(4)
    shapes = {"w": (300, 400), "v": (200, 500)}
    base = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    # Small weights change much, and each language leaves other parameters in place.
    finetuned = {
        language: {
            name: (w + generator.normal(size=w.shape) * np.exp(-np.abs(w))).astype(np.float32)
            for name, w in base.items()
        }
        for language in ("a", "b", "c")
    }
    selected = select_parameters(base, finetuned, 0.02)
    first, second = magnitude_matched_controls(selected, base, finetuned, [0, 1])
    assert first.counts() == second.counts() == selected.counts() and not any(first.summary["unmatched"].values())
    random = control_parameters(selected, 0)
    assert any(not np.array_equal(first.index[name], second.index[name]) for name in shapes)
    for language in selected.sets:
        for name, own in selected.indices(language).items():
            drawn = first.indices(language)[name]
            assert len(drawn) == len(own) and not np.isin(drawn, selected.index[name]).any()
            wanted, ours, others = (
                np.log(sizes(base, finetuned[language], name, places)).mean(axis=1)
                for places in (own, drawn, random.indices(language)[name])
            )
            # The random control has other sizes of changes.
            assert np.abs(wanted - ours).max() < 0.15 < 0.5 < np.abs(wanted - others).max()
    # A draw depends neither on the cut into blocks, nor on the other languages and seeds.
    monkeypatch.setattr(reading, "_READ", 1000)
    monkeypatch.setattr(reading, "_BLOCK", 77)
    (alone,) = magnitude_matched_controls(selected, base, {"b": finetuned["b"]}, [1], ["b"])
    assert alone.counts() == {"a": 0, "b": selected.counts()["b"], "c": 0}
    assert all(np.array_equal(places, second.indices("b")[name]) for name, places in alone.indices("b").items())
    with pytest.raises(LapeError, match="no fine-tuned copy of a; pass that of each language"):
        magnitude_matched_controls(selected, base, {"b": finetuned["b"]}, [1])


def test_where_no_parameter_matches_random_ones_take_their_places():
    base = {"w": np.array([[5, 5, 1, 1, 1, 1, 1]], np.float32)}
    finetuned = {"fr": {"w": base["w"] + 1}, "en": base}
    for seed in range(20):
        (control,) = magnitude_matched_controls(one([0, 1], (1, 7)), base, finetuned, [seed])
        assert control.summary["unmatched"] == {"fr": 2, "en": 0}
        assert len(control.index["w"]) == 2 and control.index["w"].min() > 1
    with pytest.raises(LapeError, match="fr has 3 of its parameters, and 2 are in no set"):
        base = {"w": np.ones((1, 5), np.float32)}
        magnitude_matched_controls(one([0, 1, 2], (1, 5)), base, {"fr": base, "en": base}, [0])


def one(places: list[int], shape: tuple[int, ...], name: str = "w") -> Parameters:
    """Some places of one matrix, all of one language; another language has none."""
    member = np.tile([True, False], (len(places), 1))
    return Parameters({name: np.array(places)}, {name: member}, ("fr", "en"), {name: shape})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_bit_comes_back_in_every_dtype_and_layout(dtype):
    model = torch.nn.Module()
    values = torch.tensor([-0.0, math.nan, math.inf, 1e-8, -3, 5], dtype=dtype)
    model.w = torch.nn.Parameter(values.view(3, 2).t())  # places count row by row of the transposed matrix
    bits = torch.int32 if dtype == torch.float32 else torch.int16
    before = model.w.detach().clone().view(bits)
    with pytest.raises(RuntimeError, match="inside"):
        with zeroed(model, one([0, 2, 3, 4], (2, 3)), "fr"):
            assert model.w.flatten().tolist()[0] == 0 and model.w[0, 2] == 0 and (model.w[1, :2] == 0).all()
            assert model.w[0, 1] == values[2] and model.w[1, 2] == 5
            raise RuntimeError("inside")
    assert torch.equal(model.w.detach().view(bits), before)


def test_tied_matrices_come_back_whatever_they_share():
    model = torch.nn.Module()
    model.w = torch.nn.Parameter(torch.arange(1.0, 7).view(2, 3))
    model.v = model.w
    first, second = one([0, 1], (2, 3), "w"), one([1, 2], (2, 3), "v")
    both = Parameters(
        first.index | second.index, first.member | second.member, first.sets, first.matrices | second.matrices
    )
    with zeroed(model, both, "fr"):
        assert model.w.flatten().tolist() == [0, 0, 0, 4, 5, 6]
    assert model.v.flatten().tolist() == [1, 2, 3, 4, 5, 6]


def test_zeroing_outlives_inference_mode():
    model = torch.nn.Module()
    model.w = torch.nn.Parameter(torch.ones(2, 3))
    with torch.inference_mode():
        context = zeroed(model, one([1], (2, 3)), "fr")
        context.__enter__()
    assert model.w.sum() == 5
    context.__exit__(None, None, None)
    assert model.w.sum() == 6


def test_zeroing_proves_that_it_acted():
    model = torch.nn.Module()
    model.w = torch.nn.Parameter(torch.zeros(2, 3))
    with pytest.raises(LapeError, match="all 2 parameters were zero before"):
        with zeroed(model, one([1, 2], (2, 3)), "fr"):
            pass
    with torch.no_grad():
        model.w += 1
    with pytest.raises(LapeError, match="w: its parameters are no longer zero"):
        with zeroed(model, one([1, 2], (2, 3)), "fr"), torch.no_grad():
            model.w.copy_(torch.full((2, 3), 9.0))
    assert model.w.flatten().tolist() == [9, 1, 1, 9, 9, 9]


def test_an_empty_set_changes_nothing(caplog):
    model = torch.nn.Module()
    model.w = torch.nn.Parameter(torch.ones(2, 3))
    with zeroed(model, one([1], (2, 3)), "en") as record:
        assert (model.w == 1).all()
    assert record.parameters == 0 and "is empty" in caplog.text


@pytest.mark.parametrize(
    ("weights", "line"),
    [
        (torch.ones(3, 2), r"w is torch.float32 \[3, 2\] in the model"),
        (torch.ones(2, 3, dtype=torch.int8), "w is torch.int8"),
        (torch.ones(2, 3, device="meta"), "outside the devices' memory"),
        (None, "the model has no matrix w"),
    ],
)
def test_zeroing_refuses_other_matrices(weights, line):
    model = torch.nn.Module()
    if weights is not None:
        model.w = torch.nn.Parameter(weights, requires_grad=False)
    with pytest.raises(LapeError, match=line):
        with zeroed(model, one([1], (2, 3)), "fr"):
            pass
    with pytest.raises(LapeError, match="no set 'de'"):
        with zeroed(model, one([1], (2, 3)), "de"):
            pass


# Artifacts and commands.


def edit(path: str, change) -> None:
    """Change the tensors of an artifact and forge its hash."""
    tensors = load_file(f"{path}.safetensors")
    change(tensors)
    save_file(tensors, f"{path}.safetensors")
    header = json.loads(Path(f"{path}.json").read_text())
    del header["outputs"]
    Path(f"{path}.json").write_text(json.dumps(header))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda tensors: tensors[f"{GATE}.index"].sort() or tensors[f"{GATE}.index"].__setitem__(-1, 512),
            "has places",
        ),
        (lambda tensors: tensors[f"{GATE}.index"].__setitem__(0, tensors[f"{GATE}.index"][1]), "has places"),
        (lambda tensors: tensors.update({f"{GATE}.member": tensors[f"{GATE}.member"][:, :2].copy()}), "has places"),
        (lambda tensors: tensors.update({"other.index": tensors[f"{GATE}.index"]}), "has places"),
        (lambda tensors: tensors.pop(f"{GATE}.member"), "is not a set of parameters"),
    ],
)
def test_places_that_do_not_fit_are_refused(planted, change, line):
    edit("pv", change)
    with pytest.raises(LapeError, match=line):
        Parameters.load("pv.json")


def test_a_cut_file_is_refused(planted, lape):
    cut("pv.safetensors")
    status, messages = lape(*"control_parameters --parameters pv.json --output control.safetensors".split())
    check_refusal(status, messages, "control_parameters", "pv.safetensors")


@pytest.mark.parametrize(
    ("finetuned", "key", "value", "names"),
    [
        ("en.json ja.json", "model_revision", "other", ["ja.json", "another model"]),
        ("en.json ja.json", "language", "en", ["ja.json", "en comes twice"]),
        ("ja.json en.json", "matrices", {"model.other.weight": [1, 1]}, ["ja.safetensors"]),
        ("en.json", "language", "ja", ["at least three"]),
        ("pv.json", "artifact", "parameters", ["pv.json", "finetuned"]),
    ],
)
def test_select_parameters_refuses(planted, lape, finetuned, key, value, names):
    header = json.loads(Path("ja.json").read_text())
    Path("ja.json").write_text(json.dumps(header | {key: value}))
    words = "select_parameters --model model.json --output other.safetensors --finetuned".split()
    status, messages = lape(*words, *finetuned.split())
    check_refusal(status, messages, "select_parameters", *names)
