"""The explorer's page, opened from its file in a real browser; and what it tells of hostile text."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from answers import write_setting
from browser import browser, requires_browser
from hostile_cards import HOSTILE, LONG, inspections
from reader import Reader

from lape.artifacts.files import write_json
from lape.artifacts.manifest import build_manifest
from lape.explorer.cards import stored
from lape.explorer.page import page as make_page
from lape.explorer.run import Run
from lape.neurons.table import Neurons

pytestmark = [pytest.mark.workflow, requires_browser]
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def context() -> Iterator:
    with browser() as launched:
        yield launched.new_context(accept_downloads=True)


@pytest.fixture(scope="module")
def reader(context, complete_run) -> Reader:
    """The page that the workflow made of the tiny run."""
    return Reader(context, complete_run.results / "index.html")


@pytest.fixture(scope="module")
def hostile(context, complete_run, tmp_path_factory) -> Reader:
    """A page of the tiny run with answers and contexts that hold hostile text, whose cards lie beside it."""
    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(complete_run.folder)
        tables = sorted(Path("results/tiny/tables").glob("*.json"))
        neurons = Neurons.load("results/tiny/neurons/tiny/lape.tsv")
        settings = [
            ("normal", lambda *_: {"output": HOSTILE}),
            ("cross-fr", lambda *_: {"output": HOSTILE, "langdetect": "en"}),
        ]
        scores = [path for name, text in settings for path in write_setting(folder, name, text, languages=("fr", "ja"))]
        answers = [folder / "generations" / "tiny" / "plain" / f"{name}.json" for name, _ in settings]
        manifest = build_manifest([*tables, *scores, *answers], "results/tiny", "results/tiny/config.json")
        write_json(folder / "manifest.json", manifest)
        contexts = {("tiny", "lape"): inspections(neurons)}
        made = make_page(Run(folder / "manifest.json"), complete_run.folder / "rules" / "captions", contexts)
        files = made.write(folder / "index.html", largest=0)
    assert [file.name for file in files] == ["index.html", "cards-0-0.js"]
    return Reader(context, folder / "index.html")


def test_it_opens_without_a_word_and_without_a_request(reader):
    reader.check_quiet()
    assert reader.page.locator("[data-chart] svg.marks").count() == 4
    assert "every hash holds" in reader.page.locator(".holds").inner_text()


def test_filters_leave_the_neurons_of_a_language(reader):
    counts = json.loads((reader.path.parent / "neurons/tiny/lape.json").read_text(encoding="utf-8"))["counts"]
    for language, count in counts.items():
        reader.choose("language", language)
        rows = reader.neurons()
        assert len(rows) == count and all(language in row[1] for row in rows)
    reader.choose("language", "")
    reader.page.get_by_label("Search").fill("no such text")
    assert reader.neurons() == [["no neuron passes the filters"]]
    reader.page.get_by_label("Search").fill("")


def test_a_bar_leads_to_its_neurons(reader):
    reader.page.locator('[data-chart="counts"] .mark-rect path').first.click()
    rows = reader.neurons()
    assert rows and all("fr" in row[1] for row in rows)
    reader.choose("language", "")


def test_numbers_are_those_of_the_table(reader):
    table = pd.read_csv(reader.path.parent / "neurons/tiny/lape.tsv", sep="\t")
    shown = {(int(row[2]) - 1, int(row[3])): row for row in reader.neurons()}
    assert len(shown) == len(table)
    for neuron in table.head(3).to_dict("records"):
        cells = shown[neuron["layer"], neuron["index"]]
        assert cells[:2] == ["lape", neuron["languages"].replace(",", ", ")]
        assert cells[4:7] == [f"{neuron[name]:.3f}" for name in ("entropy", "probability_fr", "probability_ja")]


def test_the_table_is_saved_with_all_digits(reader, tmp_path):
    table = pd.read_csv(reader.path.parent / "neurons/tiny/lape.tsv", sep="\t").sort_values("entropy")
    with reader.page.expect_download() as download:
        reader.page.get_by_role("button", name="Save as CSV").click()
    download.value.save_as(tmp_path / "neurons.csv")
    saved = pd.read_csv(tmp_path / "neurons.csv")
    assert saved["entropy"].to_numpy() == pytest.approx(table["entropy"].to_numpy(), rel=1e-5)
    assert saved["fr"].to_numpy() == pytest.approx(table["probability_fr"].to_numpy(), rel=1e-5)


@pytest.mark.parametrize("kind", ["csv", "md"])
def test_an_item_is_saved_as_the_run_wrote_it(reader, tmp_path, kind):
    reader.page.locator("#tables details").evaluate_all("all => all.forEach(one => one.open = true)")
    with reader.page.expect_download() as download:
        reader.page.locator(f'button[data-item="corpora"][data-kind="{kind}"]').click()
    download.value.save_as(tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == (reader.path.parent / f"tables/corpora.{kind}").read_bytes()


def test_a_fragment_opens_a_card_and_the_keyboard_closes_it(reader):
    table = pd.read_csv(reader.path.parent / "neurons/tiny/lape.tsv", sep="\t")
    layer, index = int(table.at[0, "layer"]) + 1, table.at[0, "index"]
    reader.open(f"#neuron=lape/tiny/{layer}/{index}")
    card = reader.page.get_by_role("dialog", name=f"layer {layer}, neuron {index}")
    assert card.is_visible()
    assert f'(table["layer"] == {layer - 1}) & (table["index"] == {index})' in card.inner_text()
    card.locator(".links a").first.click()
    assert reader.page.locator("#card-title").inner_text() != f"layer {layer}, neuron {index}"
    reader.page.keyboard.press("Escape")
    assert not reader.page.get_by_role("dialog").is_visible() and reader.page.url.endswith("#neurons")
    reader.check_quiet()


def test_a_phone_scrolls_in_one_direction(hostile):
    hostile.page.set_viewport_size(PHONE)
    for fragment in ("", hostile.page.locator("#neuron-table a").first.get_attribute("href")):
        hostile.open(fragment)
        assert hostile.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        inside = "[...document.querySelectorAll('dialog[open]')].every((card) => card.scrollWidth <= card.clientWidth)"
        assert hostile.page.evaluate(inside)
    hostile.page.set_viewport_size({"width": 1280, "height": 800})


def test_hostile_text_is_shown_and_never_run(hostile):
    hostile.open(hostile.page.locator("#neuron-table a").first.get_attribute("href"))
    page = hostile.page
    page.wait_for_selector(".context")
    assert HOSTILE in page.locator(".context").first.text_content()
    assert page.locator(".context .above").nth(1).text_content() == LONG
    assert page.locator(".words code").first.text_content() == HOSTILE
    assert page.locator(".byte").first.text_content() == "0xE4"
    page.keyboard.press("Escape")
    assert page.locator(".answers p").first.text_content() == HOSTILE
    assert page.evaluate("window.hostile") is None
    assert "fault" in page.locator(".broken").inner_text()
    hostile.check_quiet()


def test_answers_are_filtered_by_pair_and_by_success(hostile):
    page = hostile.page
    filters = page.locator("#answer-filters")
    assert page.locator("#answer-list article").count() == 12
    filters.get_by_label("answer wanted in").select_option("ja")
    assert page.locator("#answer-list article").first.locator("h4").all_inner_texts() == [
        "normal ✓ fr",
        "fr off, ja steered ✗ en",
    ]
    filters.get_by_label("show").select_option("+cross-fr")
    assert page.locator("#answer-list article").count() == 0
    filters.get_by_label("show").select_option("-cross-fr")
    assert page.locator("#answer-list article").count() == 12


def test_the_same_run_gives_the_same_bytes(complete_run, tmp_path, monkeypatch):
    monkeypatch.chdir(complete_run.folder)
    run = Run("results/tiny/manifest.json")
    make_page(run, Path("rules/captions"), stored(run)).write(tmp_path / "index.html")
    assert (tmp_path / "index.html").read_bytes() == (complete_run.results / "index.html").read_bytes()
