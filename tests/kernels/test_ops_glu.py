"""glu_stats against eager torch, on every device, dtype and layout."""

import pytest
import torch
from op_cases import (
    DEVICES,
    DTYPES,
    FACTORS,
    INF,
    LAYOUTS,
    NAN,
    SHORT_DTYPES,
    VANISHING,
    assert_bits,
    assert_sums,
    copy_of,
    eighths,
    every_pattern,
    groups_of,
    normal,
    random_sums,
    rounding_of,
    with_threads,
)

from lape.kernels import ops
from lape.kernels.reference import FUNCTIONS


@pytest.fixture(autouse=True)
def two_threads():
    """Eager's own bits depend on the threads wherever these do not share out whole vectors."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def eager(gate, up, activation):
    """The activation and the product, as a model computes them."""
    active = FUNCTIONS[activation](gate)
    return active, active if up is None else active * up


def statistics_of(active, sums, group=None):
    """`sums` with the activations' own added, by the reference."""
    expected = copy_of(sums)
    ops.activation_stats(active, expected, group, backend="reference")
    return expected


def zeros_for(gate, thresholds=()):
    """Sums over no row."""
    return ops.Sums.zeros(gate.shape[-1], 1, thresholds, gate.device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", (1, 129, 1024))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_glu_matches_reference_in_every_layout(layout, width, dtype, device):
    """With relu, whose sums are exact: one factor in the layout, then the other."""
    torch.manual_seed(0)
    make = eighths(dtype, device)
    gate, up = LAYOUTS[layout](make, width), LAYOUTS[layout](make, width)
    group = groups_of(gate, -1, 3)
    for left, right in ((gate, up.contiguous()), (gate.contiguous(), up)):
        sums = random_sums(width, 4, (0.5,), device)
        expected = copy_of(sums)
        out = ops.glu_stats(left, right, "relu", sums, group)
        assert out.is_contiguous()
        assert_bits(out, ops.glu_stats(left, right, "relu", expected, group, backend="reference"))
        assert_sums(sums, expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ops.ACTIVATIONS)
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "strided columns"])
def test_glu_has_the_bits_of_eager_torch_in_every_layout(layout, activation, dtype, device):
    """On the CPU where each thread has whole vectors of neighbours to take: else eager rounds differently itself."""
    torch.manual_seed(0)
    make = normal(dtype, device)
    gate, up = LAYOUTS[layout](make, 1024), LAYOUTS[layout](make, 1024)
    for threads in (1, 2) if device == "cpu" else (1,):
        active, product = with_threads(threads, lambda: eager(gate, up, activation))
        sums = zeros_for(gate, (0.0, 0.5))
        out = with_threads(threads, lambda sums=sums: ops.glu_stats(gate, up, activation, sums))
        assert_bits(out, product.contiguous())
        expected = statistics_of(active, zeros_for(gate, (0.0, 0.5)))
        rounding = rounding_of(active, sums) if device == "cuda" else (0, 0)
        assert_sums(sums, expected, atol=1e-9, rounding=rounding)
        if device == "cpu":
            ops.activation_stats(active, again := zeros_for(gate, (0.0, 0.5)))
            assert_sums(sums, again)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("activation", ops.ACTIVATIONS)
@pytest.mark.parametrize("rows", (128, 129, 257, 300))
@pytest.mark.parametrize("up", (True, False))
def test_float32_tiles_have_the_bits_of_eager_torch(up, rows, activation, device):
    """More rows than are computed at once, one of them left over, contiguous and as halves of a fused tensor."""
    torch.manual_seed(0)
    fused = normal(torch.float32, device)(rows, 2 * 1024)
    for gate, other in ((fused[:, :1024], fused[:, 1024:]), (fused[:, :1024].contiguous(), fused[:, 1024:])):
        active, product = eager(gate, other if up else None, activation)
        sums = zeros_for(gate)
        assert_bits(ops.glu_stats(gate, other if up else None, activation, sums), product.contiguous())
        assert torch.equal(sums.count[0], (active > 0).sum(0))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ops.ACTIVATIONS)
