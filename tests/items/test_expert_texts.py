"""Tables of the texts under expert units: exact numbers from small artifacts."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from answers import expanded, flipped, noise, one, percentiles, wilson
from drawings import assert_legible_in_a_column
from expert_artifacts import LANGUAGES, write_pairs, write_texts
from sacrebleu.metrics import BLEU, CHRF

from lape.artifacts.files import read_json, sha256
from lape.audit.run import _check_table
from lape.cli import main
from lape.errors import LapeError
from lape.evaluation.uncertainty import resamples
from lape.items.figures import draw
from lape.items.registry import TABLES
from lape.items.tables import read, subjects

SEEDS = 12
PAPER = ("en", "de", "fr", "es", "zh", "ja")


def texts(setting):
    """Texts of which a share is in the target."""
    share = {"none": 0.2, "both": 0.8, "top": 0.6, "bottom": 0.4, "lape": 0.5}.get(setting.partition("-")[0], 0.3)

    def text(target, number):
        draw = noise(setting, target, number)
        found = target if draw.random() < share else draw.choice(["fr", "short", "unknown"])
        other = found if draw.random() < 0.8 else "da"
        return {"langdetect": found, "lingua": other, "nll": draw.uniform(1.5, 2.5), "bleu": draw.uniform(0, 20)}

    return text


def of(setting, column, target, numbers=range(1, SEEDS + 1)):
    return [texts(setting)(target, number)[column] for number in numbers]


def hits(setting, target, column="langdetect"):
    return [float(found == target) for found in of(setting, column, target)]


def settings(folder, **options):
    """What expert_share and expert_steering compare."""
    sizes = {"none": 0, "top-2": 2, "both-4": 4, "lape": dict(zip(LANGUAGES, (1, 2, 6), strict=True))}
    return [write_texts(folder, name, texts(name), size=size, **options) for name, size in sizes.items()]


def mcnemar(before, after):
    """Two-sided binomial p-value of the pairs that differ, added up from its terms."""
    risen = sum(b > a for a, b in zip(before, after, strict=True))
    number = sum(a != b for a, b in zip(before, after, strict=True))
    tail = sum(math.comb(number, k) for k in range(min(risen, number - risen) + 1)) / 2**number
    return min(1.0, 2 * tail)


def newcombe(before, after):
    """Newcombe's method 10 for the difference of paired shares, from the four counts."""
    pairs = list(zip(after, before, strict=True))
    a, b, c, d = (pairs.count(kind) for kind in ((1, 1), (1, 0), (0, 1), (0, 0)))
    number = a + b + c + d
    first, second = (a + b) / number, (a + c) / number
    (low, high), (other_low, other_high) = wilson(first, number), wilson(second, number)
    shared, product = a * d - b * c, (a + b) * (c + d) * (a + c) * (b + d)
    shared = shared if shared < 0 else max(shared - number / 2, 0)
    phi = shared / math.sqrt(product) if product else 0
    down, up = (first - low, other_high - second), (high - first, second - other_low)
    return tuple(
        first - second + sign * math.sqrt(x**2 - 2 * phi * x * y + y**2) for sign, (x, y) in ((-1, down), (1, up))
    )


