"""What a run of the workflow says: what will run, a line per finished stage, warnings once, and why it failed.

`Console` takes the place of Snakemake's own handler on the terminal. A job writes its messages to its log alone. The
console takes a stage's summary and a failed job's error from there.
"""

import itertools
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lape.errors import LapeError
from lape.machine.progress import CONSOLE, WARNING, is_progress

# Where this variable is set, a run says first how long it takes on this machine, which takes seconds to measure.
PLAN = "LAPE_PLAN"
_WIDTH = 118  # of a line
# Without a terminal a line says how far the run is after so many percent in silence.
_SILENCE = 10
_SHOWN_ERRORS = 5
_FAILED = "At least one job did not complete successfully."
# Snakemake says so of a job whose error the console tells.
_REPEATED = ("CalledProcessError", "Exiting because a job execution failed")


@dataclass
class _Job:
    name: str
    stage: str
    logs: list[Path]
    output: str


@dataclass
class _Stage:
    jobs: int
    finished: int = 0
    summaries: list[list[str]] = field(default_factory=list)


def attach(workflow, run: str) -> "Console | None":
    """Put a console in the place of Snakemake's handler on the terminal.

    Args:
        workflow: Snakemake's workflow, while it reads the Snakefile.
        run: name of the run.

    Returns:
        the console; None where it is not wanted. The user may want more (--verbose, --printshellcmds, --debug-dag) or
        another logger, and a run starts further processes for some of its jobs.
    """
    logger, settings = logging.getLogger("snakemake.logging"), workflow.output_settings
    plain = next((handler for handler in logger.handlers if handler.name == "DefaultStreamHandler"), None)
    wanted = not (settings.verbose or settings.printshellcmds or settings.debug_dag)
    if plain is None or not wanted or workflow.exec_mode.name != "DEFAULT":
        return None
    console = Console(plain, run, quiet=bool(settings.quiet))
    logger.removeHandler(plain)
    logger.addHandler(console)
    return console


def expected(config: dict, targets: Sequence[str]) -> tuple[str, dict[str, float]]:
    """What `lape plan` says of a run: a line, and for the first output of every job the seconds that the job takes.

    Both are empty where the run cannot be planned, which is no reason not to begin it.

    Raises:
        LapeError: the user interrupts it.
    """
    with tempfile.TemporaryDirectory() as folder:
        merged, plan = Path(folder, "config.json"), Path(folder, "plan.json")
        merged.write_text(json.dumps(config), encoding="utf-8")
        command = ["lape", "plan", str(merged), "--brief", "--output", str(plan), "--targets", *targets]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except KeyboardInterrupt:
            raise LapeError("interrupted while the machine was measured; nothing has run") from None
        if done.returncode or not plan.is_file():
            return "", {}
        jobs = json.loads(plan.read_text(encoding="utf-8"))["jobs"]
    return done.stdout.strip(), {job["outputs"][0]: job["seconds"] for job in jobs if job["outputs"]}


