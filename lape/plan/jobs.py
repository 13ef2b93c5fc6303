"""The jobs that a run would execute, as Snakemake says, each with the arguments of its command."""

import argparse
import contextlib
import functools
import itertools
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lape.cli import COMMANDS, command_parser
from lape.errors import LapeError

SNAKEFILE = Path(__file__).resolve().parents[2] / "Snakefile"
# What is planned where no target is named: the first of these that the configuration has all for.
TARGETS = (("all", "paper"), ("all", "expert_units"), ("all",))


@dataclass(frozen=True)
class Job:
    """One job of the workflow.

    Attributes:
        rule: the workflow's.
        command: of `lape`; empty where the job calls none.
        arguments: of that command, parsed as it will parse them.
        outputs: paths that it makes.
        after: numbers of the jobs that it waits for; a job's number is its place in the plan.
        threads: CPU threads.
        model: name of the model in the catalogue, None where the job is of no model.
    """

    rule: str
    command: str
    arguments: argparse.Namespace
    outputs: tuple[str, ...]
    after: tuple[int, ...]
    threads: int
    model: str | None = field(default=None)


def buildable_jobs(
    configs: Sequence[Path], targets: Sequence[str], everything: bool
) -> tuple[dict, list[Job], tuple[str, ...]]:
    """`planned_jobs` of some targets, or where none are named, of the first of `TARGETS` that can be planned.

    Returns:
        configuration, jobs and targets.

    Raises:
        LapeError: as `planned_jobs`.
    """
    choices = (tuple(targets),) if targets else TARGETS
    for wanted in choices[:-1]:
        with contextlib.suppress(LapeError):
            return *planned_jobs(configs, wanted, everything), wanted
    return *planned_jobs(configs, choices[-1], everything), choices[-1]


def planned_jobs(configs: Sequence[Path], targets: Sequence[str], everything: bool = False) -> tuple[dict, list[Job]]:
    """What Snakemake would run, in an order in which it can be run.

    Args:
        configs: YAML files that are merged over the default configuration, the later over the earlier.
        targets: rules or files.
        everything: also what is finished.

    Returns:
        the merged configuration, and the jobs.

    Raises:
        LapeError: a fault of the configuration, or something that no rule makes.
    """
    # It takes a while to import, and `lape --help` needs none of it.
    from snakemake.api import SnakemakeApi
    from snakemake.exceptions import RuleException, WorkflowError
    from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

    for path in configs:
        if not path.is_file():
            raise LapeError(f"{path}: no such file; name a YAML file that overrides config/config.yaml")
    if not SNAKEFILE.is_file():
        raise LapeError(f"{SNAKEFILE}: no such file; run `lape plan` from a checkout of the repository")
    try:
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
            api.logger_manager.logger.setLevel(logging.CRITICAL)  # what is amiss it raises, too
            settings = ConfigSettings(configfiles=[path.resolve() for path in configs])
            loaded = api.workflow(ResourceSettings(cores=1), settings, snakefile=SNAKEFILE)
            loaded.dag(DAGSettings(targets=set(targets), forceall=everything))
            # As Snakemake's own listings do (printd3dag, summary): build the graph, take no lock, run nothing.
            workflow = loaded._workflow
            workflow._prepare_dag(forceall=everything, ignore_incomplete=True, lock_warn_only=True)
            workflow._build_dag()
            graph = workflow.dag
            pending = set(graph.needrun_jobs(exclude_finished=False))
            ordered = [
                job for level in graph.toposorted() for job in sorted(level, key=str) if job in pending and job.shellcmd
            ]
            numbers = {job: number for number, job in enumerate(ordered)}
            jobs = [_job(job, [numbers[one] for one in graph.dependencies[job] if one in numbers]) for job in ordered]
            return dict(workflow.config), jobs
    except (WorkflowError, RuleException, OSError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise LapeError(
            f"{' '.join(map(str, configs)) or 'config/config.yaml'}: {', '.join(targets)} cannot be planned "
            f"({' '.join(lines)[:300]}); mend the configuration, or name what it has all for with --targets"
        ) from error


def _job(job, after: list[int]) -> Job:
    """A job of Snakemake's as ours."""
    command, arguments = parsed(job.shellcmd)
    outputs = tuple(map(str, job.output))
    return Job(job.rule.name, command, arguments, outputs, tuple(after), job.threads, job.wildcards_dict.get("model"))


def parsed(line: str) -> tuple[str, argparse.Namespace]:
    """The `lape` command of a shell line and its arguments, by the command's own parser.

    What launches it (accelerate, torchrun, a claim of GPUs) stands before it and is passed over.

    Returns:
        the command, empty where the line has none, and its arguments.
    """
    words = shlex.split(line)
    for place, (program, command) in enumerate(itertools.pairwise(words)):
        if program == "lape" and command in COMMANDS and command != "claim":
            return command, _parser(command).parse_args(words[place + 2 :])
    return "", argparse.Namespace()


_parser = functools.cache(command_parser)  # one for thousands of jobs
