"""The CUDA kernels, emulated on the CPU, against their reference: where there is no GPU, this is what runs them."""

import pytest
import torch
from emulated import EmulatedKernels, obstacle
from op_cases import (
    DTYPES,
    FACTORS,
    INF,
    NAN,
    SHORT_DTYPES,
    assert_bits,
    assert_sums,
    copy_of,
    eighths,
    every_pattern,
    groups_of,
    normal,
    random_sums,
    rounding_of,
    smallest,
)

from lape.kernels import ops
from lape.kernels.reference import FUNCTIONS

pytestmark = pytest.mark.skipif(bool(obstacle()), reason=obstacle())

# They lie between two numbers of bfloat16 or of float16: nearer to the upper or to the lower one, above or below zero.
THRESHOLDS = (-0.7, -0.1, 0.6, 3e-41)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    return EmulatedKernels(tmp_path_factory.mktemp("emulated"))


def check(kernels, x, thresholds=(), groups=1, group=None, row_block=32):
    """Statistics of x by the kernel, which must be within rounding of the reference's."""
    sums, expected = (ops.Sums.zeros(x.shape[-1], groups, thresholds) for _ in range(2))
    kernels.activation_stats(x, sums, group, row_block)
    ops.activation_stats(x, expected, group, backend="reference")
    assert_sums(sums, expected, rounding=rounding_of(x, sums, group))
    return sums


@pytest.mark.parametrize("dtype", SHORT_DTYPES)
def test_every_pattern(dtype, kernels):
    """A column has neighbours, which are alike in size, then numbers of all sizes, infinities and NaNs among them."""
    patterns = every_pattern(dtype)
    for x in (patterns.view(4096, 16).t().contiguous(), patterns.view(128, 512)):
        for row_block in (32, 256):
            check(kernels, x, THRESHOLDS, row_block=row_block)
            check(kernels, x[:, 1:].clone(), (-3e-41, 1e-8, INF), row_block=row_block)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", (7, 8, 264))
@pytest.mark.parametrize("rows", (1, 31, 300))
def test_shapes_and_groups(rows, columns, dtype, kernels):
    torch.manual_seed(0)
    x = normal(dtype, "cpu")(rows, columns)
    for group, groups in ((None, 1), (groups_of(x, -1, 1), 1), (groups_of(x, -2, 3), 3)):
        for row_block in (32, 256):
            check(kernels, x, THRESHOLDS[: rows % 5], groups, group, row_block)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_that_float32_holds_are_exact_in_every_layout(dtype, kernels):
    torch.manual_seed(0)
    make = eighths(dtype, "cpu")
    for x in (make(77, 136)[:, :128], make(77, 136)[:, 3:], make(3, 40, 64)[:, 5:], make(154, 64)[::2]):
        group = groups_of(x, -1, 3)
        sums = random_sums(x.shape[-1], 3, THRESHOLDS, "cpu")
        expected = copy_of(sums)
        kernels.activation_stats(x, sums, group)
        ops.activation_stats(x, expected, group, backend="reference")
        assert_sums(sums, expected)


@pytest.mark.parametrize("dtype", SHORT_DTYPES)
def test_the_worst_case_is_within_the_bound(dtype, kernels):
    """Each value of eight but the first is lost when it is added to the first in float32, or its square is."""
    x = torch.empty(256, 16, dtype=dtype)
    for columns, power in ((slice(0, 8), 24), (slice(8, 16), 12)):
        x[:, columns] = 2.0 ** (10 - power) * 255 / 256
        x[::32, columns] = 2.0**10
    sums = check(kernels, x, row_block=256)
    exact = x.double().sum(0), x.double().square().sum(0)
    assert (1 - sums.total[0, :8] / exact[0][:8] > 2.0**-22).all()
    assert (1 - sums.square[0, 8:] / exact[1][8:] > 2.0**-22).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_order_of_a_sum_does_not_depend_on_the_width_of_a_pack(dtype, kernels):
    torch.manual_seed(0)
    wide = normal(dtype, "cpu")(300, 264)
    wide[torch.randint(300, (20,)), torch.randint(264, (20,))] = torch.finfo(dtype).max
    narrow = torch.empty(300, 265, dtype=dtype)[:, 1:].copy_(wide)  # its rows do not start at whole packs
    for group in (None, groups_of(wide, -1, 1)):
        assert_sums(
            check(kernels, wide, group=group, row_block=256), check(kernels, narrow, group=group, row_block=256)
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row_block", (32, 256))
def test_overflow_infinity_and_nan_stay_in_their_columns(row_block, dtype, kernels):
    torch.manual_seed(0)
    x = normal(dtype, "cpu")(256, 80)
    large, tiny = torch.finfo(dtype).max, smallest(dtype)
    x[:, 3], x[:, 9], x[5:60, 17], x[:, 21] = large, -large, large, tiny
    x[100, 25], x[3, 33], x[200, 33], x[255, 41], x[0, 49] = INF, INF, -INF, NAN, NAN
    sums = check(kernels, x, (0.0, INF, -INF), row_block=row_block)
    plain = [k for k in range(80) if k not in (25, 33, 41, 49)]
    assert sums.total[0, plain].isfinite().all() and sums.square[0, plain].isfinite().all()
    assert sums.total[0, [25, 33, 41, 49]].tolist()[0] == INF and sums.total[0, [33, 41, 49]].isnan().all()
    assert sums.count[0, [3, 9, 21]].tolist() == [256, 0, 256]


@pytest.mark.parametrize("dtype", SHORT_DTYPES)
def test_every_product_is_that_of_eager_torch(dtype, kernels):
    gate = every_pattern(dtype).view(16, 4096)
    active = torch.relu(gate) + 0  # of minus zero a host's relu makes minus zero, and a device's zero
    shuffled = gate.flatten()[torch.randperm(2**16, generator=torch.Generator().manual_seed(0))].view(16, 4096)
    for up in (*(torch.full_like(gate, factor) for factor in FACTORS), gate, shuffled):
        sums = ops.Sums.zeros(4096)
        assert_bits(kernels.glu_stats(gate, up, "relu", sums), active * up)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ops.ACTIVATIONS)
