"""The operators among themselves: what torch asks of them, how they are chosen, how they were built."""

import json

import pytest
import torch
from op_cases import CUDA, DEVICES, DTYPES, assert_bits, assert_sums, copy_of, groups_of, run_python

from lape.artifacts.files import versions
from lape.cli import main
from lape.errors import LapeError
from lape.kernels import ops

EDITS = ops.Edits(
    torch.tensor([0, 5, 5, 7]),
    torch.tensor([0, 1, 2, 3]),
    torch.tensor([0.0, 0.5, -1.0, 2.0]),
    torch.tensor([0, 2, 4]),
    torch.tensor([0, 0]),
)


def edits_on(device):
    """Two perturbations, of two edits each."""
    return ops.Edits(*(tensor.clone().to(device) for tensor in EDITS))


def step(gate, up, group, choice, sums, edits):
    """An FFN's step, counted, then edited; and the same activations counted once more."""
    out = ops.glu_stats(gate, up, "silu", sums, group)
    ops.activation_stats(out, sums, group)
    ops.ffn_edit(out, edits, choice)
    return out * 2


def inputs_of_step(device, dtype=torch.bfloat16):
    """Arguments of `step`: halves of a fused tensor."""
    fused = torch.randn(4, 16, 192, device=device).to(dtype)
    gate = fused[..., :96]
    choice = groups_of(gate, -1, 2)
    sums = ops.Sums.zeros(96, 2, (0.5,), device)
    return gate, fused[..., 96:], groups_of(gate, -1, 2), choice, sums, edits_on(device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("given", (True, False))
def test_operators_satisfy_torch(given, dtype, device):
    """Schema, declared mutation, fake kernels and tracing agree with what the kernels do."""
    gate, up, group, choice, sums, edits = inputs_of_step(device, dtype)
    if not given:
        up, group, choice, sums = None, None, None, ops.Sums.zeros(96, 1, (), device)
    calls = {
        "activation_stats": (gate, group, sums.thresholds, *sums[:5]),
        "glu_stats": (gate, up, "gelu", group, sums.thresholds, *sums[:5]),
        "ffn_edit": (gate, *edits[:4], choice, edits.changed),
        "token_nll": (gate[0], torch.arange(16, device=device)),
    }
    if device == "cpu":
        calls["glu_stats_"] = (gate.contiguous().clone(), *calls["glu_stats"][1:])
    for name, arguments in calls.items():
        torch.library.opcheck(getattr(torch.ops.lape, name).default, arguments)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("compiler", ("aot_eager", "inductor"))
def test_compiled_code_gives_the_eager_results_and_sums(compiler, device):
    torch.manual_seed(0)
    inputs = inputs_of_step(device)
    gate, up, group, choice, sums, edits = inputs
    kept = gate.clone()
    expected_sums, expected_edits = copy_of(sums), copy_of(edits)
    compiled = torch.compile(step, fullgraph=True, backend=compiler)
    for _ in range(2):  # the sums are added to
        out = compiled(*inputs)
        assert_bits(out, step(gate, up, group, choice, expected_sums, expected_edits))
    assert_sums(sums, expected_sums)
    assert torch.equal(edits.changed, expected_edits.changed) and edits.changed.min() > 0
    assert sums.rows.sum() == 4 * (group >= 0).sum() and sums.count.min() > 0
    assert_bits(gate, kept)


@pytest.mark.parametrize("device", (CUDA,))
def test_a_cuda_graph_replays_every_operator(device):
    torch.manual_seed(0)
    inputs = inputs_of_step(device)
    logits, target = torch.randn(8, 3000, device=device), torch.arange(8, device=device)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # warm-up: kernels are loaded outside the capture
        step(*inputs[:4], *(copy_of(sums) for sums in inputs[4:]))
        ops.token_nll(logits, target)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out, nll = step(*inputs), ops.token_nll(logits, target)
    *_, sums, edits = inputs
    assert not sums.rows.any()  # captured, not run
    expected_sums, expected_edits = copy_of(sums), copy_of(edits)
    for scale in (1, -2, 0.5):
        inputs[0].mul_(scale)
        logits.mul_(scale)
        graph.replay()
        assert_bits(out, step(*inputs[:4], expected_sums, expected_edits))
        assert torch.equal(nll, ops.token_nll(logits, target))
    assert_sums(sums, expected_sums)
    assert torch.equal(edits.changed, expected_edits.changed)


@pytest.mark.parametrize("device", (CUDA,))
def test_work_goes_to_the_current_stream(device):
    """A long product is queued before, on the same stream: an operator on another one would read zeros."""
    side, x = torch.cuda.Stream(), torch.zeros(4096, 4096, device=device)
    ones, sums = torch.ones(4096, 4096, device=device), ops.Sums.zeros(4096, device=device)
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(8):
            product = ones @ ones
        x.copy_(product)
        ops.activation_stats(x, sums)
        out = ops.glu_stats(x, None, "relu", sums)
        ops.ffn_edit(x, edits_on(device))
        nll = ops.token_nll(x, torch.zeros(4096, dtype=torch.int64, device=device))
    side.synchronize()
    assert sums.count.unique().tolist() == [2 * 4096] and out.unique().tolist() == [4096.0]
    assert not x[:, 0].any() and nll.min() > 4096


@pytest.mark.parametrize("device", (CUDA,))
def test_past_two_to_the_31_elements(device):
    rows, width = 2**15 + 64, 2**16
    if torch.cuda.mem_get_info()[0] < 24 * 2**30:
        pytest.skip("needs 24 GiB of free GPU memory")
    torch.manual_seed(0)
    row = (torch.randint(-32, 33, (width,), device=device) / 8).bfloat16()
    gate = row.repeat(rows, 1)
    assert gate.numel() > 2**31
    group = torch.arange(rows, device=device) % 3 - 1
    sizes = torch.bincount(group + 1)[1:]
    for fused in (False, True):
        sums = ops.Sums.zeros(width, 2, (0.5,), device)
        active = (row.relu() if fused else row).double()
        if fused:
            out = ops.glu_stats(gate, gate, "relu", sums, group)
            assert all(torch.equal(part, (row.relu() * row).expand_as(part)) for part in out.split(1024))
            del out
        else:
            ops.activation_stats(gate, sums, group)
        assert torch.equal(sums.rows, sizes)
        assert torch.equal(sums.count, (active > 0) * sizes[:, None])
        assert torch.equal(sums.above[0], (active > 0.5) * sizes[:, None])
        assert torch.equal(sums.total, active * sizes[:, None])
        assert torch.equal(sums.square, active.square() * sizes[:, None])
    target = torch.arange(rows, device=device)
    nll = ops.token_nll(gate, target)
    torch.testing.assert_close(nll[-64:], ops.token_nll(gate[-64:].clone(), target[-64:]), rtol=0, atol=1e-6)
    edits = edits_on(device)
    edits.value[0] = 7.0
    ops.ffn_edit(gate, edits)
    assert (gate[:, 0] == 7).all() and torch.equal(gate[-1, 8:], row[8:]) and edits.changed[0] >= rows


def test_rows_that_are_merely_strided_are_not_copied():
    x, sums, edits = torch.zeros(3, 12, 40).bfloat16(), ops.Sums.zeros(16), edits_on("cpu")
    logits, target = torch.zeros(8, 70).bfloat16()[::2, 3:], torch.zeros(4, dtype=torch.int64)
    ops.glu_stats(x[..., :16], None, "silu", sums)  # the first call of a process makes a table
    with torch.profiler.profile() as profile:
        ops.activation_stats(x[:, 5:, 4:20], sums)
        ops.glu_stats(x[..., :16], x[..., 16:32], "silu", sums)
        ops.ffn_edit(x[..., :16], edits)
        ops.token_nll(logits, target)
    called = {event.key for event in profile.key_averages()}
    assert {f"lape::{name}" for name in ("activation_stats", "glu_stats", "ffn_edit", "token_nll")} <= called
    assert not called & {"aten::contiguous", "aten::clone", "aten::copy_", "aten::_to_copy"}


def test_active_backend_names_what_runs():
    assert ops.active_backend("cpu") == "cpp"
    assert ops.active_backend(torch.device("cuda:1"), "reference") == "reference"


def test_no_backend_falls_back_silently(monkeypatch):
    with pytest.raises(LapeError, match="backend: 'auto' is unknown; use one of extension, reference"):
        ops.active_backend("cpu", "auto")
    with pytest.raises(LapeError, match="no kernel for mps; set backend: reference"):
        ops.active_backend("mps")
    build = ops.build_info() | {"cuda": False}
    monkeypatch.setattr(ops, "_info", build)
    with pytest.raises(LapeError, match=r"without CUDA.*pip install --no-build-isolation -e .*set backend: reference"):
        ops.active_backend("cuda")


def test_package_works_where_the_extension_is_not_built():
    code = """
import sys
sys.modules["lape.kernels._C"] = None  # imports as a missing module does
import torch
from lape.kernels import ops
from lape.errors import LapeError
print(ops.build_info(), ops.token_nll(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64), backend="reference"))
x, sums, edits = torch.zeros(1, 1), ops.Sums.zeros(1), ops.Edits(*[torch.zeros(0, dtype=torch.int64)] * 5)
for call in (lambda: ops.activation_stats(x, sums), lambda: ops.glu_stats(x, x, "silu", sums),
             lambda: ops.ffn_edit(x, edits), lambda: ops.token_nll(x, torch.zeros(1, dtype=torch.int64))):
    try:
        call()
    except LapeError as error:
        print(error)
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    first, *refusals = result.stdout.splitlines()
    assert first == "None tensor([0.], dtype=torch.float64)" and len(refusals) == 4
    assert all("not built; build it with `pip install --no-build-isolation -e .`" in line for line in refusals)


def test_every_simd_level_gives_the_same_bits_and_a_close_nll():
    """The levels are chosen at run time; a compiler may be wrong in one of them alone."""
    code = """
import hashlib, json, torch
from lape.kernels import ops
torch.manual_seed(0)
digest, errors = hashlib.sha256(), []
patterns = torch.arange(2**16, dtype=torch.int32).to(torch.uint16)
samples = [torch.randn(77, 1100) * 10, *(patterns.view(d).expand(9, -1) for d in (torch.bfloat16, torch.float16))]
for x in samples:
    sums = ops.Sums.zeros(x.shape[1], 3, (0.0, 0.5, -1.0))
    ops.activation_stats(x, sums)
    assert torch.equal(sums.count[0], (x > 0).sum(0)) and torch.equal(sums.above[1, 0], (x > 0.5).sum(0))
    out = ops.glu_stats(x, x.flip(-1), "relu", sums, torch.arange(len(x)) % 4 - 1)
    ops.ffn_edit(out, ops.Edits(torch.arange(1000), torch.arange(1000) % 4, torch.linspace(-9, 9, 1000),
                                torch.tensor([0, 1000]), changed := torch.zeros(1, dtype=torch.int64)))
    for tensor in (*sums[:5], out.double(), changed):
        digest.update(tensor.nan_to_num(7, 8, 9).numpy().tobytes())
    logits, target = (torch.randn(4, 5001) * 8).to(x.dtype), torch.arange(4)
    nll = [ops.token_nll(logits, target, backend=backend) for backend in ops.BACKENDS]
    errors.append((nll[0] - nll[1]).abs().max().item())
print(json.dumps({"simd": ops.build_info()["simd"], "digest": digest.hexdigest(), "error": max(errors)}))
"""
    levels = ["baseline", "avx2", "avx512"]
    levels = levels[: levels.index(ops.build_info()["simd"]) + 1]
    results = []
    for level in levels:
        result = run_python(code, LAPE_SIMD=level)
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
    monkeypatch.setattr(ops, "_info", None)
    monkeypatch.setattr(ops, "_fault", "lape.kernels._C: the compiled extension is not built; build it")
    assert main(["info"]) == 0
    assert "not built; build it" in capsys.readouterr().out
