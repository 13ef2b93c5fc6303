"""Claims on GPUs, with a stand-in of nvidia-smi: no GPU is needed."""

import os
import subprocess
import sys
import time

import pytest
from tiny_data import ROOT

from lape.errors import LapeError
from lape.machine import gpus

UUIDS = [f"GPU-{number}{number}-aa" for number in range(4)]


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Four cards, and locks of this test's own."""
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\nprintf '%s\\n' " + " ".join(UUIDS) + "\n")
    smi.chmod(0o755)
    (tmp_path / "locks").mkdir()
    monkeypatch.setenv("PATH", f"{smi.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "locks"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that it is put back, whatever a claim makes of it
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def start(number: int, seconds: float) -> subprocess.Popen:
    """A job that claims cards, says which, and holds them for a while in a process that took its place."""
    code = f"import os, time; print(os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True); time.sleep({seconds})"
    command = [sys.executable, "-m", "lape", "claim", str(number), "--", sys.executable, "-c", code]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_jobs_share_no_card_and_wait_for_one():
    jobs = [start(2, 60), start(1, 60)]
    held = [job.stdout.readline().strip().split(",") for job in jobs]
    assert [len(cards_of) for cards_of in held] == [2, 1] and not set(held[0]) & set(held[1])
    waiting = start(2, 0)
    time.sleep(1)
    assert waiting.poll() is None
    jobs[0].kill()  # a claim ends however its process ends
    assert set(waiting.stdout.readline().strip().split(",")) < set(UUIDS) - set(held[1])
    for job in (*jobs, waiting):
        job.kill()
        job.communicate()


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, UUIDS),
        ("2,0", [UUIDS[2], UUIDS[0]]),
        ("GPU-11", [UUIDS[1]]),
        ("1,9,2", [UUIDS[1]]),
        ("MIG-GPU-1/2/3", ["MIG-GPU-1/2/3"]),
        ("", []),
    ],
)
def test_visible_cards_are_respected(monkeypatch, visible, expected):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.visible_cards() == expected


def test_more_cards_than_there_are(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(LapeError, match="3 GPUs are wanted and 2 visible; lower gpu"):
        gpus.claim(3)


def test_without_a_driver_nothing_is_claimed(monkeypatch):
    monkeypatch.setenv("PATH", "/none")
    assert gpus.claim(1) == [] and "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_command_claims_for_itself_and_ranks_do_not(lape, monkeypatch):
    assert lape("info", "--gpus", "1")[0] == 0
    assert os.environ["CUDA_VISIBLE_DEVICES"] in UUIDS
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert lape("info", "--gpus", "9")[0] == 0
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"


def test_what_cannot_be_run_is_named(lape):
    status, messages = lape("claim", "0", "--", "no-such-command")
    assert status == 1 and "no-such-command: cannot be run" in messages
    status, messages = lape("claim", "0")
    assert status == 1 and "no command is named" in messages