class Console(logging.Handler):
    """A handler of Snakemake's messages that says little.

    Args:
        plain: Snakemake's own handler. It prints what is said before a run, and dry runs.
        run: name of the run.
        quiet: whether warnings and errors alone are printed.
    """

    def __init__(self, plain: logging.StreamHandler, run: str, quiet: bool):
        super().__init__()
        self._plain, self._run, self._quiet = plain, run, quiet
        self._dry = plain.stream is sys.stdout  # where a dry run writes
        self._running, self._interrupted, self._refusal = False, False, ""
        self._jobs: dict[int, _Job] = {}
        self._stages: dict[str, _Stage] = {}
        self._failures: dict[int, list[str]] = {}
        self._said: set[str] = set()
        self._seconds: dict[str, float] = {}
        self._done = self._told = self._total = 0.0
        self._bar = None

    def refuse(self, message: str) -> None:
        """Print this line, and nothing around it, in place of the exception that Snakemake is about to report."""
        self._refusal = message

    def begin(self, jobs: Iterable, line: str, seconds: dict[str, float]) -> None:
        """Say what will run. The jobs that this process starts from now on write to their logs alone.

        Args:
            jobs: Snakemake's jobs that will run, in an order in which they can.
            line: how long that takes; empty where it is not known.
            seconds: first output of a job -> seconds that the job is expected to take; empty: all jobs count alike.
        """
        os.environ |= {CONSOLE: "1", "TQDM_DISABLE": "1"}  # the latter is for bars of libraries, which go to no log
        jobs = [job for job in jobs if job.output]  # a target has none
        outputs = [str(job.output[0]) for job in jobs]
        self._seconds = seconds if any(map(seconds.get, outputs)) else {}
        self._total = sum(map(self._weight, outputs))
        counts = Counter(_stage(job.rule.name) for job in jobs)
        self._stages = {name: _Stage(number) for name, number in counts.items()}
        if not self._quiet:
            stages = ", ".join(f"{number} {name}" for name, number in counts.items())
            self._print(f"run {self._run}, {len(jobs)} job{'s' * (len(jobs) != 1)}: {stages}", whole=True)
        if line:
            self.say(line)
        if sys.stderr.isatty() and not self._quiet:
            from tqdm import tqdm

            form = "{percentage:3.0f}% {bar} {remaining} left"
            shown = {"bar_format": form, "dynamic_ncols": True, "leave": False, "disable": False}
            self._bar = tqdm(total=self._total, smoothing=0, **shown)

    def say(self, line: str) -> None:
        """Print a line, unless the run is quiet."""
        if not self._quiet:
            self._print(line)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._hear(record)
        except Exception:  # a fault of the console must not end the run
            self.handleError(record)

    def _hear(self, record: logging.LogRecord) -> None:
        event, message = getattr(record, "event", None), str(record.msg or "")
        if event == "workflow_started":
            self._running = not self._dry
        if event == "error" and self._refusal and self._refusal in " ".join(message.split()):
            self._print(self._refusal, whole=True)
        elif not self._running:
            if self._dry or not self._quiet or record.levelno >= logging.WARNING:
                self._plain.handle(record)
        elif event == "job_info":
            name = " ".join([record.rule_name, *record.wildcards.values()])
            output = str(record.output[0]) if record.output else ""
            self._jobs[record.jobid] = _Job(name, _stage(record.rule_name), [*map(Path, record.log)], output)
        elif event == "job_finished":
            self._finished(record.job_id)
        elif event == "job_error":
            self._failed(record.jobid, record.rule_name, record.log)
        elif event == "group_error":
            for info in record.job_error_info:
                self._failed(info["jobid"], info["rule_name"], [*info["log"], *record.aux_logs])
        elif message.startswith("Terminating processes on user request"):
            self._interrupted = True
        elif event == "error" and _FAILED in message and (self._failures or self._interrupted):
            self._print_failures()
        elif event in (None, "error") and record.levelno >= logging.WARNING:
            if not any(text in message for text in _REPEATED):
                self._once(message.strip())
        elif message.startswith("Nothing to be done"):
            self.say(message)
        elif again := re.match(r"Trying to restart job (\d+)", message):
            self.say(f"{self._jobs[int(again[1])].name} is tried again")

    def _finished(self, number: int) -> None:
        job = self._jobs[number]
        stage = self._stages.get(job.stage)
        if stage is None or not job.output:
            return
        self._failures.pop(number, None)  # another attempt went well
        lines = [line for log in job.logs for line in _lines(log) if not is_progress(line)]
        for line in lines:
            if line.startswith(WARNING):
                self._once(line)
        stage.finished += 1
        stage.summaries.append(_summary([line for line in lines if not line.startswith(WARNING)]))
        self._done += self._weight(job.output)
        if self._bar is not None:
            self._bar.update(self._weight(job.output))
        if stage.finished == stage.jobs:
            told = stage.summaries[0] if stage.jobs == 1 else merged([lines[0] for lines in stage.summaries if lines])
        elif self._bar is None and 100 * (self._done - self._told) >= _SILENCE * self._total:
            told = [f"{job.stage}: {stage.finished} of {stage.jobs}"]
        else:
            told = []
        for line in told:
            share = f"{100 * self._done / self._total:3.0f}%"
            begin = "" if self._bar is not None else " " * 6 if line.startswith(" ") else f"{share}  "
            self.say(f"{begin}{line}")
            self._told = self._done

    def _failed(self, number: int, rule: str, logs: Sequence[str]) -> None:
        name = self._jobs[number].name if number in self._jobs else rule
        if number not in self._failures:
            self.say(f"{name} failed")
        error = next((_error(lines) for log in logs if (lines := _lines(Path(log)))), None)
        where = [f"{name}: all it said is in {log}" for log in logs]
        self._failures[number] = [*where, error or f"{name}: ended without a word; was it killed for its memory?"]

    def _print_failures(self) -> None:
        self.end()
        if self._interrupted:  # which is why jobs failed
            self._print("interrupted; what is finished is kept, and the same command goes on")
            return
        # Of a group of jobs that a cluster ran as one, all are reported as failed.
        sure = [lines for lines in self._failures.values() if lines[-1].startswith("lape ")]
        for lines in (sure or [*self._failures.values()])[-_SHOWN_ERRORS:]:
            for line in lines:
                self._print(line, whole=True)

    def _weight(self, output: str) -> float:
        return self._seconds.get(output, 0.0) if self._seconds else 1.0

    def _once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._print(message, whole=True)

    def _print(self, line: str, whole: bool = False) -> None:
        shown = line if whole or len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
        if self._bar is not None:
            self._bar.write(shown, file=sys.stderr)
        else:
            print(shown, file=sys.stderr, flush=True)