def test_share_has_intervals_changes_and_exact_tests(tmp_path):
    frame = TABLES["expert_share"].rows(settings(tmp_path), seed=3)
    # LAPE's neurons are another table's; without fastText's model there is no such row.
    assert frame["setting"].unique().tolist() == ["none", "top-2", "both-4"]
    metrics = ["language_accuracy", "lingua_accuracy", "short", "nll", "distinct_2", "bleu"]
    assert frame["metric"].unique().tolist() == metrics
    assert frame["language"].unique().tolist() == [*LANGUAGES, ""]
    assert frame[["rescored", "difference"]].isna().all(axis=None)
    p_values = {}
    for setting in ("none", "both-4"):
        own = frame[frame["setting"] == setting]
        for target in LANGUAGES:
            row, values = one(own, language=target, metric="language_accuracy"), hits(setting, target)
            assert row.ours == pytest.approx(sum(values) / SEEDS) and row.texts == SEEDS
            assert (row.low, row.high) == pytest.approx(wilson(sum(values) / SEEDS, SEEDS))
            assert (row.kind, row.units) == (setting.partition("-")[0], 0 if setting == "none" else 4)
            row = one(own, language=target, metric="bleu")
            kept = [bleu for bleu, hit in zip(of(setting, "bleu", target), values, strict=True) if hit]
            assert row.texts == len(kept) and math.isnan(row.change) and math.isnan(row.p_value)
            assert row.ours == pytest.approx(np.mean(kept)) if kept else math.isnan(row.ours)
    for target in LANGUAGES:
        row = one(frame, setting="both-4", language=target, metric="language_accuracy")
        before, after = hits("none", target), hits("both-4", target)
        p_values[target] = row.p_value
        assert row.change == pytest.approx((sum(after) - sum(before)) / SEEDS)
        assert (row.change_low, row.change_high) == pytest.approx(newcombe(before, after), abs=1e-12)
        assert row.p_value == pytest.approx(mcnemar(before, after))
        row = one(frame, setting="both-4", language=target, metric="nll")
        differences = np.subtract(of("both-4", "nll", target), of("none", "nll", target))
        assert row.p_value == pytest.approx(flipped(differences.tolist()))
        assert (row.change_low, row.change_high) == pytest.approx(percentiles([differences], seed=3))
    smallest = min(p_values, key=p_values.get)
    row = one(frame, setting="both-4", language=smallest, metric="language_accuracy")
    assert row.p_holm == pytest.approx(min(1, 3 * p_values[smallest]))
    row = one(frame, setting="both-4", language="", metric="language_accuracy")
    changes = [np.subtract(hits("both-4", target), hits("none", target)) for target in LANGUAGES]
    assert row.change == pytest.approx(np.mean(changes)) and row.p_holm == row.p_value
    assert (row.change_low, row.change_high) == pytest.approx(percentiles(changes, seed=3), abs=1e-12)
    assert row.p_value == pytest.approx(flipped(np.sum(changes, axis=0).tolist()))
    assert frame.loc[frame["setting"] == "none", ["change", "p_value", "p_holm"]].isna().all(axis=None)


def test_a_change_that_is_the_same_in_all_texts_has_no_point_for_an_interval(tmp_path):
    found = {"none": "fr", "both-4": "no"}
    paths = [write_texts(tmp_path, name, lambda *_, said=said: {"langdetect": said}) for name, said in found.items()]
    frame = TABLES["expert_share"].rows(paths)
    bound = wilson(0, SEEDS)[1]
    for language, change, low, high in (("no", 1, 1 - math.sqrt(2) * bound, 1), ("nan", 0, -bound, bound)):
        row = one(frame, setting="both-4", language=language, metric="language_accuracy")
        assert (row.change, row.change_low, row.change_high) == pytest.approx((change, low, high))


def test_units_and_values_are_told_apart(tmp_path):
    share = {"none": 0, "both": 10, "random": 6, "both_other": 4, "random_other": 2}
    other = dict(zip(LANGUAGES, [*LANGUAGES[1:], LANGUAGES[0]], strict=True))

    def write(setting, size):
        in_target = share[setting.partition("-")[0]]

        def found(target, number):
            return {"langdetect": target if number <= in_target else other[target]}

        return write_texts(tmp_path, setting, found, size=size, unknown=["nan"])

    paths = [write(f"{kind}-4" if kind != "none" else kind, 4 * (kind != "none")) for kind in reversed(share)]
    paths += [write("both-2", 2), write_texts(tmp_path, "top-2", size=2)]
    frame = TABLES["expert_values"].rows(paths)
    assert frame.drop_duplicates(["kind", "units"])[["kind", "units"]].to_numpy().tolist() == [
        *(["none", 0], ["both", 2], ["both", 4], ["random", 4], ["both_other", 4], ["random_other", 4])
    ]
    for kind, number in share.items():
        own = frame[(frame["kind"] == kind) & (frame["units"] != 2)]
        row = one(own, language="en", metric="language_accuracy")
        assert row.ours == pytest.approx(number / SEEDS)
        assert (row.low, row.high) == pytest.approx(wilson(number / SEEDS, SEEDS))
        row = one(own, language="en", metric="other_language")  # "no" is the next one
        assert row.ours == pytest.approx(1 - number / SEEDS)
        assert (row.low, row.high) == pytest.approx(wilson(1 - number / SEEDS, SEEDS))
        # The next one of "no" is not known, and its mean is over the others.
        assert one(own, language="no", metric="other_language").texts == 0
        assert one(own, language="", metric="other_language").ours == pytest.approx(1 - number / SEEDS)
    sections = TABLES["expert_values"].sections(frame)
    assert sections[0].cells.index.tolist()[:3] == [
        "none",
        "expert units, own medians 2",
        "expert units, own medians 4",
    ]
    assert "in the other language" in sections[-1].title
    figure = draw("expert_values", frame)
    assert [axis.get_ylabel() for axis in figure.axes] == [
        "share in the target language",
        "share in the other language",
    ]
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert lines["expert units, own medians"].get_ydata() == pytest.approx([0, 10 / SEEDS, 10 / SEEDS])
    assert lines["random units, own medians"].get_ydata() == pytest.approx([6 / SEEDS])
    assert_legible_in_a_column("expert_values", frame)


