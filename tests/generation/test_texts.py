"""Texts under expert units: what a setting does to the model, what `lape sample` and `lape translate` write, scores."""

import contextlib
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sacrebleu
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from lape.artifacts.files import read_json, write_header
from lape.cli import main
from lape.errors import LapeError
from lape.evaluation import scores
from lape.expert_units.selection import ExpertUnits
from lape.generation import decoding
from lape.generation.answers import counts
from lape.generation.decoding import greedy_answers, sampled_answers
from lape.generation.settings import TextSetting
from lape.generation.text_conditions import text_perturbation
from lape.interventions.dose import Dose
from lape.interventions.overwriting import UnitPerturbation
from lape.interventions.perturbation import perturbed
from lape.interventions.steering import SteeringValues
from lape.model.linear import find_units, linear_layers
from lape.neurons.table import Neurons

LANGUAGES, NUMBER = ("fr", "ja"), 40
UNITS = ["--units", "units/units.json"]
LAPE = ["--neurons", "neurons/lape.json"]
STEERED = [*LAPE, "--values", "steering/lape.json"]
SAMPLE = [*("sample", "--model", "models/model.json", "--languages", *LANGUAGES), "--seeds", 5, "--max-new-tokens", 6]
TRANSLATE = ["translate", "--model", "models/model.json", "--pairs", "pairs/fr.json", "pairs/ja.json"]
TRANSLATE += ["--max-new-tokens", 6, "--template", "of {source} to"]
SOURCES = ("the small river", "every window opens", "a house")
SENTENCES = {
    "fr": ("une lumière très claire", "cette rivière coule sous la fenêtre", "où chaque maison"),
    "ja": ("家の 近くを 流れて", "朝の 光の下で 窓が 開く", "明るい"),
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", ("none", None, None)),
        ("top-1000", ("top", 1000, "expert_units")),
        ("bottom-7", ("bottom", 7, "expert_units")),
        ("both-lape", ("both", "lape", "expert_units")),
        ("random-2000", ("random", 2000, "expert_units")),
        ("random_other-20", ("random_other", 20, "expert_units")),
        ("active_lape", ("neurons", None, "active_lape")),
        ("ap", ("neurons", None, "ap")),
    ],
)
def test_names_of_settings(name, expected):
    setting = TextSetting.parse(name)
    assert (setting.kind, setting.size, setting.method) == expected


@pytest.mark.parametrize("name", ["both", "both-0", "both-01", "both--2", "both-ap", "none-3", "lape-3", "normal", ""])
def test_names_that_are_no_settings(name):
    with pytest.raises(LapeError, match=r"setting '.*': is unknown; use one as none"):
        TextSetting.parse(name)


def expert_units(model) -> ExpertUnits:
    """Rankings by chance: top and bottom are the two ends of one order, the medians are small numbers."""
    layers = linear_layers(model)
    units = layers[-1].first + layers[-1].width
    tables = []
    for seed, language in enumerate(LANGUAGES):
        generator = np.random.default_rng(seed)
        order = generator.permutation(units)
        rankings = {"top": order, "bottom": order[::-1], "random": generator.permutation(units)}
        for ranking, chosen in rankings.items():
            where = {"language": language, "ranking": ranking, "rank": range(1, NUMBER + 1), "unit": chosen[:NUMBER]}
            precision = {"average_precision": 0.5, "negated_average_precision": 0.5}
            values = generator.normal(size=(2, NUMBER)).astype(np.float32)
            medians = {"median": values[0], "other_median": values[1]}
            tables.append(pd.DataFrame(where | find_units(layers, chosen[:NUMBER]) | precision | medians))
    return ExpertUnits(pd.concat(tables, ignore_index=True), LANGUAGES, units, layers, "gate")


def write_lines(header: str, artifact: str, rows: list[dict], **fields) -> None:
    path = Path(header)
    path.parent.mkdir(exist_ok=True)
    data = path.with_suffix(".jsonl")
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    write_header(path, artifact, **fields, parameters={}, inputs=[], outputs=[data])