@pytest.mark.parametrize("layout", ("matrix", "second half", "strided columns"))
def test_count_is_that_of_the_eager_activation(layout, activation, dtype, device):
    """Also where eager rounds differently: it keeps the sign. The sums are then within rounding."""
    torch.manual_seed(0)
    gate = LAYOUTS[layout](normal(dtype, device), 131)
    sums = zeros_for(gate)
    out = ops.glu_stats(gate, None, activation, sums)
    active, _ = eager(gate, None, activation)
    assert torch.equal(sums.count[0], (active > 0).reshape(-1, 131).sum(0))
    torch.testing.assert_close(out, active.contiguous(), rtol=2 * torch.finfo(dtype).eps, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", SHORT_DTYPES)
@pytest.mark.parametrize("activation", ops.ACTIVATIONS)
def test_every_16_bit_gate(activation, dtype, device):
    """Output and sums, exact over nine rows, have eager's bits: contiguous, then as half of a fused tensor."""
    row = every_pattern(dtype, device)
    fused = row.view(64, 1024).repeat(9, 1, 2).reshape(9 * 64, 2048)[:, :1024]
    for gate in (row.repeat(9, 1), fused):
        active, _ = eager(gate, None, activation)
        sums = zeros_for(gate, (0.0, 0.5))
        assert_bits(ops.glu_stats(gate, None, activation, sums), active.contiguous())
        if gate is fused:  # unlike values share a column: the counts alone are exact
            assert torch.equal(sums.count[0], (active > 0).sum(0))
        else:
            expected = statistics_of(active, zeros_for(gate, (0.0, 0.5)))
            assert_sums(sums, expected, rounding=(0, VANISHING if device == "cuda" else 0))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", SHORT_DTYPES)
def test_products_round_as_eager_torch_does(dtype, device):
    gate = every_pattern(dtype, device)
    shuffled = gate[torch.randperm(2**16, generator=torch.Generator().manual_seed(0)).to(device)]
    for up in (*(torch.full_like(gate, factor) for factor in FACTORS), gate, gate.flip(0), shuffled):
        product = torch.relu(gate) * up
        assert_bits(ops.glu_stats(gate, up, "relu", zeros_for(gate)), product)


def test_the_factors_reach_every_kind_of_rounding():
    """The test above would pass on easier numbers: count what it covers."""
    for dtype in SHORT_DTYPES:
        gate = every_pattern(dtype).relu()
        factors = torch.tensor(FACTORS[:-2], dtype=dtype)[:, None]
        exact, rounded = gate.double() * factors.double(), gate * factors
        step = (rounded.abs().view(torch.int16) + 1).view(dtype).double() - rounded.abs().double()
        assert ((rounded.double() - exact).abs() == step / 2).sum() > 1000  # ties
        assert (rounded.isinf() & exact.isfinite()).sum() > 1000
        assert ((rounded.abs() < torch.finfo(dtype).tiny) & (rounded != 0)).sum() > 1000
        assert ((rounded == 0) & (exact != 0)).sum() > 1000


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ops.ACTIVATIONS)
def test_special_gates(activation, dtype, device):
    """NaN goes through every activation; 0 * inf is NaN; what gelu makes of infinity is eager's affair."""
    special = torch.tensor([NAN, INF, -INF, 0.0, -0.0, torch.finfo(dtype).max, torch.finfo(dtype).min, 1e-30] * 8)
    gate = special.to(device, dtype).repeat(9, 1)
    up = torch.tensor([INF, NAN, -2.0, 0.0] * 16, device=device, dtype=dtype).repeat(9, 1)
    for other in (None, up):
        active, product = eager(gate, other, activation)
        sums = zeros_for(gate, (0.5,))
        assert_bits(ops.glu_stats(gate, other, activation, sums), product)
        expected = statistics_of(active, zeros_for(gate, (0.5,)))
        assert_sums(sums, expected, rounding=(0, VANISHING if device == "cuda" else 0))
    assert active[:, 0].isnan().all() and sums.total[0, 0].isnan() and sums.count[0, 0] == 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_without_group_is_written_all_the_same(dtype, device):
    torch.manual_seed(0)
    gate, up = (normal(dtype, device)(300, 96) for _ in range(2))
    active, product = eager(gate, up, "silu")
    for group in (torch.full((300,), -1), torch.arange(300) % 4 - 2):
        sums = random_sums(96, 2, (0.5,), device)
        expected = statistics_of(active, sums, group.to(device))
        assert_bits(ops.glu_stats(gate, up, "silu", sums, group.to(device)), product)
        rounding = rounding_of(active, sums, group.to(device)) if device == "cuda" else (0, 0)
        assert_sums(sums, expected, atol=1e-9, rounding=rounding)


@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_group_out_of_range_raises_on_cpu_and_adds_nothing(backend):
    sums = ops.Sums.zeros(3, 2)
    with pytest.raises(RuntimeError, match=r"group 2.* not below 2"):
        ops.glu_stats(torch.ones(2, 3), None, "silu", sums, torch.tensor([0, 2]), backend=backend)
    assert_sums(sums, ops.Sums.zeros(3, 2))