def test_share_sections_have_settings_down_and_languages_across(tmp_path):
    sections = TABLES["expert_share"].sections(TABLES["expert_share"].rows(settings(tmp_path)))
    first = sections[0]
    assert first.title.startswith("tiny, unconditional prompt: share of texts in the target language (langdetect)")
    assert first.cells.columns.tolist() == [*LANGUAGES, "all (mean)"]
    assert first.cells.index.tolist() == ["none", "top-2", "top-2 less none", "both-4", "both-4 less none"]
    assert first.cells.at["none", "no"].startswith(f"{np.mean(hits('none', 'no')):.2f} [")
    assert sections[-1].cells.index.tolist() == ["none", "top-2", "both-4"]


def test_share_by_fasttext_is_there_where_its_model_was_given_and_unknown_languages_are_left_out(tmp_path):
    frame = TABLES["expert_share"].rows(settings(tmp_path, fasttext=True, unknown=["nan"]))
    rows = frame[frame["metric"] == "fasttext_accuracy"]
    assert rows["ours"].eq(1).all() and len(rows) == 12
    row = one(frame, setting="both-4", language="nan", metric="language_accuracy")
    assert row.texts == 0 and math.isnan(row.ours) and math.isnan(row.p_value)
    # The mean is over the others.
    row = one(frame, setting="both-4", language="", metric="language_accuracy")
    assert row.ours == pytest.approx(np.mean([hits("both-4", target) for target in LANGUAGES[:2]]))


def test_the_papers_shares_are_beside_its_models_and_languages(tmp_path):
    options = {"model": "BLOOM-560m", "languages": PAPER}
    paths = [write_texts(tmp_path, name, texts(name), **options) for name in ("none", "both-2000")]
    frame = TABLES["expert_share"].rows(paths)
    row = one(frame, setting="both-2000", language="es", metric="language_accuracy")
    assert row.rescored == 0.99 and row.difference == pytest.approx(row.ours - 0.99)
    # The paper's identifier is not named: its share stands beside langdetect's alone.
    assert frame["rescored"].notna().sum() == 2 * 2 and set(frame.loc[frame["rescored"].notna(), "metric"]) == {
        row.metric
    }
    rows = TABLES["expert_share"].sections(frame)[0].cells.loc["both-2000, re-scored"]
    assert rows.to_dict() == dict.fromkeys(PAPER, "") | {"fr": "0.92", "es": "0.99", "all (mean)": ""}
    fewer = [write_texts(tmp_path, name, **options | {"languages": PAPER[:3]}) for name in ("none", "both-2000")]
    assert TABLES["expert_share"].rows(fewer)["rescored"].isna().all()