@pytest.fixture
def texts(stages) -> Path:
    """The stages, with expert units, sentences and pairs beside them; the working directory."""
    model = read_json("models/model.json")
    units = expert_units(AutoModelForCausalLM.from_pretrained("model"))
    Path("units").mkdir()
    units.save("units/units.tsv")
    write_header(
        "units/units.json",
        "expert_units",
        model=model["name"],
        model_revision=model["revision"],
        languages=LANGUAGES,
        number=NUMBER,
        units=units.units,
        linear_layers=[linear.description() for linear in units.linear_layers],
        neuron_part="gate",
        parameters={},
        inputs=[],
        outputs=[Path("units/units.tsv")],
    )
    for language, said in SENTENCES.items():
        rows = [{"split": "scored", "id": "0", "text": "never"}]
        rows += [{"split": "held_out", "id": str(number), "text": text} for number, text in enumerate(said, 1)]
        write_lines(f"sentences/{language}.json", "sentences", rows, language=language, scored=1, held_out=3)
        pairs = [
            {"number": 10 + number, "source": source, "reference": reference}
            for number, (source, reference) in enumerate(zip(SOURCES, said, strict=True))
        ]
        fields = {"corpus": "said", "language": language, "source_language": "en", "pairs": 3}
        write_lines(f"pairs/{language}.json", "pairs", pairs, **fields)
    return stages


def read(path: str) -> tuple[dict, list[dict]]:
    with open(path, encoding="utf-8") as lines:
        return read_json(Path(path).with_suffix(".json"), "generations"), [json.loads(line) for line in lines]


def written(lape, words: list, setting: str, *more, folder: str = "out", status: int = 0) -> str:
    done, messages = lape(*words, "--setting", setting, *more, "--output", f"{folder}/{setting}.jsonl")
    assert done == status, messages
    return messages


@contextlib.contextmanager
def by_hand(model, rows: pd.DataFrame):
    """Plain hooks that overwrite units with their medians."""
    handles = []
    for (layer, name), own in rows.groupby(["layer", "name"]):

        def hook(module, inputs, output, own=own):
            output = output.clone()
            output[..., own["index"].tolist()] = torch.tensor(own["median"].tolist())
            return output

        handles.append(model.model.layers[layer].get_submodule(name).register_forward_hook(hook))
    yield
    for handle in handles:
        handle.remove()


def test_what_a_setting_overwrites(texts):
    units, lape = ExpertUnits.load("units/units.json"), Neurons.load("neurons/lape.json")
    values = SteeringValues.load("steering/lape.json")
    assert text_perturbation(TextSetting.parse("none"), "fr") is None
    for name, rows in (
        ("top-5", [("top", rank) for rank in range(1, 6)]),
        ("bottom-3", [("bottom", rank) for rank in range(1, 4)]),
        ("both-7", [*(("top", rank) for rank in range(1, 5)), *(("bottom", rank) for rank in range(1, 4))]),
        ("random-4", [("random", rank) for rank in range(1, 5)]),
        ("random_other-3", [("random", rank) for rank in range(1, 4)]),
        ("both_other-2", [("top", 1), ("bottom", 1)]),
        ("top-lape", [("top", rank) for rank in range(1, lape.counts()["ja"] + 1)]),
    ):
        found = text_perturbation(TextSetting.parse(name), "ja", units, lape)
        assert isinstance(found, UnitPerturbation)
        own = units.table[units.table["language"] == "ja"].set_index(["ranking", "rank"]).loc[rows]
        medians = own["other_median" if "other" in name else "median"]
        expected = {
            (r.layer, r.name, r.index): np.float32(v) for r, v in zip(own.itertuples(index=False), medians, strict=True)
        }
        assert expected == {
            (*place, i): value for place, pair in found.values.items() for i, value in zip(*pair, strict=True)
        }
    found = text_perturbation(TextSetting.parse("lape"), "fr", values=values)
    expected = values.perturbation("fr", Dose("set", 1.0, "all", 1.0))
    assert (found.mode, found.positions, found.indices.keys()) == ("set", "all", expected.indices.keys())
    for layer, index in expected.indices.items():
        np.testing.assert_array_equal(found.indices[layer], index)
        np.testing.assert_array_equal(found.values[layer], expected.values[layer])
    with pytest.raises(LapeError, match=r"units/units\.json: no set 'de'"):
        text_perturbation(TextSetting.parse("top-5"), "de", units)
    with pytest.raises(LapeError, match=r"neurons/lape\.json: no set 'de'"):
        text_perturbation(TextSetting.parse("top-lape"), "de", units, lape)


