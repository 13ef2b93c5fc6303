"""The operators against their reference, on every device, dtype and layout."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lape import ops
from lape.artifact import versions
from lape.cli import main
from lape.errors import LapeError

ROOT = Path(__file__).resolve().parent.parent
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
INF, NAN = float("inf"), float("nan")


def _cuda_obstacle() -> str:
    if not torch.cuda.is_available():
        return "no CUDA device"
    return "" if (ops.build_info() or {}).get("cuda") else "the extension was built without CUDA"


DEVICES = (
    "cpu",
    pytest.param("cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(bool(_cuda_obstacle()), reason=_cuda_obstacle())]),
)
LAYOUTS = {
    "vector": lambda make, n: make(n),
    "matrix": lambda make, n: make(37, n),
    "batch": lambda make, n: make(2, 9, n),
    "no rows": lambda make, n: make(0, n),
    "one row": lambda make, n: make(1, n),
    "many row blocks": lambda make, n: make(64 * 17 + 1, n),
    "transposed": lambda make, n: make(n, 33).t(),
    "sliced columns": lambda make, n: make(33, n + 5)[:, 3 : n + 3],
    "strided columns": lambda make, n: make(20, 2 * n)[:, ::2],
    "strided rows": lambda make, n: make(66, n)[::2],
    "sliced positions": lambda make, n: make(3, 12, n)[:, 5:],
    "permuted": lambda make, n: make(4, 6, n).transpose(0, 1),
    "three strides": lambda make, n: make(2, 3, 4, 7, n)[:, :2, :3, 1:6],
    "expanded rows": lambda make, n: make(1, n).expand(20, n),
    "expanded columns": lambda make, n: make(20, 1).expand(20, n),
}


def eighths(dtype, device):
    """Makes tensors of small multiples of 1/8, whose float64 sums are exact in any order."""
    return lambda *shape: (torch.randint(-32, 33, shape) / 8).to(device, dtype)


def statistics_of(x, function=ops.activation_stats, **settings):
    """Count and total of x, from zero."""
    count = torch.zeros(x.shape[-1], dtype=torch.int64, device=x.device)
    total = torch.zeros(x.shape[-1], dtype=torch.float64, device=x.device)
    function(x, count, total, **settings)
    return count, total


def with_threads(number, function):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        return function()
    finally:
        torch.set_num_threads(before)


def every_pattern(dtype):
    """All 65,536 values of a 16-bit format, one a column."""
    return torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", (1, 7, 129, 2048))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_statistics_match_reference_in_every_layout(layout, width, dtype, device):
    torch.manual_seed(0)
    x = LAYOUTS[layout](eighths(dtype, device), width)
    count = torch.randint(0, 100, (width,), device=device)
    total = torch.randint(-800, 800, (width,), device=device).double() / 8
    expected_count, expected_total = count.clone(), total.clone()
    ops.activation_stats(x, count, total)
    ops.activation_stats(x, expected_count, expected_total, backend="reference")
    assert torch.equal(count, expected_count)
    assert torch.equal(total, expected_total)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cpu_totals_are_row_by_row_sums_however_threads_and_calls_split_them(dtype):
    torch.manual_seed(0)
    x = torch.randn(203, 2100).to(dtype)
    total = torch.zeros(2100, dtype=torch.float64)
    for row in x:
        total += row.double()
    count = (x > 0).sum(0)
    for threads in (1, 2):
        results = with_threads(threads, lambda: statistics_of(x))
        assert torch.equal(results[0], count) and torch.equal(results[1], total)

    def in_parts(x, count, total):
        for part in x.split([1, 64, 100, 38]):
            ops.activation_stats(part, count, total)

    assert torch.equal(statistics_of(x, in_parts)[1], total)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_statistics_of_real_values_are_close_to_reference_and_repeat(dtype, device):
    torch.manual_seed(0)
    x = torch.randn(1000, 300).to(device, dtype)
    count, total = statistics_of(x)
    expected_count, expected_total = statistics_of(x, backend="reference")
    assert torch.equal(count, expected_count)
    torch.testing.assert_close(total, expected_total, rtol=0, atol=1e-10)
    assert torch.equal(total, statistics_of(x)[1])


@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_totals_hold_no_graph(backend):
    count, total = statistics_of(torch.ones(4, 3, requires_grad=True), backend=backend)
    assert not total.requires_grad and count.tolist() == [4, 4, 4]


@pytest.mark.parametrize("device", DEVICES)
def test_count_passes_two_to_the_31(device):
    start = torch.tensor([2**31 - 1, 2**31, 2**40], device=device)
    count = start.clone()
    ops.activation_stats(torch.ones(5, 3, device=device), count, torch.zeros(3, dtype=torch.float64, device=device))
    assert torch.equal(count, start + 5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values_count_in_their_own_dtype(dtype, device):
    # The smallest subnormal of each format: rounding it to a wider flush-to-zero format would lose it.
    smallest = torch.tensor([1], dtype=torch.int32 if dtype == torch.float32 else torch.int16).view(dtype)
    ordinary = torch.tensor([NAN, -NAN, INF, -INF, 0.0, -0.0, torch.finfo(dtype).max], dtype=dtype)
    x = torch.cat([ordinary, smallest, -smallest]).to(device)
    count, total = statistics_of(x.repeat(9, 1))
    assert count.tolist() == [0, 0, 9, 0, 0, 0, 9, 9, 0]
    exact = [NAN, NAN, INF, -INF, 0.0, 0.0, 9 * torch.finfo(dtype).max, 9 * smallest.item(), -9 * smallest.item()]
    torch.testing.assert_close(total.cpu(), torch.tensor(exact, dtype=torch.float64), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16))
def test_every_16_bit_pattern(dtype, device):
    x = every_pattern(dtype).to(device).expand(9, -1)
    count, total = statistics_of(x)
    expected_count, expected_total = statistics_of(x, backend="reference")
    assert torch.equal(count, expected_count)
    torch.testing.assert_close(total, expected_total, rtol=1e-15, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormals_count_where_the_processor_flushes_them(dtype):
    smallest = torch.tensor([1], dtype=torch.int32 if dtype == torch.float32 else torch.int16).view(dtype)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormals")
    try:
        count, _ = with_threads(1, lambda: statistics_of(smallest.expand(9, 1)))
    finally:
        torch.set_flush_denormal(False)
    assert count.item() == 9


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


def test_rows_that_are_merely_strided_are_not_copied():
    x = torch.zeros(3, 12, 40).bfloat16()
    logits, target = torch.zeros(8, 70).bfloat16()[::2, 3:], torch.zeros(4, dtype=torch.int64)
    with torch.profiler.profile() as profile:
        statistics_of(x[:, 5:, 4:])
        ops.token_nll(logits, target)
    called = {event.key for event in profile.key_averages()}
    assert "lape::activation_stats" in called and "lape::token_nll" in called
    assert not called & {"aten::contiguous", "aten::clone", "aten::copy_", "aten::_to_copy"}


@pytest.mark.parametrize("backend", ops.BACKENDS)
@pytest.mark.parametrize(
    ("x", "count", "total", "message"),
    (
        (torch.zeros(2, 3, dtype=torch.float64), None, None, "x must be float32, bfloat16 or float16"),
        (torch.tensor(1.0), None, None, "at least one dimension"),
        (None, torch.zeros(3, dtype=torch.int32), None, "count must be int64"),
        (None, None, torch.zeros(3), "total must be float64"),
        (None, torch.zeros(4, dtype=torch.int64), None, r"must have shape \[3\]"),
        (None, None, torch.zeros(1, 3, dtype=torch.float64), r"must have shape \[3\]"),
        (None, torch.zeros(6, dtype=torch.int64)[::2], None, "must be contiguous"),
        (None, torch.zeros(3, dtype=torch.int64, device="meta"), None, "must be on one device"),
    ),
)
def test_bad_statistics_arguments_raise(x, count, total, message, backend):
    x = torch.zeros(2, 3) if x is None else x
    count = torch.zeros(3, dtype=torch.int64) if count is None else count
    total = torch.zeros(3, dtype=torch.float64) if total is None else total
    with pytest.raises(RuntimeError, match=message):
        ops.activation_stats(x, count, total, backend=backend)


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


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_operators_satisfy_torch(dtype, device):
    """Schema, declared mutation, fake kernels and tracing agree with what the kernels do."""
    x = torch.randn(5, 6, 9, device=device).to(dtype)
    count = torch.zeros(9, dtype=torch.int64, device=device)
    torch.library.opcheck(torch.ops.lape.activation_stats.default, (x[:, 1:], count, count.double()))
    torch.library.opcheck(torch.ops.lape.token_nll.default, (x[0], torch.arange(6, device=device)))


def test_active_backend_names_what_runs():
    assert ops.active_backend("cpu") == "cpp"
    assert ops.active_backend(torch.device("cuda:1"), "reference") == "reference"


def test_no_backend_falls_back_silently(monkeypatch):
    with pytest.raises(LapeError, match="backend: 'auto' is unknown; use one of extension, reference"):
        ops.active_backend("cpu", "auto")
    with pytest.raises(LapeError, match="no kernel for mps; set backend: reference"):
        ops.active_backend("mps")
    build = ops.build_info() | {"cuda": False}
    monkeypatch.setattr(ops, "_extension", type("Built", (), {"build_info": lambda: build}))
    with pytest.raises(LapeError, match=r"without CUDA.*pip install --no-build-isolation -e .*set backend: reference"):
        ops.active_backend("cuda")


def _run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True
    )


def test_package_works_where_the_extension_is_not_built():
    code = """
