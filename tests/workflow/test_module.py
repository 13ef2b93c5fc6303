"""The workflow as a module of another workflow, whose Snakefile lies in a folder of its own."""

import pytest

pytestmark = pytest.mark.workflow

OUTER = """\
module lape:
    snakefile: "{repository}/Snakefile"
    config: config


use rule * from lape


rule count_neurons:
    default_target: True
    input: "results/tiny/neurons/tiny/lape.tsv"
    output: "count.txt"
    shell: "wc -l < {{input}} > {{output}}"
"""


def test_another_workflow_uses_the_rules_and_finds_finished_artifacts(complete_run, tmp_path):
    """What the workflow made by itself is finished for the module, too: rules, parameters and defaults are the same."""
    run = complete_run.copy(tmp_path / "run")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "Snakefile").write_text(OUTER.format(repository=run.folder), encoding="utf-8")
    outer = ("--snakefile", str(tmp_path / "own" / "Snakefile"))
    assert run.pending(*outer) == {"count_neurons": 1}
    run.snakemake(*outer, "--cores", "1")
    table = (run.results / "neurons/tiny/lape.tsv").read_text(encoding="utf-8")
    assert int((run.folder / "count.txt").read_text()) == table.count("\n")
    run.configure(neurons={"ratio": 0.2})
    assert run.pending(*outer) == {"select": 1, "count_neurons": 1}