def test_sampled_texts_are_those_of_plain_hooks(texts, lape, tiny_model):
    units, tokenizer = ExpertUnits.load("units/units.json"), Tokenizer.from_file("models/tokenizer.json")
    settings = {"max_new_tokens": 6, "temperature": 0.8, "batch_size": 8}

    def plainly() -> list:
        return sampled_answers(tiny_model, tokenizer, [[0]] * 5, list(range(1, 6)), **settings)

    unperturbed = plainly()
    written(lape, SAMPLE, "none", folder="unconditional")
    header, rows = read("unconditional/none.jsonl")
    assert [(row["language"], row["target"], row["number"]) for row in rows] == [
        ("", target, seed) for target in LANGUAGES for seed in range(1, 6)
    ]
    assert all(row["question"] == row["prompt"] == "" for row in rows)
    assert [row["tokens"] for row in rows] == [answer.tokens for answer in unperturbed] * 2
    assert (header["kind"], header["method"], header["activated"], header["hooks"]) == ("none", None, None, [])
    assert header["size"] == {"fr": 0, "ja": 0}

    written(lape, SAMPLE, "both-20", *UNITS, folder="unconditional")
    header, rows = read("unconditional/both-20.jsonl")
    for target in LANGUAGES:
        with by_hand(tiny_model, units.chosen(target, "both", 20)):
            expected = [(answer.tokens, answer.text, answer.finish_reason) for answer in plainly()]
        own = [row for row in rows if row["target"] == target]
        assert [(row["tokens"], row["output"], row["finish_reason"]) for row in own] == expected
        assert expected != [(answer.tokens, answer.text, answer.finish_reason) for answer in unperturbed]
    assert (header["prompt"], header["setting"], header["kind"]) == ("unconditional", "both-20", "both")
    assert (header["method"], header["activated"], header["deactivated"]) == ("expert_units", "target", None)
    assert header["size"] == {"fr": 20, "ja": 20} and header["languages"] == list(LANGUAGES)
    assert header["rows"] == counts(rows)
    assert header["parameters"]["prompt_token"] == 0 and header["parameters"]["seeds"] == 5
    for hook in header["hooks"]:
        assert (hook["language"], hook["neurons"]) == ("", 20)
        # Five texts fill a batch of eight; all are fed a token less than they have, and BOS.
        assert hook["fed"] <= 8 * 6 and hook["fed"] % 8 == 0
        assert hook["fed"] * 20 >= hook["changed"] > hook["fed"] * 19
    assert {*header["inputs"]} >= {"models/model.json", "units/units.json", "units/units.tsv"}


def test_as_many_units_as_neurons_and_the_neurons_themselves(texts, lape, tiny_model):
    sizes = Neurons.load("neurons/lape.json").counts()
    assert 0 < sizes["fr"] <= NUMBER
    for setting, files in (("top-lape", [*UNITS, *LAPE]), ("random-lape", [*UNITS, *LAPE]), ("lape", STEERED)):
        written(lape, SAMPLE, setting, *files)
        header, rows = read(f"out/{setting}.jsonl")
        assert header["size"] == {language: sizes[language] for language in LANGUAGES}
        assert header["method"] == ("lape" if setting == "lape" else "expert_units")
    values, tokenizer = SteeringValues.load("steering/lape.json"), Tokenizer.from_file("models/tokenizer.json")
    with perturbed(tiny_model, values.perturbation("fr", Dose())):
        settings = {"max_new_tokens": 6, "temperature": 0.8}
        expected = sampled_answers(tiny_model, tokenizer, [[0]] * 5, list(range(1, 6)), **settings)
    assert [row["tokens"] for row in rows[:5]] == [answer.tokens for answer in expected]


@pytest.mark.parametrize("setting", ["none", "top-9"])
def test_the_size_of_a_batch_changes_nothing(texts, lape, setting):
    files = UNITS if setting == "top-9" else []
    for size in (1, 3, 100):
        written(lape, SAMPLE, setting, *files, "--batch-size", size, folder=f"{size}")
    first, *others = (Path(f"{size}/{setting}.jsonl").read_bytes() for size in (1, 3, 100))
    assert others == [first, first]


