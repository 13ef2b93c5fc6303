"""The notebooks of examples/, executed on the tiny model: their outputs are of the kinds that were kept.

With LAPE_EXAMPLES=embedded they run on the embedded model, as those that were kept did: some minutes on two cores.
"""

import itertools
import os

import pytest
from tiny_data import ROOT

from lape.text.identification import by_langdetect

nbformat = pytest.importorskip("nbformat", reason="notebooks need nbformat, of envs/requirements-dev.txt")
nbclient = pytest.importorskip("nbclient", reason="notebooks need nbclient, of envs/requirements-dev.txt")

NAMES = ("quickstart", "steer_and_measure", "own_text")
EMBEDDED = os.environ.get("LAPE_EXAMPLES") == "embedded"
TINY = f"""import sys
sys.path.insert(0, {str(ROOT / "tests" / "helpers")!r})
import tiny_example
tiny_example.replace()"""


def kept(name: str):
    return nbformat.read(ROOT / "examples" / f"{name}.ipynb", as_version=4)


def kinds(cell) -> list[tuple[str, list[str]]]:
    """The types of a cell's outputs, without warnings and progress; text that comes in several pieces is one output."""
    outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    found = [(output.output_type, sorted(output.get("data", {}))) for output in outputs]
    return [kind for kind, _ in itertools.groupby(found)]


def said(cell) -> str:
    return "".join(output.text for output in cell.outputs if output.get("name") == "stdout")


@pytest.fixture(scope="module")
def executed() -> dict:
    """The notebooks, executed one after the other in one kernel, whose start takes longest; name -> its code cells."""
    new = nbformat.v4.new_code_cell
    parts = {name: [cell for cell in kept(name).cells if cell.cell_type == "code"] for name in NAMES}
    cells = []
    for part in parts.values():
        cells += [new("%reset -f"), *([] if EMBEDDED else [new(TINY)]), *part]
    notebook = nbformat.v4.new_notebook(cells=cells)
    resources = {"metadata": {"path": str(ROOT / "examples")}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    return parts


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_of_the_kinds_that_were_kept(executed, name):
    cells = [cell for cell in kept(name).cells if cell.cell_type == "code"]
    assert len(cells) == len(executed[name])
    for old, new in zip(cells, executed[name], strict=True):
        assert kinds(new) == kinds(old), old.source


def test_the_kept_answers_are_in_the_languages_that_the_notebook_says():
    answers = {cell.source: said(cell) for cell in kept("quickstart").cells if "lape.answer(" in cell.source}
    languages = [by_langdetect(answer) for answer in answers.values()]
    assert languages == ["fr", "en", "fr", "zh"]


@pytest.mark.skipif(not EMBEDDED, reason="LAPE_EXAMPLES=embedded runs the notebooks on the embedded model")
def test_answers_are_in_the_languages_that_the_notebook_says(executed):
    answers = [said(cell) for cell in executed["quickstart"] if "lape.answer(" in cell.source]
    assert [by_langdetect(answer) for answer in answers] == ["fr", "en", "fr", "zh"]


@pytest.mark.parametrize("name", NAMES)
def test_a_kept_notebook_has_outputs_without_errors_or_paths(name):
    text = (ROOT / "examples" / f"{name}.ipynb").read_text()
    assert '"output_type": "error"' not in text and "/tmp/" not in text and "site-packages" not in text
    assert all(cell.execution_count for cell in kept(name).cells if cell.cell_type == "code")
