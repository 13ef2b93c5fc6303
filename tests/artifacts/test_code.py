"""Code closures: an artifact depends on what its modules import, and on no less than the lists of before."""

from pathlib import Path

import pytest

from lape.artifacts.code import NOT_FOLLOWED, ROOT, _file, code_hash, code_of
from lape.commands import __path__ as commands
from lape.items.registry import FIGURES, ITEMS, TABLES

# The lists that rules held by hand before the closures, by command and item, under the files' present names.
REPLACED = dict(
    line.split("\t") for line in Path(__file__).with_name("replaced_code_lists.tsv").read_text().splitlines()
)
# Of these folders a list took in every file by a glob. A closure has those that are imported.
GLOBBED = {
    **dict.fromkeys(("corpus", "instructions", "pairs", "questions", "sentences"), "lape/text/"),
    **dict.fromkeys((f"table {name}" for name in TABLES), "lape/paper/"),
}


def names(*modules: str) -> set[str]:
    return {file.relative_to(ROOT).as_posix() for file in code_of(*modules)}


def modules_of(command: str, item: str) -> list[str]:
    own = (TABLES if command == "table" else FIGURES)[item].modules if item else ()
    return [f"lape.commands.{command}", *own]


@pytest.mark.parametrize("made", REPLACED)
def test_a_closure_has_what_the_list_had(made):
    command, _, item = made.partition(" ")
    files = {path.relative_to(ROOT).as_posix() for pattern in REPLACED[made].split() for path in ROOT.glob(pattern)}
    missing = files - names(*modules_of(command, item))
    assert {name for name in missing if not name.startswith(GLOBBED.get(made, "nothing"))} == set()


def test_every_closure_is_found():
    for file in Path(commands[0]).glob("[a-z]*.py"):
        assert names(f"lape.commands.{file.stem}")
    for item in ITEMS:
        for part in filter(None, (item.table, item.figure)):
            assert names(*part.modules)


def test_what_is_not_followed_is_there():
    assert all(map(_file, NOT_FOLLOWED))


def test_an_unknown_module_is_an_error():
    with pytest.raises(ModuleNotFoundError, match=r"lape\.neurons\.selecting"):
        code_of("lape.neurons.selecting")


def test_closures_follow_imports_wherever_they_stand_and_take_data_and_kernels():
    perplexity = names("lape.commands.perplexity")  # imports in its functions
    assert {"lape/evaluation/perplexity.py", "lape/interventions/perturbation.py", "csrc/nll_cpu.cpp"} <= perplexity
    selection = names("lape.neurons.selection")
    assert "lape/statistics/sums.py" in selection and not any(name.startswith("csrc/") for name in selection)
    assert {"lape/paper/table3.csv", "lape/paper/__init__.py"} <= names("lape.items.neurons.counts")
    assert "lape/evaluation/judging/single_answer.txt" in names("lape.commands.judge")


def test_one_item_depends_on_no_other():
    matrix = names(*TABLES["deactivation_by_method"].modules, "lape.commands.table")
    assert "lape/items/perplexity/rows.py" in matrix and "lape/items/neurons/counts.py" not in matrix


def test_a_hash_changes_with_an_edit(tmp_path, monkeypatch):
    monkeypatch.setattr("lape.artifacts.code.ROOT", tmp_path)
    (tmp_path / "lape").mkdir()
    (tmp_path / "lape" / "errors.py").write_text("")
    for name, text in (("one", "from lape import two, errors\n"), ("two", "")):
        (tmp_path / "lape" / f"{name}.py").write_text(text)
    assert names_in(tmp_path, "lape.one") == {"lape/one.py", "lape/two.py"}
    before = code_hash("lape.one")
    (tmp_path / "lape" / "errors.py").write_text("# an edit of what is not followed\n")
    assert code_hash("lape.one") == before
    (tmp_path / "lape" / "two.py").write_text("# an edit\n")
    assert code_hash("lape.one") != before


def names_in(root: Path, *modules: str) -> set[str]:
    return {file.relative_to(root).as_posix() for file in code_of(*modules)}