def test_translations_are_those_of_plain_hooks(texts, lape, tiny_model):
    tokenizer, units = Tokenizer.from_file("models/tokenizer.json"), ExpertUnits.load("units/units.json")
    prompts = [f"of {source} to" for source in SOURCES]
    ids = [tokenizer.encode(prompt).ids for prompt in prompts]
    written(lape, TRANSLATE, "top-12", *UNITS, "--stop", '["e"]')
    header, rows = read("out/top-12.jsonl")
    keys = ("language", "target", "number", "question", "prompt")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("en", target, 10 + number, source, prompts[number])
        for target in LANGUAGES
        for number, source in enumerate(SOURCES)
    ]
    for target in LANGUAGES:
        with by_hand(tiny_model, units.chosen(target, "top", 12)):
            expected = greedy_answers(tiny_model, tokenizer, ids, max_new_tokens=6, stop=["e"])
        own = [row for row in rows if row["target"] == target]
        assert [(row["output"], row["finish_reason"]) for row in own] == [(a.text, a.finish_reason) for a in expected]
    assert (header["prompt"], header["parameters"]["stop"]) == ("translation-said", ["e"])
    assert [hook["neurons"] for hook in header["hooks"]] == [12, 12]


def test_where_nothing_is_overwritten_a_sentence_is_translated_once(texts, lape, monkeypatch):
    answers, asked = decoding.greedy_answers, []

    def noted(model, tokenizer, prompts, **settings):
        asked.append(len(prompts))
        return answers(model, tokenizer, prompts, **settings)

    monkeypatch.setattr(decoding, "greedy_answers", noted)
    written(lape, TRANSLATE, "none")
    rows = read("out/none.jsonl")[1]
    assert asked == [3] and [row["tokens"] for row in rows[:3]] == [row["tokens"] for row in rows[3:]]
    # Another sentence under a number that another language has, too.
    pairs = [{"number": 10, "source": "bright light", "reference": "la lumière"}]
    fields = {"corpus": "said", "language": "fr", "source_language": "en", "pairs": 1}
    write_lines("pairs/fr.json", "pairs", pairs, **fields)
    written(lape, TRANSLATE, "none")
    assert asked == [3, 4] and len(read("out/none.jsonl")[1]) == 4


def test_an_interrupted_run_goes_on_behind_what_it_finished(texts, lape, monkeypatch):
    written(lape, SAMPLE, "both-10", *UNITS, folder="whole")
    answers, calls = decoding.sampled_answers, []

    def interrupted(*words, **settings):
        calls.append(words)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return answers(*words, **settings)

    monkeypatch.setattr(decoding, "sampled_answers", interrupted)
    written(lape, SAMPLE, "both-10", *UNITS, status=130)
    assert not Path("out/both-10.jsonl").exists()
    written(lape, SAMPLE, "both-10", *UNITS)
    assert len(calls) == 3  # the texts of fr were kept
    assert Path("out/both-10.jsonl").read_bytes() == Path("whole/both-10.jsonl").read_bytes()
    header, whole = read_json("out/both-10.json"), read_json("whole/both-10.json")
    assert header["hooks"] == whole["hooks"] and header["size"] == whole["size"]
    assert not Path("out/both-10.parts").exists()
    calls[:] = []
    written(lape, SAMPLE, "both-11", *UNITS, status=130)
    written(lape, SAMPLE, "both-11", *UNITS, "--temperature", 0.7)
    assert len(calls) == 4  # they were of another temperature


def test_a_language_without_neurons_is_warned_of(texts, lape):
    table = pd.read_csv("neurons/lape.tsv", sep="\t", keep_default_na=False)
    table[table["languages"] == "ja"].to_csv("neurons/lape.tsv", sep="\t", index=False)
    header = read_json("neurons/lape.json")
    Path("neurons/lape.json").write_text(json.dumps(header | {"outputs": {}}))
    messages = written(lape, SAMPLE, "top-lape", *UNITS, *LAPE)
    assert "top-lape, fr: no neuron or unit is perturbed" in messages and "ja: no" not in messages
    written(lape, SAMPLE, "none")
    assert [row["tokens"] for row in read("out/top-lape.jsonl")[1][:5]] == [
        row["tokens"] for row in read("out/none.jsonl")[1][:5]
    ]


