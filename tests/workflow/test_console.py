"""What a run says: Snakemake's messages go into a console, and few lines come out."""

import io
import logging
from types import SimpleNamespace as Job

import pytest

from lape.machine.progress import CONSOLE
from lape.workflow.console import Console, attach, merged

NUMBERS = "tokens tiny {}: {} in 2 chunks\n"


@pytest.fixture
def say(tmp_path, monkeypatch, capsys):
    """Give a console a message of Snakemake's; returns what it has printed since, by line."""
    monkeypatch.chdir(tmp_path)
    for variable in (CONSOLE, "TQDM_DISABLE"):  # which a beginning run sets
        monkeypatch.setenv(variable, "1")
    consoles = {}

    def say(level=logging.INFO, message="", quiet=False, **extra) -> list[str]:
        console = consoles.setdefault(quiet, Console(logging.StreamHandler(io.StringIO()), "tiny", quiet))
        record = logging.LogRecord("snakemake.logging", level, "", 0, message, None, None)
        record.__dict__ |= extra
        if "jobs" in extra:
            console.begin(extra["jobs"], "", {})
        else:
            console.handle(record)
        return capsys.readouterr().err.splitlines()

    return say


@pytest.fixture
def job(say, tmp_path):
    """Begin a run of three jobs of one rule; then let one of them end with a log, well or not."""

    def end(language: str, log: str, well: bool = True, quiet: bool = False) -> list[str]:
        (tmp_path / language).write_text(log, encoding="utf-8")
        number = ["en", "fr", "ja"].index(language)
        facts = {"rule_name": "tokens", "wildcards": {"language": language}, "output": [f"{language}.npy"]}
        say(event="job_info", jobid=number, log=[language], quiet=quiet, **facts)
        if well:
            return say(event="job_finished", job_id=number, quiet=quiet)
        return say(logging.ERROR, event="job_error", jobid=number, rule_name="tokens", log=[language], quiet=quiet)

    for quiet in (False, True):
        say(event="workflow_started", quiet=quiet)
        jobs = [Job(rule=Job(name="tokens"), output=[f"{language}.npy"]) for language in ("en", "fr", "ja")]
        begun = say(jobs=[*jobs, Job(rule=Job(name="all"), output=[])], quiet=quiet)
        assert begun == ([] if quiet else ["run tiny, 3 jobs: 3 tokens"])
    return end


def test_a_stage_is_a_line_and_a_warning_is_said_once(say, job):
    bar = "tokens tiny en:  50%|#####     | 3.1k/6.2k [00:10<00:10, 300 tokens/s]\n"
    warning = "warning: a text is short\n"
    assert job("en", bar + warning + NUMBERS.format("en", 20)) == ["warning: a text is short", " 33%  tokens: 1 of 3"]
    assert job("ja", warning + NUMBERS.format("ja", 30)) == [" 67%  tokens: 2 of 3"]
    assert job("fr", NUMBERS.format("fr", 40)) == [
        "100%  tokens tiny en: 20 in 2 chunks, fr: 40 in 2 chunks, ja: 30 in 2 chunks"
    ]
    assert say(message="Select jobs to execute...") == [] == say(message="", event="progress", done=3, total=3)


@pytest.mark.parametrize("quiet", [False, True])
def test_a_failed_run_ends_with_the_jobs_error(say, job, quiet):
    error = "lape tokens: fr.parquet: no such file; make it"
    assert job("fr", f"a first line\n{error}\n", well=False, quiet=quiet) == ([] if quiet else ["tokens fr failed"])
    job("fr", f"{error}\n", well=False, quiet=quiet)  # Snakemake says so again at the end
    raised = "CalledProcessError in file rules/text.smk, line 3: Command '...' returned non-zero exit status 1."
    assert say(logging.ERROR, raised, event="error", quiet=quiet) == []
    last = "WorkflowError:\nAt least one job did not complete successfully."
    said = say(logging.ERROR, last, event="error", quiet=quiet)
    assert said == ["tokens fr: all it said is in fr", error]


