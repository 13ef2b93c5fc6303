"""Average precision from stored responses: the files are written by hand, the values are scikit-learn's."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from response_artifacts import LANGUAGES, LINEAR, UNITS, drawn, labelled, write_responses
from sklearn.metrics import average_precision_score
from stages import check_refusal

from lape.audit.expert_units import check_average_precision
from lape.errors import LapeError
from lape.expert_units.average_precision import average_precision
from lape.expert_units.blocks import Responses


def scikit_learn(responses: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[2, K, U], one call for every value."""
    return np.array(
        [
            [[average_precision_score(labels == k, sign * row) for row in responses] for k in range(len(LANGUAGES))]
            for sign in (1, -1)
        ]
    )


@pytest.mark.parametrize("storage", ("float32", "float16"))
@pytest.mark.parametrize("backend", ("extension", "reference"))
def test_equals_scikit_learn_over_blocks_and_chunks(backend, storage, tmp_path):
    labels = labelled()
    values = drawn(labels)
    responses = Responses.load(write_responses(tmp_path / "responses.json", values, labels, storage=storage))
    seen = []
    found = average_precision(responses, backend=backend, memory=7 * values[0].nbytes, on_chunk=seen.append)
    assert found.shape == (2, 3, UNITS) and found.dtype == np.float64
    assert len(seen) > 3 and sum(seen) == UNITS
    expected = scikit_learn(values.astype(storage).astype(np.float32), labels)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def run(lape, folder: Path, *options: str, name: str = "average_precision") -> Path:
    """The command on the responses in a folder; returns its header."""
    output = folder / f"{name}.npy"
    status, messages = lape(
        *("average_precision", "--responses", folder / "responses.json", *options, "--output", output)
    )
    assert not status, messages
    return output.with_suffix(".json")


def test_the_command_writes_what_it_says(lape, tmp_path):
    labels = labelled()
    values = drawn(labels)
    write_responses(tmp_path / "responses.json", values, labels)
    one = run(lape, tmp_path, "--threads", "1", name="one")
    two = run(lape, tmp_path, "--threads", "2", name="two")
    assert one.with_suffix(".npy").read_bytes() == two.with_suffix(".npy").read_bytes()
    for half in (1, 2):
        # Every second sentence of each language, in the order of its numbers, which is that of the columns here.
        own = [column for k in range(3) for column in np.flatnonzero(labels == k)[half - 1 :: 2]]
        path = run(lape, tmp_path, "--half", str(half), name=f"half-{half}")
        expected = scikit_learn(values[:, own], labels[own])
        np.testing.assert_allclose(np.load(path.with_suffix(".npy")), expected, rtol=0, atol=1e-12)
        written = json.loads(path.read_text())
        assert written["artifact"] == "average_precision_half" and written["sentences"] == len(own)
        assert list(check_average_precision(path, written)) == []
        forged = written | {"parameters": written["parameters"] | {"half": 3 - half}}
        assert "scoring unit 0 again" in next(check_average_precision(path, forged))
    header = json.loads(one.read_text())
    np.testing.assert_allclose(np.load(one.with_suffix(".npy")), scikit_learn(values, labels), rtol=0, atol=1e-12)
    assert header["languages"] == list(LANGUAGES) and header["positives"] == dict.fromkeys(LANGUAGES, 50)
    assert (header["units"], header["sentences"], header["neuron_part"]) == (UNITS, 150, "up")
    assert header["linear_layers"] == LINEAR and header["backend"] == "cpp"
    reference = json.loads(run(lape, tmp_path, "--backend", "reference", name="reference").read_text())
    assert reference["backend"] == "reference"


def test_a_nan_is_refused_and_its_unit_named(lape, tmp_path):
    labels = labelled()
    values = drawn(labels)
    values[35, 149] = np.nan
    header = write_responses(tmp_path / "responses.json", values, labels)
    output = tmp_path / "average_precision.npy"
    status, messages = lape("average_precision", "--responses", header, "--output", output)
    check_refusal(status, messages, "average_precision", "unit 3 of mlp.up in layer 2 (index 1)", "NaN")
    assert not output.exists()


@pytest.mark.parametrize("threads", ("0", "-1"))
def test_threads_are_one_or_more(threads, lape, tmp_path, capsys):
    words = ("--responses", tmp_path / "responses.json", "--threads", threads, "--output", tmp_path / "ap.npy")
    with pytest.raises(SystemExit):
        lape("average_precision", *words)
    assert f"argument --threads: {threads} is no number above 0" in capsys.readouterr().err


def test_a_language_without_a_sentence_is_refused(tmp_path):
    labels = np.random.default_rng(0).integers(0, 2, 100)
    header = write_responses(tmp_path / "responses.json", drawn(labels), labels)
    with pytest.raises(LapeError, match="no sentence of fr; "):
        average_precision(Responses.load(header))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_one_line(lape, tmp_path):
    header = write_responses(tmp_path / "responses.json", drawn(labelled()), labelled())
    words = ("average_precision", "--responses", header, "--device", "cuda", "--output", tmp_path / "ap.npy")
    check_refusal(*lape(*words), "average_precision", "cuda")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same(lape, tmp_path):
    labels = labelled()
    values = drawn(labels)
    write_responses(tmp_path / "responses.json", values, labels)
    header = run(lape, tmp_path, "--device", "cuda")
    np.testing.assert_allclose(np.load(header.with_suffix(".npy")), scikit_learn(values, labels), rtol=0, atol=1e-12)
    assert json.loads(header.read_text())["backend"] == "reference"
