"""`lape audit --against`: which claim holds between two runs, and what breaks it."""

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from tampering import MANIFEST, RUN, reseal

from lape.artifacts.files import read_json, write_json
from lape.artifacts.manifest import sealed
from lape.audit.replication import BOUNDS, Run, compare
from lape.cli import main
from lape.statistics.sums import ActivationStatistics

pytestmark = pytest.mark.workflow

FR = "statistics/tiny/fr.json"


@pytest.fixture
def other(complete_run, tmp_path) -> Path:
    """The manifest of another copy of the run."""
    return complete_run.copy(tmp_path / "other").folder / MANIFEST


def count_again(*options: str) -> None:
    """Count French once more by the recorded command, with other options."""
    words = shlex.split(read_json(RUN / FR)["command"])[1:]
    assert main([*words, *options]) == 0  # of an option that comes twice the last counts
    reseal()


def test_the_same_run_is_the_same_bits(tampered, other, lape):
    agreement = compare(Run(MANIFEST), Run(other))
    assert set(agreement.same) == {path.removeprefix(f"{RUN}/") for path in read_json(MANIFEST)["artifacts"]}
    assert not (agreement.flips or agreement.unclaimed or agreement.faults)
    status, messages = lape("audit", MANIFEST, "--against", other)
    assert status == 0 and f"the same bits as in {other}, as they must be: {len(agreement.same)} artifacts" in messages


def test_another_name_of_the_run_changes_no_claim(tampered, other):
    """Headers hold the run's paths; the data do not."""
    text = MANIFEST.read_text().replace("results/tiny/", "results/tin2/").replace('"run": "tiny"', '"run": "tin2"')
    RUN.rename("results/tin2")
    for path in Path("results/tin2").rglob("*.json"):
        path.write_text(path.read_text().replace("results/tiny/", "results/tin2/"))
    Path("results/tin2/manifest.json").write_text(text)
    agreement = compare(Run("results/tin2/manifest.json"), Run(other))
    assert len(agreement.same) == len(read_json(other)["artifacts"]) and not agreement.faults


@pytest.mark.parametrize(
    "options", [("--batch-size", "8"), ("--memory", "1000"), ("--threads", "2"), ("--backend", "reference")]
)
def test_counts_of_other_settings_are_within_their_bound(tampered, other, lape, options):
    count_again(*options)
    agreement = compare(Run(MANIFEST), Run(other))
    assert list(agreement.flips) == [FR] and agreement.flips[FR] <= BOUNDS["float32"]
    assert not agreement.faults and "tokens/tiny/fr/train.json" in agreement.same
    status, messages = lape("audit", MANIFEST, "--against", other)
    assert status == 0 and "within the bound of other settings: 1 file of statistics" in messages


def count_of_one_neuron(path: Path, change) -> None:
    """Change the first neuron's count, in the whole and in its first shard."""
    for name in (path.with_suffix(".npz"), path.with_suffix(".shards") / "0.npz"):
        statistics = ActivationStatistics.load(name)
        statistics.count.flat[0] = change(statistics.count.flat[0])
        statistics.save(name)


def test_bits_that_differ_under_the_same_settings_are_named(tampered, other, lape):
    count_of_one_neuron(RUN / FR, lambda count: count + 1 if count < 100 else count - 1)
    reseal()
    agreement = compare(Run(MANIFEST), Run(other))
    assert agreement.faults == [(FR, "is not the same bits, though settings, versions and inputs are")]
    # What was selected from other counts is not held against it.
    assert "neurons/tiny/lape.json" in agreement.unclaimed


def test_counts_beyond_their_bound_are_named(tampered, other):
    count_again("--batch-size", "8")
    count_of_one_neuron(RUN / FR, lambda count: count + 60 if count < 60 else count - 60)
    reseal()
    ((path, fault),) = compare(Run(MANIFEST), Run(other)).faults
    share = 60 / (512 * 96) * 1e6
    assert path == FR and fault == f"{share:.1f} of a million activations changed sides, in float32 at most 20 may"


def test_another_machine_claims_no_bits(tampered, other):
    manifest = read_json(MANIFEST)
    write_json(MANIFEST, sealed(manifest | {"machine": {"processor": "another", "gpus": []}}))
    agreement = compare(Run(MANIFEST), Run(other))
    assert not agreement.same and set(agreement.flips.values()) == {0.0}
    assert set(agreement.flips) == {FR, "statistics/tiny/ja.json"}


def test_other_tokens_claim_no_counts(tampered, other):
    path = RUN / "tokens/tiny/fr/train.npy"
    np.save(path, np.load(path)[::-1])
    reseal()
    agreement = compare(Run(MANIFEST), Run(other))
    assert FR in agreement.unclaimed and [name for name, _ in agreement.faults] == ["tokens/tiny/fr/train.json"]


def test_a_manifest_without_its_run_is_refused(tampered, other, lape):
    shutil.copy(other, "alone.json")
    shutil.rmtree(other.parent)
    status, messages = lape("audit", MANIFEST, "--against", "alone.json")
    assert status == 0, "its paths lie here, too"
    Path("elsewhere").mkdir()
    shutil.move("alone.json", other.parent.parent / "alone.json")
    status, messages = lape("audit", MANIFEST, "--against", other.parent.parent / "alone.json")
    assert status == 1 and "alone.json: is not the manifest of a run that lies there; " in messages