def test_activations(activation, dtype, kernels):
    """The statistics are those of the rounded activation. It is eager torch's up to the last bits of a host's expf."""
    torch.manual_seed(0)
    for columns in (120, 131):
        gate, up = normal(dtype, "cpu")(77, columns), normal(dtype, "cpu")(77, columns)
        gate[3, 5], gate[4, 6], gate[5, 7] = INF, NAN, torch.finfo(dtype).max
        for group, groups in ((None, 1), (groups_of(gate, -1, 3), 3)):
            sums, expected = (ops.Sums.zeros(columns, groups, (0.5,)) for _ in range(2))
            active = kernels.glu_stats(gate, None, activation, sums, group, row_block=64)
            ops.activation_stats(active, expected, group, backend="reference")
            assert_sums(sums, expected, rounding=rounding_of(active, sums, group))
            eager = FUNCTIONS[activation](gate)
            plain = gate.abs() < 1e4  # a host and a device differ in what gelu makes of infinity
            rtol = 2 * torch.finfo(dtype).eps
            torch.testing.assert_close(active[plain], eager[plain], rtol=rtol, atol=1e-5)
            assert_bits(kernels.glu_stats(gate, up, activation, expected, group), active * up)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nll(dtype, kernels):
    torch.manual_seed(0)
    for size in (1, 7, 129, 8200, 20000, 40001):
        rows = [torch.zeros(size), torch.linspace(-40, 8, size), torch.linspace(8, -40, size), torch.randn(size) * 20]
        rows += [torch.randn(size) + shift for shift in (10_000, -30_000)]
        rows += [torch.full((size,), -10.0).index_fill(0, torch.tensor([0]), 6.0)]
        check_nll(kernels, torch.stack(rows).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", (0, 9000, 19999))
def test_nll_of_infinities_nan_and_large_numbers(place, dtype, kernels):
    logits = torch.linspace(-3, 3, 20000).repeat(8, 1)
    for row, value in enumerate((NAN, INF, -INF)):
        logits[row, place] = value
    logits[3], logits[4, :10000], logits[5, 10000:], logits[6] = -INF, -INF, -INF, logits[6] * 2.0**13
    logits[7, 5], logits[7, place] = INF, NAN
    if dtype != torch.float16:
        logits[6] *= 2.0**110
    check_nll(kernels, logits.to(dtype))


@pytest.mark.parametrize("size", (2.0**20, -1e7, 1e10, 3e11, -7e12, 1e13, 1e30))
def test_nll_of_equal_large_numbers(size, kernels):
    check_nll(kernels, torch.full((2, 20000), size))


@pytest.mark.parametrize("dtype", SHORT_DTYPES)
def test_nll_of_every_finite_pattern(dtype, kernels):
    logits = every_pattern(dtype).view(256, 256)
    check_nll(kernels, logits[logits.isfinite().all(1)], rtol=1e-6)


def check_nll(kernels, logits, rtol=0):
    """The likelihood of one value of each row by the kernel is within 1e-5 nats of the reference's."""
    target = torch.arange(len(logits)) * 31 % logits.shape[1]
    expected = ops.token_nll(logits, target, backend="reference")
    torch.testing.assert_close(kernels.token_nll(logits, target), expected, rtol=rtol, atol=1e-5, equal_nan=True)
