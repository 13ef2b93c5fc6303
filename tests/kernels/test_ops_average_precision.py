"""average_precision against scikit-learn, in every kind of tie and on every device."""

import numpy as np
import pytest
import torch
from op_cases import DEVICES, INF, NAN, with_threads

from lape.errors import LapeError
from lape.kernels import ops

# Each makes the responses of a few units to n sentences; `place` puts special values at a random place.
RESPONSES = {
    "random": lambda make, n: make(9, n),
    "tied": lambda make, n: (make(9, n) * 2).round(),
    "two values": lambda make, n: (make(9, n) > 1).float(),
    "constant": lambda make, n: torch.full((3, n), -2.5),
    "zeros of both signs": lambda make, n: torch.where(make(9, n) > 0, 0.0, -0.0),
    "infinities": lambda make, n: torch.where(make(9, n) > 0.5, INF, torch.where(make(9, n) > 0.5, -INF, make(9, n))),
    "subnormal": lambda make, n: (make(9, n) * 3).round() * 1e-45,
    "the largest": lambda make, n: make(9, n).sign() * torch.finfo(torch.float32).max,
    "one bit apart": lambda make, n: 1 + torch.randint(0, 3, (9, n)) * 2.0**-23,
    "no unit": lambda make, n: make(0, n),
    "transposed": lambda make, n: make(n, 9).t().contiguous(),
}


def labels_of(sizes: list[int]) -> torch.Tensor:
    """So many sentences of each language, shuffled."""
    return torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))[torch.randperm(sum(sizes))]


def expected(responses: torch.Tensor, labels: torch.Tensor, languages: int) -> np.ndarray:
    """scikit-learn's, one call for every unit, language and direction: [2, U, K]."""
    metrics = pytest.importorskip("sklearn.metrics")  # not where only the GPU is checked
    rows, own = responses.numpy(), [labels.numpy() == k for k in range(languages)]
    result = np.empty((2, len(rows), languages))
    for direction, sign in enumerate((1, -1)):
        for u, row in enumerate(rows):
            # Its check of the input refuses infinities; ranks have the same order and ties.
            ranks = np.unique(sign * row, return_inverse=True)[1]
            result[direction, u] = [metrics.average_precision_score(positive, ranks) for positive in own]
    return result


SIZES = pytest.mark.parametrize("sizes", ([1], [40], [1, 1], [20] * 6, [1, 60, 7], [3] * 40), ids=str)


@pytest.mark.parametrize("backend", ops.BACKENDS)
@SIZES
@pytest.mark.parametrize("kind", RESPONSES)
def test_equals_scikit_learn(kind, sizes, backend):
    torch.manual_seed(0)
    labels, languages = labels_of(sizes), len(sizes)
    responses = RESPONSES[kind](lambda *shape: torch.randn(shape), len(labels))
    found = ops.average_precision(responses, labels, languages, backend=backend)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected(responses, labels, languages), rtol=0, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES[1:])
@SIZES
@pytest.mark.parametrize("kind", RESPONSES)
def test_a_device_gives_what_the_cpu_gives(kind, sizes, device):
    torch.manual_seed(0)
    labels, languages = labels_of(sizes), len(sizes)
    responses = RESPONSES[kind](lambda *shape: torch.randn(shape), len(labels))
    found = ops.average_precision(responses.to(device), labels.to(device), languages)
    torch.testing.assert_close(found.cpu(), ops.average_precision(responses, labels, languages), rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_of_the_papers_size(backend):
    """500 sentences of each of six languages, at four scales of one response and rounded to bfloat16."""
    torch.manual_seed(0)
    labels = labels_of([500] * 6)
    response = torch.randn(3000) + (labels == 2)
    responses = torch.stack([response, 1e-30 * response, 1e30 * response, response.bfloat16().float()])
    found = ops.average_precision(responses, labels, 6, backend=backend).numpy()
    np.testing.assert_allclose(found, expected(responses, labels, 6), rtol=0, atol=1e-12)
    assert found[0, 0].argmax() == 2 and found[0, 0, 2] > 0.35


@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_of_perfect_and_of_useless_units(backend):
    """Worked by hand: all positives first, all last, and all in one tie, whose precision is the share."""
    labels = torch.tensor([0, 0, 1, 1, 1, 1])
    responses = torch.tensor([[6.0, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6], [7, 7, 7, 7, 7, 7]])
    found = ops.average_precision(responses, labels, 2, backend=backend)
    last = (1 / 5 + 2 / 6) / 2
    assert found[0, :, 0].tolist() == pytest.approx([1, last, 1 / 3])
    assert found[1, :, 0].tolist() == pytest.approx([last, 1, 1 / 3])
    assert found[0, :, 1].tolist() == pytest.approx([(1 / 3 + 2 / 4 + 3 / 5 + 4 / 6) / 4, 1, 2 / 3])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ops.BACKENDS)
