"""Expert units from labelled sentences to tables, by commands, on a tiny model of each of the paper's architectures."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sacrebleu
import torch
from sklearn.metrics import average_precision_score
from tiny_data import LANGUAGES, make_model, make_text
from torch import nn
from transformers import AutoModelForCausalLM

from lape.cli import main
from lape.expert_units.selection import ExpertUnits
from lape.interventions.overwriting import UnitPerturbation, overwritten
from lape.model.tokenizer import load_tokenizer

# Gemma is the default run's; the others are the paper's. Each names its sizes in its own way.
MODELS = {
    "xglm": dict(ffn_dim=32, init_std=0.5),
    "bloom": {},
    "llama": dict(num_key_value_heads=1),
    "gemma3_text": dict(num_key_value_heads=1, head_dim=8, sliding_window=16),
}
SENTENCES, LENGTH, SIZE, SEEDS, TOKENS = 12, 32, 16, 4, 8
SETTINGS = ("none", f"top-{SIZE}", f"both-{SIZE}", f"random-{SIZE}")


def sentence(language: str, number: int) -> str:
    """A sentence of 6 to 10 words."""
    return make_text(language, 6 + number % 5, 1000 + number)


def stages() -> list[list[str]]:
    """The command line of every stage, in order; paths are relative to the working directory."""
    said = 'files --settings {"pattern":"said/{language}.txt"}'
    headers = " ".join(f"sentences/{language}.json" for language in LANGUAGES)
    pairs = " ".join(f"pairs/{language}.json" for language in LANGUAGES[1:])
    lines = ["model --name tiny --path model --device cpu --dtype float32 --output models/model.json"]
    for language in LANGUAGES:
        lines.append(
            f"sentences --language {language} --source {said} --number {SENTENCES} --held-out 3 "
            f"--output sentences/{language}.jsonl"
        )
    lines += [
        f"responses --model models/model.json --sentences {headers} --bos --max-length {LENGTH} --batch-size 5 "
        "--output units/responses.json",
        "average_precision --responses units/responses.json --threads 1 --output units/average_precision.npy",
        *(f"average_precision --responses units/responses.json --half {n} --output units/half-{n}.npy" for n in (1, 2)),
        "select_units --average-precision units/average_precision.json --responses units/responses.json "
        f"--number {SIZE} --seed 0 --bottom negated --output units/units.tsv",
    ]
    for language in LANGUAGES[1:]:
        lines.append(
            f"pairs --corpus said --source-language {LANGUAGES[0]} --language {language} --source {said} --number 2 "
            f"--output pairs/{language}.jsonl"
        )
    for setting in SETTINGS:
        units = "" if setting == "none" else "--units units/units.json"
        lines += [
            f"sample --model models/model.json --setting {setting} --languages {' '.join(LANGUAGES)} {units} "
            f"--seeds {SEEDS} --max-new-tokens {TOKENS} --temperature 0.8 --batch-size 3 --threads 1 "
            f"--output generations/sampled/{setting}.jsonl",
            f"score --model models/model.json --generations generations/sampled/{setting}.json --reference {headers} "
            f"--minimum-bytes 1000 --output scores/sampled/{setting}.tsv",
        ]
    for setting in SETTINGS[:2]:
        units = "" if setting == "none" else "--units units/units.json"
        lines += [
            f"translate --model models/model.json --pairs {pairs} --setting {setting} {units} --template {{source}}: "
            f"--max-new-tokens {TOKENS} --batch-size 2 --threads 1 --output generations/translated/{setting}.jsonl",
            f"score --model models/model.json --generations generations/translated/{setting}.json --reference {pairs} "
            f"--minimum-bytes 1000 --output scores/translated/{setting}.tsv",
        ]
    return [line.split() for line in lines]


def tables() -> list[list[str]]:
    """The command lines of the tables."""
    sampled = " ".join(f"scores/sampled/{setting}.json" for setting in SETTINGS)
    translated = " ".join(f"scores/translated/{setting}.json" for setting in SETTINGS[:2])
    inputs = {
        "expert_share": sampled,
        "expert_sizes": sampled,
        "expert_steering": sampled,
        "expert_translation": translated,
        "expert_overlap": "units/units.json",
        "expert_precision": "units/units.json units/average_precision.json",
        "expert_held_out": "units/half-1.json units/half-2.json",
        "expert_layers": "units/units.json",
        "expert_histogram": "units/units.json units/average_precision.json",
    }
    return [f"table {name} {given} --output tables/{name}.csv".split() for name, given in inputs.items()]


@pytest.fixture(scope="module", params=MODELS)
def chain(request, tmp_path_factory) -> Path:
    """A folder in which every stage has run for one architecture; for reading only."""
    folder = tmp_path_factory.mktemp(request.param)
    make_model(folder / "model", model_type=request.param, **MODELS[request.param])
    (folder / "said").mkdir()
    for language in LANGUAGES:
        texts = [sentence(language, number) for number in range(2 * SENTENCES)]
        (folder / "said" / f"{language}.txt").write_text("\n".join(texts), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in stages() + tables():
            assert main(words) == 0, words
    return folder


@pytest.fixture
def model(chain):
    return AutoModelForCausalLM.from_pretrained(chain / "model").eval()


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def hooked_responses(model, chain: Path) -> tuple[np.ndarray, np.ndarray]:
    """What plain forward hooks see, one sentence at a time: mean outputs [U, N] and the languages [N]."""
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    del linear["lm_head"]
    seen: dict[str, torch.Tensor] = {}

    def seeing(name: str):
        return lambda module, inputs, output: seen.update({name: output[0].mean(0)})

    tokenizer, found, languages = load_tokenizer(chain / "models/tokenizer.json"), [], []
    with contextlib.ExitStack() as stack, torch.inference_mode():
        for name, module in linear.items():
            stack.callback(module.register_forward_hook(seeing(name)).remove)
        for language in LANGUAGES:
            for row in rows(chain / f"sentences/{language}.jsonl"):
                if row["split"] == "scored":
                    ids = [0, *tokenizer.encode(row["text"], add_special_tokens=False).ids][:LENGTH]
                    model(input_ids=torch.tensor([ids]))
                    found.append(torch.cat([seen[name] for name in linear]).numpy())
                    languages.append(language)
    return np.stack(found, axis=1), np.array(languages)


def test_responses_and_units_are_those_of_plain_hooks(chain, model):
    responses, languages = hooked_responses(model, chain)
    columns = pd.read_csv(chain / "units/responses.tsv", sep="\t", keep_default_na=False)
    blocks = sorted((chain / "units/responses.blocks").glob("*.npy"), key=lambda path: int(path.stem))
    saved = np.concatenate([np.load(block) for block in blocks], axis=1)
    order = [
        LANGUAGES.index(language) * SENTENCES + number for language, number in columns[["language", "number"]].values
    ]
    np.testing.assert_allclose(saved, responses[:, order], rtol=1e-5, atol=1e-5)

    units = pd.read_csv(chain / "units/units.tsv", sep="\t", keep_default_na=False)
    for row in units.itertuples():
        own = columns["language"] == row.language
        assert row.average_precision == pytest.approx(average_precision_score(own, saved[row.unit]), abs=1e-12)
        assert row.negated_average_precision == pytest.approx(average_precision_score(own, -saved[row.unit]), abs=1e-12)
        assert row.median == pytest.approx(np.median(saved[row.unit, own]), abs=1e-6)
    for language in LANGUAGES:
        own = languages == language
        # A rounding may swap two sentences, which moves an average precision by less than this.
        best = np.array([average_precision_score(own, unit) for unit in responses])
        top = units.query("language == @language and ranking == 'top'")["unit"].to_numpy()
        assert best[top] == pytest.approx(np.sort(best)[::-1][:SIZE], abs=0.02)


def test_texts_under_units_differ_and_without_them_are_one_for_all(chain):
    texts = {setting: rows(chain / f"generations/sampled/{setting}.jsonl") for setting in SETTINGS}
    for setting, found in texts.items():
        assert [(row["target"], row["number"]) for row in found] == [
            (language, seed) for language in LANGUAGES for seed in range(1, SEEDS + 1)
        ], setting
    plain = {(row["target"], row["number"]): row["output"] for row in texts["none"]}
    assert len({tuple(plain[language, seed] for seed in range(1, SEEDS + 1)) for language in LANGUAGES}) == 1
    for setting in SETTINGS[1:]:
        changed = sum(row["output"] != plain[row["target"], row["number"]] for row in texts[setting])
        assert changed > len(plain) / 2, setting
    translated = [rows(chain / f"generations/translated/{setting}.jsonl") for setting in SETTINGS[:2]]
    sources = [sentence("en", number) for number in range(2)]
    for found in translated:
        assert [row["question"] for row in found] == sources * 2
        assert [row["target"] for row in found] == ["fr", "fr", "ja", "ja"]
    assert any(one["output"] != other["output"] for one, other in zip(*translated, strict=True))


def test_headers_count_the_outputs_that_were_overwritten(chain):
    for setting in SETTINGS[1:]:
        header = json.loads((chain / f"generations/sampled/{setting}.json").read_text())
        assert header["size"] == dict.fromkeys(LANGUAGES, SIZE)
        assert [hook["target"] for hook in header["hooks"]] == list(LANGUAGES)
        for hook, row in zip(header["hooks"], header["rows"], strict=True):
            # A batch is filled up with copies; the last token of a text is not fed.
            assert hook["fed"] >= row["tokens"] and hook["neurons"] == SIZE
            assert hook["changed"] == SIZE * hook["fed"]
    plain = json.loads((chain / "generations/sampled/none.json").read_text())
    assert not plain["hooks"] and plain["method"] is None


def test_overwriting_nothing_changes_no_token_and_the_record_counts_what_is(chain, model):
    units = ExpertUnits.load(chain / "units/units.json")
    ids = torch.randint(2, 400, (2, 7), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = model(input_ids=ids).logits
        with overwritten(model, UnitPerturbation({})):
            assert torch.equal(model(input_ids=ids).logits, plain)
        for kind in ("top", "both", "random"):
            chosen = units.chosen("fr", kind, SIZE)
            with overwritten(model, units.perturbation("fr", kind, SIZE)) as firing:
                changed = model(input_ids=ids).logits
            places = {tuple(place) for place in chosen[["layer", "name"]].values.tolist()}
            assert set(firing.rows) == places and set(firing.rows.values()) == {ids.numel()}
            assert sum(firing.neurons.values()) == len(chosen) == SIZE
            # No output is its median to the last bit, so every one was changed, at every position.
            assert sum(firing.changed.values()) == SIZE * ids.numel()
            assert (changed - plain).abs().max() > 1e-4
        assert torch.equal(model(input_ids=ids).logits, plain)


def test_scores_and_tables_are_what_sacrebleu_and_plain_sets_say(chain):
    def table(name: str) -> pd.DataFrame:
        return pd.read_csv(chain / f"tables/{name}.csv", keep_default_na=False, na_values=[""])

    scores = pd.read_csv(chain / f"scores/sampled/top-{SIZE}.tsv", sep="\t", keep_default_na=False)
    for row, score in zip(rows(chain / f"generations/sampled/top-{SIZE}.jsonl"), scores.itertuples(), strict=True):
        held_out = [
            one["text"] for one in rows(chain / f"sentences/{row['target']}.jsonl") if one["split"] == "held_out"
        ]
        assert len(held_out) == 3
        assert score.chrf == pytest.approx(sacrebleu.sentence_chrf(row["output"], held_out).score)

    translations = (
        table("expert_translation").query("metric == 'corpus_chrf'").set_index(["setting", "language"])["ours"]
    )
    for setting in SETTINGS[:2]:
        said = rows(chain / f"generations/translated/{setting}.jsonl")
        for language in LANGUAGES[1:]:
            outputs = [row["output"] for row in said if row["target"] == language]
            references = [[sentence(language, number) for number in range(2)]]
            expected = sacrebleu.corpus_chrf(outputs, references).score
            assert translations[setting, language] == pytest.approx(expected)

    units = pd.read_csv(chain / "units/units.tsv", sep="\t", keep_default_na=False).query(f"rank <= {SIZE}")
    own = {key: set(group["unit"]) for key, group in units.groupby(["ranking", "language"])}
    overlaps = table("expert_overlap").dropna(subset=["language"]).query("ranking != 'both'")
    assert len(overlaps) == 9
    for row in overlaps.itertuples():
        shared = own[row.ranking, row.language] & own[row.ranking, row.other]
        assert row.overlap == pytest.approx(len(shared) / SIZE)
    means = units.groupby(["language", "ranking"])["average_precision"].mean()
    precision = table("expert_precision").set_index(["language", "ranking"])
    np.testing.assert_allclose(precision["mean"].reindex(means.index), means, rtol=1e-12)
    assert (precision["chance"] == 1 / 3).all()
    layers = table("expert_layers")
    assert (layers.groupby(["ranking", "language"])["count"].sum() == SIZE).all()
    assert set(layers["layer"]) == {1, 2, 3}
    histogram = table("expert_histogram").groupby("language")["count"].sum()
    assert (histogram == np.load(chain / "units/average_precision.npy").shape[2]).all()
    assert set(table("expert_share")["setting"]) == set(SETTINGS)
    assert (table("expert_share").query("metric == 'short'").dropna(subset=["language"])["texts"] == SEEDS).all()