@pytest.mark.parametrize("backend", ops.BACKENDS)
@pytest.mark.parametrize("device", DEVICES[1:])
def test_group_out_of_range_is_left_out_on_a_device(device, backend):
    gate, sums = torch.ones(3, 5, device=device), ops.Sums.zeros(5, 2, device=device)
    out = ops.glu_stats(gate, None, "relu", sums, torch.tensor([2, 1, 2**40], device=device), backend=backend)
    assert torch.equal(out, gate) and sums.rows.tolist() == [0, 1] and sums.count.sum(1).tolist() == [0, 5]


@pytest.mark.parametrize("dtype", DTYPES)
def test_cpu_sums_run_row_by_row_however_threads_and_calls_split_them(dtype):
    torch.manual_seed(0)
    gate, up = (normal(dtype, "cpu")(300, 1024) for _ in range(2))
    group = groups_of(gate, -1, 3)

    def in_parts(sizes):
        sums = ops.Sums.zeros(1024, 3, (0.5,))
        parts = zip(gate.split(sizes), up.split(sizes), group.split(sizes), strict=True)
        return torch.cat([ops.glu_stats(g, u, "silu", sums, own) for g, u, own in parts]), sums

    expected = ops.Sums.zeros(1024, 3, (0.5,))
    active, product = eager(gate, up, "silu")
    for row, own in zip(active, group, strict=True):  # row by row, in order
        ops.activation_stats(row, expected, own, backend="reference")
    for threads in (1, 2):
        for sizes in ([300], [2, 130, 160, 8]):
            out, sums = with_threads(threads, lambda sizes=sizes: in_parts(sizes))
            assert_bits(out, product)
            assert_sums(sums, expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_glu_repeats_to_the_last_bit(dtype, device):
    torch.manual_seed(0)
    gate, up = (normal(dtype, device)(2000, 192) for _ in range(2))
    group = groups_of(gate, -1, 3)
    results = []
    for _ in range(4):
        sums = ops.Sums.zeros(192, 3, (0.5,), device)
        results.append((ops.glu_stats(gate, up, "gelu_tanh", sums, group), sums))
    for out, sums in results[1:]:
        assert_bits(out, results[0][0])
        assert_sums(sums, results[0][1])


@pytest.mark.parametrize("backend", ops.BACKENDS)
@pytest.mark.parametrize(
    ("gate", "up", "activation", "message"),
    (
        (torch.zeros(2, 3).double(), None, "silu", "gate must be float32, bfloat16 or float16"),
        (torch.tensor(1.0), None, "silu", "at least one dimension"),
        (torch.zeros(2, 3), None, "tanh", "'tanh' is unknown; there are silu, .*quick_gelu"),
        (torch.zeros(2, 3), torch.zeros(2, 3).half(), "silu", "up must be .* as gate"),
        (torch.zeros(2, 3), torch.zeros(3), "silu", r"up must have shape \[2, 3\] as gate"),
        (torch.zeros(2, 3), torch.zeros(2, 3, device="meta"), "silu", "up must be on cpu"),
        (torch.zeros(2, 4), None, "silu", r"count must have shape \[1, 4\]"),
    ),
)
def test_bad_glu_arguments_raise(gate, up, activation, message, backend):
    with pytest.raises(RuntimeError, match=message):
        ops.glu_stats(gate, up, activation, ops.Sums.zeros(3), backend=backend)


@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_five_thresholds_are_refused(backend):
    with pytest.raises(RuntimeError, match="4 thresholds, not 5"):
        ops.glu_stats(torch.zeros(2, 3), None, "silu", ops.Sums.zeros(3, 1, (0.0,) * 5), backend=backend)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ops.BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_overwriting_the_gate_gives_the_same_bits(dtype, backend, device):
    torch.manual_seed(0)
    gate, up = (torch.randn(2, 37, 1200, device=device).to(dtype) for _ in range(2))
    for rows in (slice(None), slice(3, None)):  # in place, and where that cannot be
        sums, expected = zeros_for(gate), zeros_for(gate)
        product = ops.glu_stats(gate[:, rows], up[:, rows], "silu", expected, backend=backend)
        out = ops.glu_stats(gate.clone()[:, rows], up[:, rows], "silu", sums, backend=backend, overwrite=True)
        assert torch.equal(out, product) and out.is_contiguous()
        for one, other in zip(sums[:5], expected[:5], strict=True):
            assert torch.equal(one, other)
    if device == "cpu" and backend == "extension":
        own = gate.clone()
        assert ops.glu_stats(own, up, "silu", zeros_for(gate), overwrite=True).data_ptr() == own.data_ptr()


def test_more_columns_than_a_tile_has_values():
    gate = torch.randn(3, 70_000)
    product = with_threads(1, lambda: ops.glu_stats(gate, gate, "relu", zeros_for(gate)))
    assert torch.equal(product, torch.relu(gate) * gate)
