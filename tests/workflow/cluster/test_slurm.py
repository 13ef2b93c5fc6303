"""The workflow through profiles/slurm on a real Slurm of two nodes: a local run's bytes, whatever dies on the way."""

import shutil
import subprocess

import pytest
from slurm import GPUS, NODES, PACKAGES, Slurm, cluster, missing_programs
from waiting import wait_until
from workflow_run import LANGUAGES, Workspace

MISSING = missing_programs()
pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)} here; on Debian: apt-get install {PACKAGES}"),
]
# A count that lasts some seconds: what is done to a job must hit it while it runs.
SHARDS = 128
COUNT = "lape statistics"
TARGETS = [f"results/tiny/statistics/tiny/{language}.npz" for language in LANGUAGES]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The cluster that all tests share; each leaves it with two idle nodes."""
    with cluster(tmp_path_factory.mktemp("slurm") / "cluster") as running:
        yield running


@pytest.fixture(scope="module")
def tokenised(complete_run, tmp_path_factory) -> Workspace:
    """A local run up to the tokens; for reading only."""
    workspace = complete_run.copy(tmp_path_factory.mktemp("tokenised") / "run")
    shutil.rmtree(workspace.results / "statistics")
    workspace.configure(tokens={"train": 2560}, statistics={"shards": SHARDS, "batch_size": 1})
    workspace.run(*(f"results/tiny/tokens/tiny/{language}/train.npy" for language in LANGUAGES))
    return workspace


@pytest.fixture(scope="module")
def counted(tokenised, tmp_path_factory) -> dict[str, str]:
    """The hashes after an uninterrupted local count."""
    workspace = tokenised.copy(tmp_path_factory.mktemp("counted") / "run")
    workspace.run(*TARGETS)
    return workspace.hashes()


class Run:
    """Snakemake with the Slurm profile, started in a workspace."""

    def __init__(self, slurm: Slurm, workspace: Workspace, *arguments: str):
        self.slurm, self.workspace = slurm, workspace
        self.before = {job["id"] for job in slurm.jobs()}
        # The profile as users have it, but for the 40 s before the executor first looks at a job.
        flags = ["--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "8"]
        start = workspace.command(*flags, *arguments)
        self.printed = workspace.folder / "snakemake.log"
        with open(self.printed, "w") as log:
            self.process = subprocess.Popen(**start | {"env": slurm.within(start["env"]), "stdout": log})

    def jobs(self, rule: str = "", state: str = "") -> list[dict[str, str]]:
        """Its jobs on the cluster, of a rule, in a state."""
        jobs = [job for job in self.slurm.jobs() if job["id"] not in self.before]
        return [job for job in jobs if f"rule_{rule}" in job["comment"] and state in job["state"]]

    def counting(self) -> dict[str, str]:
        """Wait until jobs count and some of their shards are finished; returns one of those jobs."""

        def job():
            assert self.process.poll() is None, self.printed.read_text()
            numbers = {variables["SLURM_JOB_ID"] for variables in self.slurm.variables(COUNT)}
            if numbers and self.shards():
                return next((job for job in self.jobs(state="RUNNING") if job["number"] in numbers), None)

        return wait_until(job, "a job that counts", 300)

    def shards(self) -> set[tuple[str, int]]:
        """The shards that are finished, and when each was."""
        files = (self.workspace.results / "statistics" / "tiny").glob("*.shards/[0-9]*.json")
        return {(str(file), file.stat().st_mtime_ns) for file in files}

    def finish(self) -> str:
        """Wait for its end, which must be a good one; returns what Snakemake printed."""
        status = self.process.wait(timeout=1800)
        assert status == 0, self.printed.read_text()
        return self.printed.read_text()


@pytest.fixture
def start(slurm, tokenised, tmp_path):
    """Start the count on the cluster; whatever it leaves running is stopped."""
    runs = []

    def run(*arguments: str) -> Run:
        runs.append(Run(slurm, tokenised.copy(tmp_path / "run"), *arguments, "--", *TARGETS))
        return runs[0]

    yield run
    for each in runs:
        each.process.kill()
        each.process.wait()
    slurm.clear()


def test_a_run_on_the_cluster_has_the_bytes_of_a_local_one(slurm, complete_run, tmp_path, monkeypatch, lape):
    workspace = Workspace.create(tmp_path / "run", complete_run.programs)
    run = Run(slurm, workspace)
    run.finish()
    workspace.check_same(complete_run)
    # It was Slurm that ran them, on both nodes.
    assert {job["state"] for job in run.jobs()} == {"COMPLETED"}
    assert len(run.jobs("perplexity")) == 2 * len(LANGUAGES)
    monkeypatch.chdir(workspace.folder)
    assert lape("audit", "results/tiny/manifest.json")[0] == 0


def test_two_jobs_on_one_node_see_a_gpu_each(slurm, start, counted):
    slurm.run("scontrol", "update", "nodename=node1", "state=drain", "reason=test")
    run = start("--set-resources", "statistics:gpu=1")
    seen = {}

    def both():
        assert run.process.poll() is None, run.printed.read_text()
        for variables in slurm.variables(COUNT):
            seen[variables["SLURM_JOB_ID"]] = variables["SLURMD_NODENAME"], variables.get("CUDA_VISIBLE_DEVICES")
        return len(seen) == len(LANGUAGES)

    wait_until(both, "two counting jobs", 300)
    assert sorted(seen.values()) == [("node2", str(gpu)) for gpu in range(GPUS)]
    run.finish()
    assert run.workspace.hashes() == counted


def test_a_cancelled_job_goes_on(slurm, start, counted):
    run = start()
    job = run.counting()
    shards = run.shards()
    slurm.run("scancel", job["id"])
    assert " is tried again" in run.finish()
    assert shards <= run.shards()
    states = {each["id"]: each["state"] for each in run.jobs("statistics")}
    assert states.pop(job["id"]) == "CANCELLED"
    assert set(states.values()) == {"COMPLETED"} and len(states) == len(LANGUAGES)
    assert run.workspace.hashes() == counted


def test_a_drained_node_finishes_its_job_and_gets_no_other(slurm, start, counted):
    run = start("--jobs", "1")
    job = run.counting()
    slurm.run("scontrol", "update", f"nodename={job['node']}", "state=drain", "reason=test")
    run.finish()
    nodes = {each["id"]: each["node"] for each in run.jobs("statistics", "COMPLETED")}
    assert nodes.pop(job["id"]) == job["node"]
    assert set(nodes.values()) == set(NODES) - {job["node"]}
    assert run.workspace.hashes() == counted


def test_jobs_of_a_killed_node_go_on_on_another(slurm, start, counted):
    run = start()
    job = run.counting()
    shards = run.shards()
    slurm.kill_node(job["node"])
    run.finish()
    assert shards <= run.shards()
    assert slurm.nodes()[job["node"]].startswith("DOWN")
    again = next(each for each in run.jobs() if each["id"] == job["id"])
    assert again["state"] == "COMPLETED" and again["node"] not in ("", job["node"])
    assert "Requeue=1 Restarts=1" in slurm.run("scontrol", "show", "job", job["id"])
    assert run.workspace.hashes() == counted


def test_a_full_queue_and_a_full_cluster_are_waited_for(slurm, start, counted):
    """The controller refuses submissions, its list of jobs being full; later it takes them, and no CPU is free."""
    for node in NODES:
        slurm.run("sbatch", "--exclusive", f"--nodelist={node}", "--output=/dev/null", "--wrap=sleep 600")
    wait_until(lambda: [job["state"] for job in slurm.jobs()].count("RUNNING") == len(NODES), "nodes that are taken")
    slurm.restart_controller(maximum_jobs=len(slurm.jobs()))
    run = start()
    wait_until(lambda: "MaxJobCount limit" in slurm.log("slurmctld"), "a refused submission", 300)
    assert not run.jobs()
    slurm.restart_controller()
    wait_until(lambda: len(run.jobs("statistics", "PENDING")) == len(LANGUAGES), "jobs in the queue", 300)
    slurm.run("scancel", "--name=wrap")
    run.finish()
    assert run.workspace.hashes() == counted
