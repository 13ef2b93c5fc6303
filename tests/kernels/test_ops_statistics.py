"""activation_stats against its reference, on every device, dtype and layout."""

import pytest
import torch
from op_cases import (
    DEVICES,
    DTYPES,
    INF,
    LAYOUTS,
    NAN,
    SHORT_DTYPES,
    VANISHING,
    assert_sums,
    copy_of,
    eighths,
    every_pattern,
    groups_of,
    normal,
    random_sums,
    rounding_of,
    smallest,
    with_threads,
)

from lape.kernels import ops

THRESHOLDS = (-1.0, 0.0, 0.5, 0.6)


def statistics_of(x, thresholds=(), groups=1, group=None, **settings):
    """Sums over x, from zero."""
    sums = ops.Sums.zeros(x.shape[-1], groups, thresholds, x.device)
    ops.activation_stats(x, sums, group, **settings)
    return sums


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", (1, 7, 129, 2048))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_statistics_match_reference_in_every_layout(layout, width, dtype, device):
    torch.manual_seed(0)
    x = LAYOUTS[layout](eighths(dtype, device), width)
    for group, groups, thresholds in ((None, 1, ()), (groups_of(x, -1, 3), 4, THRESHOLDS)):
        sums = random_sums(width, groups, thresholds, device)
        expected = copy_of(sums)
        ops.activation_stats(x, sums, group)
        ops.activation_stats(x, expected, group, backend="reference")
        assert_sums(sums, expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_are_those_of_their_definition(dtype, device):
    x = torch.tensor([[-1.5, 0.5], [0.5, 0.625], [2.0, 0.0]], device=device, dtype=dtype)
    for backend in ops.BACKENDS:
        sums = statistics_of(x, (0.5, -1.0), groups=2, group=torch.tensor([1, -7, 1], device=device), backend=backend)
        assert sums.count.tolist() == [[0, 0], [1, 1]]
        assert sums.total.tolist() == [[0, 0], [0.5, 0.5]]
        assert sums.square.tolist() == [[0, 0], [6.25, 0.25]]
        assert sums.above.tolist() == [[[0, 0], [1, 0]], [[0, 0], [1, 2]]]
        assert sums.rows.tolist() == [0, 2]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ops.BACKENDS)
@pytest.mark.parametrize("thresholds", [THRESHOLDS[:number] for number in range(5)])
def test_up_to_four_thresholds(thresholds, backend, device):
    """0.6 is none of the three formats' numbers: the threshold is its float32, next below which lies a value."""
    near = torch.tensor(0.6)
    values = [
        -1.0,
        -0.5,
        0.0,
        0.5,
        torch.nextafter(near, -near).item(),
        0.6,
        torch.nextafter(near, 2 * near).item(),
        NAN,
    ]
    x = torch.tensor(values, device=device).repeat(9, 1)
    above = statistics_of(x, thresholds, backend=backend).above
    hits = [[9 * (torch.tensor(value) > torch.tensor(limit)).item() for value in values] for limit in thresholds]
    assert above[:, 0].tolist() == hits
    if len(thresholds) == 4:
        assert hits[3] == [0, 0, 0, 0, 0, 0, 9, 0]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rows", (1, 8, 37, 700))
@pytest.mark.parametrize("pattern", ("one each", "runs", "mixed", "only the last", "all negative", "no group"))
def test_every_row_joins_its_group(pattern, rows, device):
    groups = 1 if pattern == "no group" else 6
    group = {
        "one each": torch.arange(rows) % 6,
        "runs": torch.arange(rows) * 5 // rows,  # the last group stays empty
        "mixed": torch.randint(-3, 6, (rows,), generator=torch.Generator().manual_seed(rows)),
        "only the last": torch.full((rows,), 5),
        "all negative": torch.full((rows,), -(2**40)),
        "no group": None,
    }[pattern]
    torch.manual_seed(0)
    x = eighths(torch.bfloat16, device)(rows, 130)
    sums = random_sums(130, groups, (0.5,), device)
    expected = copy_of(sums)
    ops.activation_stats(x, sums, None if group is None else group.to(device))
    for g in range(groups):
        own = x if group is None else x[(group == g).to(device)]
        expected.count[g] += (own > 0).sum(0)
        expected.total[g] += own.double().sum(0)
        expected.square[g] += own.double().square().sum(0)
        expected.above[0, g] += (own > 0.5).sum(0)
        expected.rows[g] += len(own)
    assert_sums(sums, expected)