def test_sizes_go_up_by_kind(tmp_path):
    names = {"both-200": 200, "both-4": 4, "none": 0, "both-lape": {"en": 1, "no": 5, "nan": 9}, "top-2": 2}
    paths = [write_texts(tmp_path, name, texts(name), size=size) for name, size in names.items()]
    frame = TABLES["expert_sizes"].rows(paths)
    order = [("none", 0), ("both", 4), ("both", 200), ("top", 2)]
    assert list(dict.fromkeys(zip(frame["kind"], frame["units"], strict=True))) == order
    assert frame["metric"].unique().tolist() == ["language_accuracy", "lingua_accuracy", "nll"]
    shares = TABLES["expert_share"].rows(paths)
    shown = shares[shares["metric"].isin(frame["metric"]) & (shares["setting"] != "both-lape")]
    pd.testing.assert_frame_equal(
        shown.set_index(["kind", "units", "language", "metric"])[["texts", "ours", "low", "high"]].sort_index(),
        frame.set_index(["kind", "units", "language", "metric"])[["texts", "ours", "low", "high"]].sort_index(),
    )
    with pytest.raises(LapeError, match="there is no table; pass none and other settings"):
        TABLES["expert_sizes"].rows([paths[2], paths[3]])
    row = one(frame, kind="both", units=200, language="no", metric="nll")
    assert row.ours == pytest.approx(np.mean(of("both-200", "nll", "no")))
    first = TABLES["expert_sizes"].sections(frame)[0]
    assert first.cells.index.tolist() == ["none", "both 4", "both 200", "top 2"]


def test_steering_sets_lape_and_expert_units_side_by_side(tmp_path):
    frame = TABLES["expert_steering"].rows(settings(tmp_path))
    assert frame["setting"].unique().tolist() == ["none", "top-2", "both-4", "lape"]
    units = frame[frame["setting"] == "lape"].drop_duplicates("language").set_index("language")["units"]
    assert units.to_dict() == {"en": 1, "no": 2, "nan": 6, "": 3}
    row = one(frame, setting="both-4", language="no", metric="language_accuracy")
    before, after = hits("lape", "no"), hits("both-4", "no")
    assert row.lape_change == pytest.approx((sum(after) - sum(before)) / SEEDS)
    assert row.lape_p_value == pytest.approx(mcnemar(before, after))
    assert row.p_value == pytest.approx(mcnemar(hits("none", "no"), after))
    assert frame.loc[frame["setting"].isin(["none", "lape"]), "lape_change"].isna().all()
    first, *others, last = TABLES["expert_steering"].sections(frame)
    assert first.cells.loc["lape"].to_list() == ["1", "2", "6", "3"]
    assert "lape less none" in others[0].cells.index
    assert last.cells.index.tolist() == ["top-2", "top-2 less lape", "both-4", "both-4 less lape"]
    # Without LAPE there is nothing to compare it with.
    alone = TABLES["expert_steering"].rows(settings(tmp_path)[:3])
    assert alone["lape_change"].isna().all() and len(TABLES["expert_steering"].sections(alone)) == 7


REFERENCES = {
    "no": [f"setning {number} om huset ved elven og skogen der bortenfor {number * 7}" for number in range(1, 13)],
    "ja": [f"{number}番目の文は川の近くの小さな家についてです" for number in range(1, 13)],
}


def translations(setting):
    """Some words of the reference are lost, fewer with the units."""

    def text(target, number):
        reference = REFERENCES[target][number - 1]
        draw = noise(setting, target, number)
        words = reference.split() if target == "no" else list(reference)
        kept = [word for word in words if draw.random() < (0.9 if setting == "both-4" else 0.6)]
        return {"output": (" " if target == "no" else "").join(kept), "langdetect": draw.choice([target, "da"])}

    return text


def translated(folder):
    pairs = write_pairs(folder, "news", REFERENCES)
    options = {"prompt": "translation-news", "source": "da", "languages": tuple(REFERENCES), "pairs": pairs}
    return [write_texts(folder, name, translations(name), size=4, **options) for name in ("none", "both-4")]