def test_a_job_that_is_killed_and_then_goes_well_leaves_no_error(say, job):
    assert job("en", "", well=False) == ["tokens en failed"]
    assert say(message="Trying to restart job 0.") == ["tokens en is tried again"]
    job("en", NUMBERS.format("en", 20))
    last = "WorkflowError: At least one job did not complete successfully."
    assert say(logging.ERROR, last, event="error") == [last]
    job("ja", "", well=False)
    assert (
        say(logging.ERROR, last, event="error")[-1] == "tokens ja: ended without a word; was it killed for its memory?"
    )


@pytest.mark.parametrize(
    ("settings", "mode", "attached"),
    [
        ({}, "DEFAULT", True),
        ({"quiet": {"rules"}}, "DEFAULT", True),
        ({"verbose": True}, "DEFAULT", False),
        ({"printshellcmds": True}, "DEFAULT", False),
        ({}, "SUBPROCESS", False),
    ],
)
def test_who_wants_more_has_snakemakes_own_handler(monkeypatch, settings, mode, attached):
    logger, plain = logging.getLogger("snakemake.logging"), logging.StreamHandler(io.StringIO())
    plain.name = "DefaultStreamHandler"
    monkeypatch.setattr(logger, "handlers", [plain])
    usual = {"verbose": False, "printshellcmds": False, "debug_dag": False, "quiet": None}
    console = attach(Job(output_settings=Job(**usual | settings), exec_mode=Job(name=mode)), "tiny")
    assert logger.handlers == ([console] if attached else [plain])
    logger.handlers = [logging.StreamHandler()]  # another logger plugin
    assert attach(Job(output_settings=Job(**usual), exec_mode=Job(name="DEFAULT")), "tiny") is None


def test_before_a_run_snakemake_speaks_and_a_fault_of_the_configuration_is_its_line_alone(capsys):
    stream = io.StringIO()
    for quiet in (False, True):
        console = Console(logging.StreamHandler(stream), "tiny", quiet)
        console.handle(logging.LogRecord("", logging.INFO, "", 0, f"quiet: {quiet}", None, None))
        console.refuse("config languages: name two or more")
        raised = (
            "WorkflowError in file rules/common.smk, line 9:\nconfig languages: name two\nor more\n  File x, line 3"
        )
        record = logging.LogRecord("", logging.ERROR, "", 0, raised, None, None)
        record.event = "error"
        console.handle(record)
        assert capsys.readouterr().err == "config languages: name two or more\n"
    assert stream.getvalue() == "quiet: False\n"


def test_of_a_group_of_jobs_the_one_with_an_error_is_told(say, job):
    job("fr", NUMBERS.format("fr", 20), well=False)
    job(
        "ja", "lape tokens: unexpected error, please report it\nTraceback (most recent):\nValueError: why\n", well=False
    )
    said = say(logging.ERROR, "WorkflowError: At least one job did not complete successfully.", event="error")
    assert said == [
        "tokens ja: all it said is in ja",
        "lape tokens: unexpected error, please report it: ValueError: why",
    ]


def test_ctrl_c_is_no_fault_of_the_jobs(say, job):
    job("fr", "", well=False)
    assert say(message="Terminating processes on user request, this might take some time.") == []
    last = "WorkflowError:\nAt least one job did not complete successfully."
    assert say(logging.ERROR, last, event="error") == [
        "interrupted; what is finished is kept, and the same command goes on"
    ]


def test_summaries_share_their_labels():
    assert merged([]) == []
    assert merged(["statistics m fr: 512 tokens", "statistics m ja: 512 tokens"]) == ["statistics m fr, ja: 512 tokens"]
    assert merged(["corpus fr: 8 documents; dropped: 0", "corpus ja: 9 documents; dropped: 1"]) == [
        "corpus fr: 8 documents, ja: 9 documents"
    ]
    assert merged(["questions: 3, all", "answers: 4"]) == ["answers: 4, questions: 3"]