@pytest.mark.parametrize(
    ("words", "setting", "more", "names"),
    [
        (SAMPLE, "usual", [], ["setting 'usual'", "use one as none"]),
        (SAMPLE, "top-5", [], ["--units is missing"]),
        (SAMPLE, "top-lape", UNITS, ["--neurons is missing"]),
        (SAMPLE, "lape", LAPE, ["--values is missing"]),
        (SAMPLE, "none", UNITS, ["--units is not used"]),
        (SAMPLE, "top-5", [*UNITS, *LAPE], ["--neurons is not used"]),
        (SAMPLE, "ap", STEERED, ["neurons/lape.json", "of method lape; setting ap wants ap"]),
        (SAMPLE, "top-lape", [*UNITS, "--neurons", "neurons/active_lape.json"], ["wants lape"]),
        (SAMPLE, "top-50", UNITS, ["units/units.json: has 40 top units of fr, 50 are wanted"]),
        (SAMPLE, "top-5", [*UNITS, "--languages", "de"], ["no set 'de'"]),
        (SAMPLE, "none", ["--max-new-tokens", 64], ["prompt 1 of fr takes 1 tokens", "context of 64"]),
        (SAMPLE, "none", ["--prompt-token", 400], ["models/model.json: has no token 400", "--prompt-token"]),
        (TRANSLATE, "none", ["--template", "to French"], ["has no {source}"]),
        (TRANSLATE, "none", ["--max-new-tokens", 60], ["prompt 1", "more than the context of 64"]),
        (TRANSLATE, "none", ["--pairs", "sentences/fr.json"], ["sentences/fr.json", "not of 'pairs'"]),
        (TRANSLATE, "none", ["--pairs", "pairs/fr.json", "pairs/fr2.json"], ["second pairs of fr"]),
        (TRANSLATE, "none", ["--pairs", "pairs/fr.json", "pairs/other.json"], ["of another corpus"]),
    ],
)
def test_what_is_refused(texts, refused, words, setting, more, names):
    fields = {"language": "fr", "source_language": "en", "pairs": 0}
    write_lines("pairs/fr2.json", "pairs", [], corpus="said", **fields)
    write_lines("pairs/other.json", "pairs", [], corpus="other", **fields)
    refused([*words, "--setting", setting, *more, "--output", "out/texts.jsonl"], *names)


@pytest.mark.parametrize("header", ["units/units.json", "neurons/lape.json"])
def test_what_was_found_on_another_model_is_refused(texts, refused, header):
    content = read_json(header)
    Path(header).write_text(json.dumps(content | {"model": "other", "model_revision": "0" * 64}))
    words = [*SAMPLE, "--setting", "top-lape", *UNITS, *LAPE, "--output", "out/texts.jsonl"]
    refused(words, header, "found on other, not on tiny")


@pytest.mark.parametrize(
    "more", [["--top-p", 1.5], ["--top-p", 0], ["--top-k", 0], ["--temperature", 0], ["--seeds", 0]]
)
def test_sampling_that_is_none(texts, more):
    with pytest.raises(SystemExit):
        main([str(word) for word in (*SAMPLE, "--setting", "none", *more, "--output", "out/none.jsonl")])


def test_a_model_without_bos_wants_a_token(texts, refused, lape):
    header = read_json("models/model.json")
    Path("models/model.json").write_text(json.dumps(header | {"bos_token_id": None}))
    words = [*SAMPLE, "--setting", "none"]
    refused([*words, "--output", "out/none.jsonl"], "its tokenizer has no BOS", "--prompt-token")
    written(lape, SAMPLE, "none", "--prompt-token", 1)
    assert read("out/none.jsonl")[0]["parameters"]["prompt_token"] == 1


# Their scores.