def test_translation_has_corpus_scores_with_paired_intervals(tmp_path):
    frame = TABLES["expert_translation"].rows(translated(tmp_path), resamples=200, seed=5)
    metrics = ["language_accuracy", "lingua_accuracy", "short", "corpus_bleu", "corpus_chrf"]
    for setting in ("none", "both-4"):
        assert frame[frame["setting"] == setting]["metric"].unique().tolist() == metrics
    assert set(frame["source"]) == {"da"}
    draws = resamples(12, 200, 5)
    again = {}
    for target, tokenize in (("no", "13a"), ("ja", "char")):
        for metric, scorer in (("corpus_bleu", BLEU(tokenize=tokenize)), ("corpus_chrf", CHRF())):
            for setting in ("none", "both-4"):
                outputs = [translations(setting)(target, number)["output"] for number in range(1, 13)]

                def score(chosen, outputs=outputs, scorer=scorer, target=target):
                    references = [REFERENCES[target][n] for n in chosen]
                    return scorer.corpus_score([outputs[n] for n in chosen], [references]).score

                row = one(frame, setting=setting, language=target, metric=metric)
                assert row.ours == pytest.approx(score(range(12))) and row.texts == 12
                again[setting] = np.array([score(draw) for draw in draws])
                assert (row.low, row.high) == pytest.approx(expanded(again[setting], SEEDS))
            row = one(frame, setting="both-4", language=target, metric=metric)
            assert row.change > 0 and math.isnan(row.p_value)
            assert (row.change_low, row.change_high) == pytest.approx(expanded(again["both-4"] - again["none"], SEEDS))
    bleu = frame[(frame["setting"] == "none") & (frame["metric"] == "corpus_bleu")].set_index("language")["ours"]
    assert bleu[""] == pytest.approx((bleu["no"] + bleu["ja"]) / 2)
    sections = TABLES["expert_translation"].sections(frame)
    assert [section.title.partition(": ")[0] for section in sections] == ["tiny, translation-news prompt"] * 5
    assert "differs" in sections[0].title and "differs" not in sections[-1].title


def test_targets_may_have_other_numbers_of_pairs(tmp_path):
    paths, gap = translated(tmp_path), (3, 11)
    whole = TABLES["expert_translation"].rows(paths, resamples=200)
    for path in paths:
        lines = path.with_suffix(".tsv").read_text().splitlines()
        kept = [line for line in lines if not line.startswith(tuple(f"da\tja\t{number}\t" for number in gap))]
        path.with_suffix(".tsv").write_text("\n".join(kept) + "\n")
        path.write_text(json.dumps(read_json(path) | {"outputs": {}}))
    frame = TABLES["expert_translation"].rows(paths, resamples=200)
    numbers = [number for number in range(1, 13) if number not in gap]
    references, draws = [REFERENCES["ja"][number - 1] for number in numbers], resamples(12, 200, 0) + 1
    again = {}
    for setting in ("none", "both-4"):
        outputs = {number: translations(setting)("ja", number) for number in numbers}

        def score(chosen, outputs=outputs):
            pairs = [(outputs[n]["output"], REFERENCES["ja"][n - 1]) for n in chosen if n not in gap]
            return BLEU(tokenize="char").corpus_score([one[0] for one in pairs], [[one[1] for one in pairs]]).score

        row = one(frame, setting=setting, language="ja", metric="corpus_bleu")
        again[setting] = np.array([score(draw) for draw in draws])
        assert row.texts == len(references) == 10 and row.ours == pytest.approx(score(numbers))
        assert (row.low, row.high) == pytest.approx(expanded(again[setting], 10))
        other, mean = (one(frame, setting=setting, language=name, metric="corpus_bleu") for name in ("no", ""))
        assert mean.texts == 22 and mean.ours == pytest.approx((row.ours + other.ours) / 2)
        hit = [outputs[number]["langdetect"] == "ja" for number in numbers]
        share = one(frame, setting=setting, language="ja", metric="language_accuracy")
        assert (share.texts, share.ours) == (10, pytest.approx(np.mean(hit)))
        assert (share.low, share.high) == pytest.approx(wilson(np.mean(hit), 10))
    assert (row.change_low, row.change_high) == pytest.approx(expanded(again["both-4"] - again["none"], 10))
    # The other target's numbers are what they were.
    pd.testing.assert_frame_equal(
        *(table[table["language"] == "no"].drop(columns="p_holm") for table in (frame, whole))
    )
    # Within a target the settings have to agree.
    table = paths[0].with_suffix(".tsv")
    table.write_text("\n".join(line for line in table.read_text().splitlines() if "da\tja\t5\t" not in line) + "\n")
    with pytest.raises(LapeError, match=r"both-4\.json: answers other questions of da in ja than .*none\.json"):
        TABLES["expert_translation"].rows(paths)


