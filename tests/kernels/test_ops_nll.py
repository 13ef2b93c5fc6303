"""token_nll against its reference, on every device, dtype and layout."""

import pytest
import torch
from op_cases import DEVICES, DTYPES, INF, LAYOUTS, NAN, SHORT_DTYPES, every_pattern, with_threads

from lape.kernels import ops


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vocabulary", (1, 7, 129, 2048, 50257))
@pytest.mark.parametrize("layout", ("matrix", "no rows", "one row", "sliced columns", "strided rows", "transposed"))
def test_nll_matches_reference_in_every_layout(layout, vocabulary, dtype, device):
    torch.manual_seed(0)
    logits = LAYOUTS[layout](lambda *shape: (6 * torch.randn(shape)).to(device, dtype), vocabulary)[:5]
    target = torch.randint(0, vocabulary, (2 * len(logits),), device=device)[::2]
    nll = ops.token_nll(logits, target)
    assert nll.dtype == torch.float64 and nll.shape == target.shape
    torch.testing.assert_close(nll, ops.token_nll(logits, target, backend="reference"), rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nll_of_a_large_vocabulary_is_within_1e_5(dtype, device):
    torch.manual_seed(0)
    size = 262144
    rows = [
        torch.zeros(size),  # uniform: log V
        torch.linspace(-40, 8, size),  # the maximum rises all along
        torch.linspace(8, -40, size),
        torch.full((size,), -10.0).index_fill(0, torch.tensor([0]), 6.0),  # one value and a long tail beneath it
        torch.randn(size) * 20,
        torch.randn(size) + 10_000,
    ]
    logits = torch.stack(rows).to(device, dtype)
    target = torch.randint(0, size, (len(rows),), device=device)
    nll = ops.token_nll(logits, target)
    torch.testing.assert_close(nll, ops.token_nll(logits, target, backend="reference"), rtol=0, atol=1e-5)
    assert torch.equal(nll, ops.token_nll(logits, target))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", (0, 700, 1499))
def test_nll_of_infinities_and_nan(place, dtype, device):
    """The special value stands in the first, a middle or the last block of columns."""
    logits = torch.linspace(-3, 3, 1500).repeat(6, 1)
    for row, value in ((0, NAN), (1, INF), (2, INF), (3, -INF), (4, -INF)):
        logits[row, place] = value
    logits[5] = -INF
    logits = logits.to(device, dtype)
    target = torch.tensor([9, place, 9, place, 9, 9], device=device)
    nll = ops.token_nll(logits, target).cpu()
    assert nll.isnan().tolist() == [True, True, False, False, False, True]
    assert nll[2:4].tolist() == [INF, INF] and nll[4].isfinite()
    expected = ops.token_nll(logits, target, backend="reference").cpu()
    torch.testing.assert_close(nll, expected, rtol=0, atol=1e-5, equal_nan=True)


def test_nll_of_nan_and_infinity_together_is_nan():
    logits = torch.zeros(2, 3000)
    logits[0, 5], logits[0, 2500] = NAN, INF
    logits[1, 5], logits[1, 2500] = INF, NAN
    assert ops.token_nll(logits, torch.tensor([0, 0])).isnan().all()


def test_nll_is_the_same_for_any_number_of_threads():
    torch.manual_seed(0)
    logits, target = torch.randn(9, 5000).bfloat16(), torch.arange(9)
    one, two = (with_threads(number, lambda: ops.token_nll(logits, target)) for number in (1, 2))
    assert torch.equal(one, two)


@pytest.mark.parametrize("backend", ops.BACKENDS)
@pytest.mark.parametrize("target", (-1, 4, 2**40))
def test_target_out_of_range_raises_on_cpu(target, backend):
    with pytest.raises(RuntimeError, match="outside the vocabulary of 4"):
        ops.token_nll(torch.zeros(2, 4), torch.tensor([0, target]), backend=backend)


@pytest.mark.parametrize("backend", ops.BACKENDS)
@pytest.mark.parametrize("device", DEVICES[1:])
def test_target_out_of_range_is_nan_on_a_device(device, backend):
    nll = ops.token_nll(torch.zeros(3, 4, device=device), torch.tensor([0, -1, 4], device=device), backend=backend)
    assert nll.isnan().tolist() == [False, True, True]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", SHORT_DTYPES)
def test_nll_of_every_finite_16_bit_pattern(dtype, device):
    """In rows of 256 neighbours, half of them negative."""
    logits = every_pattern(dtype, device).view(256, 256)
    logits = logits[logits.isfinite().all(1)]
    target = torch.arange(len(logits), device=device)
    nll, expected = (ops.token_nll(logits, target, backend=backend) for backend in ops.BACKENDS)
    torch.testing.assert_close(nll, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("backend", ops.BACKENDS)
@pytest.mark.parametrize(
    ("logits", "target", "message"),
    (
        (torch.zeros(2, 3, dtype=torch.int32), torch.zeros(2, dtype=torch.int64), "logits must be float32"),
        (torch.zeros(1, 2, 3), torch.zeros(2, dtype=torch.int64), "logits must have shape"),
        (torch.zeros(2, 3), torch.zeros(2, dtype=torch.int32), "target must be int64"),
        (torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), r"target must have shape \[2\]"),
        (torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64, device="meta"), "must be on one device"),
    ),
)
def test_bad_nll_arguments_raise(logits, target, message, backend):
    with pytest.raises(RuntimeError, match=message):
        ops.token_nll(logits, target, backend=backend)