def score(lape, prompt: str, setting: str, reference: str) -> tuple[dict, pd.DataFrame]:
    words = ["score", "--model", "models/model.json", "--generations", f"{prompt}/{setting}.json", "--reference"]
    words += [f"{reference}/{language}.json" for language in LANGUAGES]
    status, messages = lape(*words, "--output", f"scores/{setting}.tsv")
    assert status == 0, messages
    return read_json(f"scores/{setting}.json"), pd.read_csv(
        f"scores/{setting}.tsv", sep="\t", keep_default_na=False, na_values={"nll": [""]}
    )


def test_unconditional_texts_are_compared_with_all_held_out_sentences(texts, lape, monkeypatch):
    written(lape, SAMPLE, "none")
    rows, fluency, read_ids = read("out/none.jsonl")[1], scores.fluency, []

    def noted(model, answers, *words, **settings):
        read_ids.extend(answers)
        return fluency(model, answers, *words, **settings)

    monkeypatch.setattr(scores, "fluency", noted)
    header, table = score(lape, "out", "none", "sentences")
    assert len(read_ids) == len({row["output"] for row in rows}) <= 5  # once each, not once a target
    assert table["nll"][:5].tolist() == pytest.approx(table["nll"][5:].tolist(), nan_ok=True)
    chrf, bleu = sacrebleu.CHRF(), {"fr": "13a", "ja": "char"}
    for row, text in zip(table.to_dict("records"), rows, strict=True):
        references = list(SENTENCES[row["target"]])
        assert float(row["chrf"]) == pytest.approx(chrf.sentence_score(text["output"], references).score)
        metric = sacrebleu.BLEU(tokenize=bleu[row["target"]], effective_order=True)
        assert float(row["bleu"]) == pytest.approx(metric.sentence_score(text["output"], references).score)
    assert table["chrf"].nunique() > 2
    assert {*header["inputs"]} >= {f"sentences/{language}.jsonl" for language in LANGUAGES}
    assert [(row["language"], row["target"], row["answers"]) for row in header["rows"]] == [
        ("", "fr", 5),
        ("", "ja", 5),
    ]


def test_translations_are_compared_with_their_own_reference(texts, lape):
    written(lape, TRANSLATE, "none")
    rows = read("out/none.jsonl")[1]
    _, table = score(lape, "out", "none", "pairs")
    chrf = sacrebleu.CHRF()
    expected = [
        chrf.sentence_score(row["output"], [SENTENCES[row["target"]][row["number"] - 10]]).score for row in rows
    ]
    assert table["chrf"].tolist() == pytest.approx(expected) and len(set(expected)) > 2


@pytest.mark.parametrize(
    ("words", "reference", "names"),
    [
        (SAMPLE, ["sentences/fr.json"], ["held-out sentences in ja"]),
        (SAMPLE, ["generations/normal.json"], ["generations/normal.json", "not of 'sentences'"]),
        (TRANSLATE, ["pairs/fr.json"], ["the sentence 10 of en that was translated into ja"]),
        (TRANSLATE, ["sentences/fr.json"], ["not of 'pairs'"]),
        (TRANSLATE, ["pairs/other.json"], ["pairs of other, the translations are of said"]),
    ],
)
def test_references_that_are_none(texts, lape, refused, words, reference, names):
    fields = {"language": "fr", "source_language": "en", "pairs": 0}
    write_lines("pairs/other.json", "pairs", [], corpus="other", **fields)
    written(lape, words, "none")
    generations = ["--model", "models/model.json", "--generations", "out/none.json"]
    refused(["score", *generations, "--reference", *reference, "--output", "scores/none.tsv"], *names)


def test_answers_to_questions_have_one_reference(texts, refused):
    words = ["score", "--model", "models/model.json", "--generations", "generations/steered.json", "--reference"]
    words += ["generations/normal.json", "sentences/fr.json", "--output", "scores/steered.tsv"]
    refused(words, "sentences/fr.json: a second reference")


def test_no_reference_that_says_anything():
    assert all(map(math.isnan, scores.similarity("la maison", ["", ""], "fr").values()))
    two = scores.similarity("la maison claire", ["la maison", "", "maison claire"], "fr")
    assert two["chrf"] == scores.similarity("la maison claire", ["maison claire"], "fr")["chrf"]
    assert two["bleu"] > scores.similarity("la maison claire", ["maison claire"], "fr")["bleu"]