@pytest.mark.parametrize("item", ["expert_share", "expert_steering", "expert_translation"])
def test_the_command_records_what_it_read_and_the_audit_makes_it_again(tmp_path, monkeypatch, item):
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "tables" / f"{item}.csv"
    paths = translated(tmp_path) if item == "expert_translation" else settings(tmp_path)
    assert main(["table", item, *map(str, paths), "--resamples", "100", "--output", str(output)]) == 0
    header = read_json(output.with_suffix(".json"))
    assert header["inputs"].items() >= {str(path): sha256(path) for path in paths}.items()
    if item == "expert_translation":
        assert str(tmp_path / "pairs/news/ja.jsonl") in header["inputs"]
        assert str(tmp_path / "generations/tiny/translation-news/none.json") in header["inputs"]
    assert list(_check_table(output.with_suffix(".json"), header)) == []
    # Codes stay codes.
    languages = ["no", "ja"] if item == "expert_translation" else list(LANGUAGES)
    assert subjects(read(output, []))["languages"] == languages


def test_texts_that_cannot_be_compared_are_refused(tmp_path):
    none, top, *_ = settings(tmp_path)
    with pytest.raises(LapeError, match="unconditional, none: missing; run `lape score`"):
        TABLES["expert_share"].rows([top])
    with pytest.raises(LapeError, match="no scores of texts of the prompt translation-: there is no table; pass"):
        TABLES["expert_translation"].rows([none, top])
    with pytest.raises(LapeError, match="no scores of texts of the prompt unconditional"):
        TABLES["expert_share"].rows([none])
    other = write_texts(tmp_path, "bottom-2", numbers=range(1, 5))
    with pytest.raises(LapeError, match=r"bottom-2\.json: answers other questions"):
        TABLES["expert_share"].rows([none, other])
    other = write_texts(tmp_path, "bottom-2", languages=LANGUAGES[:2], named=LANGUAGES)
    with pytest.raises(LapeError, match=r"bottom-2\.json: has other languages than .*none\.json; generate both"):
        TABLES["expert_share"].rows([none, other])
    texts_file = tmp_path / "generations/tiny/unconditional/top-2.jsonl"
    texts_file.write_text(texts_file.read_text().replace("text 1 ", "text one "))
    with pytest.raises(LapeError, match=r"top-2\.jsonl: is not what .* scored; run `lape score` again"):
        TABLES["expert_share"].rows([none, top])


def test_translations_without_their_pairs_are_refused(tmp_path):
    none, both = translated(tmp_path)
    options = {"prompt": "translation-news", "source": "da", "languages": tuple(REFERENCES)}
    lines = (tmp_path / "pairs/news/ja.jsonl").read_text().splitlines()
    (tmp_path / "pairs/news/ja.jsonl").write_text("\n".join(lines[::-1]) + "\n")
    with pytest.raises(LapeError, match=r"ja\.jsonl: is not what .* was scored against; run `lape score` again"):
        TABLES["expert_translation"].rows([none, both])
    pairs = write_pairs(tmp_path, "news", {"no": REFERENCES["no"]})
    without = [write_texts(tmp_path, name, translations(name), pairs=pairs, **options) for name in ("none", "both-4")]
    with pytest.raises(LapeError, match="scored without the pairs of ja; run `lape score` with their headers"):
        TABLES["expert_translation"].rows(without)
    pairs = write_pairs(tmp_path, "news", {language: own[:5] for language, own in REFERENCES.items()})
    fewer = [write_texts(tmp_path, name, translations(name), pairs=pairs, **options) for name in ("none", "both-4")]
    with pytest.raises(LapeError, match=r"no\.json: has no sentence 6; run `lape score` with the pairs again"):
        TABLES["expert_translation"].rows(fewer)