@pytest.mark.parametrize("unit", (0, 300, 699))
def test_nan_is_refused_and_its_first_unit_named(unit, backend, device):
    responses = torch.randn(700, 30)
    responses[unit, 29] = NAN
    responses[-1, 0] = NAN
    labels = torch.arange(30) % 3
    with pytest.raises(RuntimeError, match=f"unit {unit} hold a NaN"):
        ops.average_precision(responses.to(device), labels.to(device), 3, backend=backend)


def test_is_the_same_for_any_number_of_threads():
    torch.manual_seed(0)
    labels = labels_of([50] * 4)
    responses = torch.randn(101, 200)
    one, two = (with_threads(number, lambda: ops.average_precision(responses, labels, 4)) for number in (1, 2))
    assert torch.equal(one, two)


@pytest.mark.parametrize("device", DEVICES)
def test_satisfies_torch(device):
    responses, labels = torch.randn(5, 12, device=device), torch.arange(12, device=device) % 3
    if device == "cpu":  # elsewhere there is no kernel
        torch.library.opcheck(torch.ops.lape.average_precision.default, (responses, labels, 3))
    before = responses.clone(), labels.clone()
    ops.average_precision(responses, labels, 3)
    assert torch.equal(responses, before[0]) and torch.equal(labels, before[1])


def test_the_backend_is_named_truly():
    assert ops.active_backend("cpu", cuda=False) == "cpp"
    assert ops.active_backend("cuda", cuda=False) == "reference"
    with pytest.raises(LapeError, match="'fast' is unknown"):
        ops.average_precision(torch.zeros(1, 2), torch.tensor([0, 1]), 2, backend="fast")


ZEROS = torch.zeros(2, 3)


@pytest.mark.parametrize("backend", ops.BACKENDS)
@pytest.mark.parametrize(
    ("responses", "labels", "languages", "message"),
    (
        (ZEROS.double(), torch.arange(3), 3, "responses must be float32"),
        (ZEROS.half(), torch.arange(3), 3, "responses must be float32"),
        (ZEROS[0], torch.arange(3), 3, r"responses must have shape \[units, sentences\], not \[3\]"),
        (torch.zeros(3, 2).t(), torch.arange(3), 3, "responses must be contiguous"),
        (ZEROS, torch.arange(3).int(), 3, "labels must be"),
        (ZEROS, torch.arange(2), 2, r"labels must have shape \[3\]"),
        (ZEROS, torch.arange(6)[::2], 3, "labels must be contiguous"),
        (ZEROS, torch.arange(3, device="meta"), 3, "labels must be on cpu"),
        (ZEROS, torch.arange(3), 0, "at least one language"),
        (ZEROS, torch.tensor([0, 1, 2]), 2, "label 2 of sentence 2 is not below 2"),
        (ZEROS, torch.tensor([0, -1, 1]), 2, "label -1 of sentence 1 is not below 2"),
        (ZEROS, torch.tensor([0, 2, 0]), 4, "language 1 has no sentence"),
        (torch.zeros(2, 0), torch.zeros(0, dtype=torch.int64), 1, "language 0 has no sentence"),
    ),
)
def test_bad_arguments_raise(responses, labels, languages, message, backend):
    with pytest.raises(RuntimeError, match=message):
        ops.average_precision(responses, labels, languages, backend=backend)