def merged(summaries: Sequence[str]) -> list[str]:
    """One line of several jobs' summaries: what their labels share, then each one's own label and first number.

    >>> merged(["tokens m fr: 20 in 2 chunks", "tokens m ja: 30, whole"])
    ['tokens m fr: 20 in 2 chunks, ja: 30']
    """
    pairs = [summary.partition(": ")[::2] for summary in sorted(summaries)]
    labels = [label.split() for label, _ in pairs]
    alike = itertools.takewhile(lambda words: len(set(words)) == 1, zip(*labels, strict=False))
    shared = len(list(alike)) if len(labels) > 1 else 0
    texts = [text.partition(";")[0].partition(",")[0] for _, text in pairs]
    rest = [" ".join(label[shared:]) for label in labels]
    if not pairs:
        return []
    head = " ".join(labels[0][:shared])
    if len(set(texts)) == 1:
        return [f"{head} {', '.join(filter(None, rest))}: {texts[0]}".strip()]
    told = ", ".join(f"{label}: {text}" if label else text for label, text in zip(rest, texts, strict=True))
    return [f"{head} {told}".strip()]


def _stage(rule: str) -> str:
    """The tables of a run are one stage, and the figures are another."""
    return next((f"{kind}s" for kind in ("table", "figure") if rule.endswith(f"_{kind}")), rule)


def _summary(lines: Sequence[str]) -> list[str]:
    """The last message, `label: numbers`, with the indented lines that belong to it."""
    start = max((number for number, line in enumerate(lines) if ": " in line and not line.startswith(" ")), default=0)
    return [line for line in lines[start:] if ": " in line]


def _error(lines: Sequence[str]) -> str:
    """The error that a log ends with; of an error with a traceback, what it begins and ends with."""
    begin = max((number for number, line in enumerate(lines) if line.startswith("lape ")), default=len(lines) - 1)
    return lines[begin] if begin == len(lines) - 1 else f"{lines[begin]}: {lines[-1]}"


def _lines(log: Path) -> list[str]:
    """The lines of a log; none where it is missing."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()]
