"""The jobs that Snakemake would execute for a run, each with the arguments of its command."""

import argparse
import contextlib
import functools
import itertools
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lape.artifacts.shipped import snakefile
from lape.cli import COMMANDS, command_parser
from lape.config import model_of, read_config
from lape.errors import LapeError

# Where no target is named, the first of these lists is planned for which the configuration is complete.
TARGETS = (("all", "paper"), ("all", "expert_units"), ("all",))


@dataclass(frozen=True)
class Job:
    """One job of the workflow.

    Attributes:
        rule: name of the workflow's rule.
        command: command of `lape`; empty where the job calls none.
        arguments: arguments of the command, parsed by its own parser.
        outputs: paths that the job makes.
        after: numbers of the jobs that the job waits for. A job's number is its place in the plan.
        threads: CPU threads.
        model: name of the model in the catalogue; None for a job without a model.
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
    """Plan the jobs of some targets, or without targets those of the first of `TARGETS` that can be planned.

    Returns:
        the merged configuration, the jobs, and the targets.

    Raises:
        LapeError: see `planned_jobs`.
    """
    choices = (tuple(targets),) if targets else TARGETS
    for wanted in choices[:-1]:
        with contextlib.suppress(LapeError):
            return *planned_jobs(configs, wanted, everything), wanted
    return *planned_jobs(configs, choices[-1], everything), choices[-1]


def planned_jobs(configs: Sequence[Path], targets: Sequence[str], everything: bool = False) -> tuple[dict, list[Job]]:
    """The jobs that Snakemake would run, in an order in which they can run.

    Args:
        configs: YAML files that are merged over the default configuration, each over the earlier ones.
        targets: rules or files.
        everything: include jobs that are finished.

    Returns:
        the merged configuration, and the jobs.

    Raises:
        LapeError: the configuration has a fault, or no rule makes a target.
    """
    # Snakemake takes a while to import, and `lape --help` does not need it.
    from snakemake.api import SnakemakeApi
    from snakemake.exceptions import RuleException, WorkflowError
    from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

    for path in configs:
        read_config(path)  # Snakemake would not say in which line a fault is
    path = snakefile()
    try:
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
            api.logger_manager.logger.setLevel(logging.CRITICAL)  # it also raises what it would log
            settings = ConfigSettings(configfiles=[path.resolve() for path in configs])
            loaded = api.workflow(ResourceSettings(cores=1), settings, snakefile=path)
            loaded.dag(DAGSettings(targets=set(targets), forceall=everything))
            # Snakemake's own listings (printd3dag, summary) do the same: build the graph, take no lock, run nothing.
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
    """Turn a job of Snakemake into a `Job`."""
    command, arguments = parsed(job.shellcmd)
    outputs = tuple(map(str, job.output))
    return Job(
        job.rule.name,
        command,
        arguments,
        outputs,
        tuple(after),
        job.threads,
        model_of(job.wildcards_dict.get("model") or "") or None,
    )


def parsed(line: str) -> tuple[str, argparse.Namespace]:
    """The `lape` command of a shell line, and its arguments as the command's own parser reads them.

    Words before the command are passed over. They launch it: accelerate, torchrun, or a claim of GPUs.

    Returns:
        the command, empty where the line has none, and its arguments.
    """
    words = shlex.split(line)
    for place, (program, command) in enumerate(itertools.pairwise(words)):
        if program == "lape" and command in COMMANDS and command != "claim":
            return command, _parser(command).parse_args(words[place + 2 :])
    return "", argparse.Namespace()


_parser = functools.cache(command_parser)  # thousands of jobs share one parser