@pytest.mark.parametrize("backend", ops.BACKENDS)
@pytest.mark.parametrize("group", (2, 2**40))
def test_group_out_of_range_raises_on_cpu_and_adds_nothing(group, backend):
    sums = ops.Sums.zeros(3, 2)
    with pytest.raises(RuntimeError, match=f"group {group}.* not below 2"):
        ops.activation_stats(torch.ones(2, 3), sums, torch.tensor([0, group]), backend=backend)
    assert_sums(sums, ops.Sums.zeros(3, 2))


@pytest.mark.parametrize("backend", ops.BACKENDS)
@pytest.mark.parametrize("device", DEVICES[1:])
@pytest.mark.parametrize("groups", (1, 2))
def test_group_out_of_range_is_left_out_on_a_device(groups, device, backend):
    group = torch.tensor([0, groups, 2**40, groups - 1], device=device)
    sums = statistics_of(torch.ones(4, 3, device=device), (0.5,), groups, group, backend=backend)
    assert sums.rows.sum() == 2 and sums.count.sum(0).tolist() == [2, 2, 2]


@pytest.mark.parametrize("dtype", DTYPES)
def test_cpu_sums_run_row_by_row_however_threads_and_calls_split_them(dtype):
    torch.manual_seed(0)
    x = torch.randn(203, 2100).to(dtype)
    group = groups_of(x, -1, 3)
    expected = ops.Sums.zeros(2100, 3, (0.5,))
    for row, g in zip(x, group.tolist(), strict=True):
        if g >= 0:
            expected.count[g] += row > 0
            expected.total[g] += row.double()
            expected.square[g] += row.double().square()
            expected.above[0, g] += row > 0.5
            expected.rows[g] += 1

    def in_parts():
        sums = ops.Sums.zeros(2100, 3, (0.5,))
        sizes = [1, 64, 100, 38]
        for part, groups in zip(x.split(sizes), group.split(sizes), strict=True):
            ops.activation_stats(part, sums, groups)
        return sums

    for threads in (1, 2):
        assert_sums(with_threads(threads, lambda: statistics_of(x, (0.5,), 3, group)), expected)
        assert_sums(with_threads(threads, in_parts), expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_real_values_are_close_to_reference_and_repeat(dtype, device):
    torch.manual_seed(0)
    x = normal(dtype, device)(1500, 300)
    for group, groups in ((None, 1), (groups_of(x, -1, 3), 3)):
        sums = statistics_of(x, THRESHOLDS, groups, group)
        rounding = rounding_of(x, sums, group) if device == "cuda" else (0, 0)
        expected = statistics_of(x, THRESHOLDS, groups, group, backend="reference")
        assert_sums(sums, expected, atol=1e-9, rounding=rounding)
        for _ in range(3):
            assert_sums(statistics_of(x, THRESHOLDS, groups, group), sums)


@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_sums_hold_no_graph(backend):
    sums = statistics_of(torch.ones(4, 3, requires_grad=True), backend=backend)
    assert not sums.total.requires_grad and not sums.square.requires_grad and sums.count.tolist() == [[4, 4, 4]]


@pytest.mark.parametrize("device", DEVICES)
def test_counters_pass_two_to_the_31(device):
    sums = ops.Sums.zeros(3, 1, (0.5,), device)
    start = torch.tensor([2**31 - 1, 2**32 - 1, 2**40], device=device)
    sums.count[0], sums.above[0, 0], sums.rows[0] = start, start, 2**32 - 2
    ops.activation_stats(torch.ones(5, 3, device=device), sums)
    assert torch.equal(sums.count[0], start + 5) and torch.equal(sums.above[0, 0], start + 5)
    assert sums.rows.item() == 2**32 + 3


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values_count_in_their_own_dtype(dtype, device):
    tiny, large = smallest(dtype), torch.finfo(dtype).max
    ordinary = torch.tensor([NAN, -NAN, INF, -INF, 0.0, -0.0, large], dtype=dtype)
    x = torch.cat([ordinary, tiny, -tiny]).to(device)
    sums = statistics_of(x.repeat(9, 1), (0.0, INF, -INF))
    assert sums.count[0].tolist() == [0, 0, 9, 0, 0, 0, 9, 9, 0]
    assert sums.above[:, 0].tolist() == [[0, 0, 9, 0, 0, 0, 9, 9, 0], [0] * 9, [0, 0, 9, 0, 9, 9, 9, 9, 9]]
    small = tiny.double().item()
    total = [NAN, NAN, INF, -INF, 0.0, 0.0, 9 * large, 9 * small, -9 * small]
    square = [NAN, NAN, INF, INF, 0.0, 0.0, 9 * large**2, 9 * small**2, 9 * small**2]
    squares_vanish = device == "cuda" and dtype == torch.bfloat16  # below float32's smallest number
    for actual, exact, atol in ((sums.total, total, 0), (sums.square, square, VANISHING if squares_vanish else 0)):
        exact = torch.tensor([exact], dtype=torch.float64)
        torch.testing.assert_close(actual.cpu(), exact, rtol=0, atol=atol, equal_nan=True)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_of_both_signs_and_late_nans_make_nan(dtype, device):
    x = torch.ones(300, 40, device=device, dtype=dtype)
    x[3, 7], x[290, 7], x[299, 11], x[0, 13] = INF, -INF, NAN, NAN
    sums = statistics_of(x)
    assert sums.total[0].isnan().nonzero().flatten().tolist() == [7, 11, 13]
    assert sums.square[0].isnan().nonzero().flatten().tolist() == [11, 13] and sums.square[0, 7] == INF
    assert sums.count[0].unique().tolist() == [299, 300]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", SHORT_DTYPES)
def test_every_16_bit_pattern(dtype, device):
    """Nine times the same value is exact in float64, and so is its square; on CUDA four times in float32, too."""
    x = every_pattern(dtype, device).expand(9, -1)
    expected = statistics_of(x, THRESHOLDS, backend="reference")
    assert_sums(statistics_of(x, THRESHOLDS), expected, rounding=(0, VANISHING if device == "cuda" else 0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormals_count_where_the_processor_flushes_them(dtype):
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormals")
    try:
        sums = with_threads(1, lambda: statistics_of(smallest(dtype).expand(9, 1)))
    finally:
        torch.set_flush_denormal(False)
    assert sums.count.item() == 9


def _with(**changed):
    """Arguments of activation_stats for two rows of three neurons, two groups, one threshold."""
    sums = ops.Sums.zeros(3, 2, (0.5,))
    given = {"x": torch.zeros(2, 3), "group": torch.zeros(2, dtype=torch.int64)} | changed
    return given["x"], sums._replace(**{k: v for k, v in changed.items() if k in sums._fields}), given["group"]


@pytest.mark.parametrize("backend", ops.BACKENDS)
@pytest.mark.parametrize(
    ("changed", "message"),
    (
        ({"x": torch.zeros(2, 3, dtype=torch.float64)}, "x must be float32, bfloat16 or float16"),
        ({"x": torch.tensor(1.0)}, "at least one dimension"),
        ({"x": torch.zeros(2, 4)}, r"count must have shape \[2, 4\]"),
        ({"thresholds": (0.0,) * 5}, "4 thresholds, not 5"),
        ({"thresholds": ()}, r"above must have shape \[0, 2, 3\]"),
        ({"group": torch.zeros(2)}, "group must be .*(int64|Long)"),
        ({"group": torch.zeros(3, dtype=torch.int64)}, r"group must have shape \[2\]"),
        ({"group": torch.zeros(2, 2, dtype=torch.int64)[:, 0]}, "group must be contiguous"),
        ({"group": torch.zeros(2, dtype=torch.int64, device="meta")}, "group must be on cpu"),
        ({"count": torch.zeros(2, 3)}, "count must be .*(int64|Long)"),
        ({"count": torch.zeros(3, dtype=torch.int64)}, r"count must have shape \[groups, neurons\]"),
        ({"total": torch.zeros(2, 3)}, "total must be .*(float64|Double)"),
        ({"square": torch.zeros(3, 2, dtype=torch.float64).t()}, "square must be contiguous"),
        ({"above": torch.zeros(2, 3, dtype=torch.int64)}, r"above must have shape \[1, 2, 3\]"),
        ({"rows": torch.zeros(1, dtype=torch.int64)}, r"rows must have shape \[2\]"),
        ({"rows": torch.zeros(2, dtype=torch.int64, device="meta")}, "rows must be on cpu"),
    ),
)
def test_bad_statistics_arguments_raise(changed, message, backend):
    x, sums, group = _with(**changed)
    with pytest.raises(RuntimeError, match=message):
        ops.activation_stats(x, sums, group, backend=backend)


@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_no_group_at_all_is_refused(backend):
    with pytest.raises(RuntimeError, match="at least one group"):
        ops.activation_stats(torch.zeros(2, 3), ops.Sums.zeros(3, 0), backend=backend)


@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_rows_without_neurons_are_counted(backend):
    sums = statistics_of(torch.zeros(2, 3, 0), groups=2, group=torch.tensor([[0, 1, -1], [1, 1, 1]]), backend=backend)
    assert sums.rows.tolist() == [1, 4]
