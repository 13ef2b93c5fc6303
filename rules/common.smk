"""The checked configuration, and the names, input functions, flags, resources and console that all rules share."""

import contextlib
import functools
import json
import os
import shlex
import sys
from pathlib import Path

# The folder of this workflow; as a module of another workflow it is not the main Snakefile's.
REPOSITORY = Path(str(workflow.current_basedir)).parent
sys.path.insert(0, str(REPOSITORY))

from lape.artifacts.code import code_hash
from lape.config import check_config, expand_paths, expert_languages, with_defaults
from lape.errors import LapeError
from lape.generation.settings import NEURON_METHODS
from lape.items.registry import ITEMS, in_report, name_items
from lape.machine.warm import warm_lape
from lape.items.variants import check_variants
from lape.workflow import names, repository, targets
from lape.workflow.console import PLAN, attach, expected
from lape.workflow.flags import Flags, optional, optional_list
from lape.workflow.inputs import Inputs
from lape.workflow.names import one_of
from lape.workflow.repository import repository_files
from lape.workflow.resources import Booking
from lape.workflow.sources import check_files
from snakemake.exceptions import WorkflowError

console = attach(workflow, config["run"]) if workflow.modifier.is_main_snakefile() else None


def in_one_line(function):
    """A function whose faults in the configuration end Snakemake in one line."""

    @functools.wraps(function)
    def call(*arguments, **named):
        try:
            return function(*arguments, **named)
        except LapeError as error:
            if console:
                console.refuse(str(error))
            raise WorkflowError(str(error)) from None

    return call


@in_one_line
def check():
    """Refuse a configuration, or a file that is missing, before any job runs."""
    name_items(config)
    if not workflow.modifier.is_main_snakefile():
        # Snakemake reads no configfile of a module that is given a configuration.
        config.update(with_defaults(config, REPOSITORY / "config" / "config.yaml"))
    check_config(config, REPOSITORY / "config" / "schema.yaml")
    check_variants(config, lambda each: check_config(each, REPOSITORY / "config" / "schema.yaml"))
    expand_paths(config)
    check_files(config)
    check_variants(config, check_files)


def gpu_limit():
    """GPUs that jobs may take together; a dry run has no limit."""
    limited = "gpu" in workflow.global_resources and not workflow.dryrun
    return workflow.global_resources["gpu"].value if limited else None


class InOneLine:
    """An object whose methods are functions `in_one_line`."""

    def __init__(self, owner):
        self._owner = owner

    def __getattr__(self, name):
        return in_one_line(getattr(self._owner, name))


check()
inputs, flags, tables = InOneLine(Inputs(config, REPOSITORY)), Flags(config), targets.Tables(config)
booked = Booking(config, gpu_limit)
gpus, mem_mb, runtime = in_one_line(booked.gpus), booked.mem_mb, booked.runtime
architecture = functools.partial(repository.architecture, config)
another_architecture = functools.partial(repository.another_architecture, config)
EXPERT_LANGUAGES = expert_languages(config)


wildcard_constraints:
    **names.constraints(config),


ENDING = contextlib.ExitStack()
end_run = ENDING.close


def lift_rate_limit():
    """Take Snakemake's limit of 100 jobs a second away from runs on this machine.

    With the limit every round of the scheduler starts a timer, and every timer starts another round. After some hundred
    jobs the rounds would keep a core busy.
    """
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


def say_what_runs():
    """Say the jobs and, where the environment asks for it, how long they take on this machine."""
    if console:
        line, seconds = "", {}
        if PLAN in os.environ and workflow.local_exec:
            line, seconds = in_one_line(expected)(config, sorted(workflow.dag_settings.targets) or ["all"])
        wanted = set(workflow.dag.needrun_jobs())
        console.begin([job for level in workflow.dag.toposorted() for job in level if job in wanted], line, seconds)
        ENDING.callback(console.end)


def start_warm():
    """Let the jobs on this machine start from one process that has loaded what they need."""
    rules = [job.rule.name for job in workflow.dag.needrun_jobs()] if workflow.local_exec else []
    identifies = any(name.startswith("score") for name in rules)
    ENDING.enter_context(warm_lape(len(rules), config["threads"], identifies))


def say_what_to_open():
    """Name one path: the explorer's page of the target, or the run's folder where the target has none."""
    run = Path("results", config["run"])
    made = {str(path) for job in workflow.dag.jobs for path in job.output}
    pages = [str(run / folder / "index.html") for folder in ("paper", "expert_units", "")]
    line = f"open {next((path for path in pages if path in made), run)}"
    if console:
        console.say(line)
    else:
        print(line, file=sys.stderr)