import sys
sys.modules["lape._C"] = None  # imports as a missing module does
import torch
from lape import ops
from lape.errors import LapeError
print(ops.build_info(), ops.token_nll(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64), backend="reference"))
try:
    ops.activation_stats(torch.zeros(1), torch.zeros(1, dtype=torch.int64), torch.zeros(1).double())
except LapeError as error:
    print(error)
"""
    result = _run_python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == "None tensor([0.], dtype=torch.float64)"
    assert "not built; build it with `pip install --no-build-isolation -e .`" in result.stdout


def test_every_simd_level_gives_the_same_statistics_and_a_close_nll():
    """The levels are chosen at run time; a compiler may be wrong in one of them alone."""
    code = """
import hashlib, json, torch
from lape import ops
torch.manual_seed(0)
digest, errors = hashlib.sha256(), []
patterns = torch.arange(2**16, dtype=torch.int32).to(torch.uint16)
samples = [torch.randn(77, 1100) * 10, *(patterns.view(d).expand(9, -1) for d in (torch.bfloat16, torch.float16))]
for x in samples:
    count, total = torch.zeros(x.shape[1], dtype=torch.int64), torch.zeros(x.shape[1], dtype=torch.float64)
    ops.activation_stats(x, count, total)
    assert torch.equal(count, (x > 0).sum(0))
    digest.update(count.numpy().tobytes() + total.nan_to_num(7, 8, 9).numpy().tobytes())
    logits, target = (torch.randn(4, 5001) * 8).to(x.dtype), torch.arange(4)
    errors.append((ops.token_nll(logits, target) - ops.reference_token_nll(logits, target)).abs().max().item())
print(json.dumps({"simd": ops.build_info()["simd"], "digest": digest.hexdigest(), "error": max(errors)}))
"""
    levels = ["baseline", "avx2", "avx512"]
    levels = levels[: levels.index(ops.build_info()["simd"]) + 1]
    results = []
    for level in levels:
        result = _run_python(code, LAPE_SIMD=level)
        assert result.returncode == 0, result.stderr
        results.append(json.loads(result.stdout))
    assert [result["simd"] for result in results] == levels
    assert len({result["digest"] for result in results}) == 1
    assert max(result["error"] for result in results) < 1e-5


def test_info_prints_build_and_backend(capsys):
    assert main(["info", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["extension"] == ops.build_info()
    assert report["devices"]["cpu"]["backend"] == "cpp"
    assert report["versions"] == versions()
    assert main(["info"]) == 0
    assert "backend       cpp" in capsys.readouterr().out


def test_info_names_the_remedy_where_nothing_is_built(capsys, monkeypatch):
    monkeypatch.setattr(ops, "_extension", None)
    monkeypatch.setattr(ops, "_fault", "lape._C: the compiled extension is not built; build it")
    assert main(["info"]) == 0
    assert "not built; build it" in capsys.readouterr().out
