"""ffn_edit against its reference, on every device, dtype and layout."""

import pytest
import torch
from op_cases import (
    DEVICES,
    DTYPES,
    EDITABLE,
    INF,
    LAYOUTS,
    NAN,
    SHORT_DTYPES,
    assert_bits,
    eighths,
    every_pattern,
    groups_of,
    smallest,
    with_threads,
)

from lape.kernels import ops, reference


def edits_of(*perturbations, device="cpu"):
    """Edits from lists of (neuron, mode, value)."""
    flat = [edit for perturbation in perturbations for edit in perturbation]
    sizes = [len(perturbation) for perturbation in perturbations]
    return ops.Edits(
        torch.tensor([neuron for neuron, _, _ in flat], dtype=torch.int64, device=device),
        torch.tensor([ops.MODES.index(mode) for _, mode, _ in flat], dtype=torch.int64, device=device),
        torch.tensor([value for _, _, value in flat], dtype=torch.float32, device=device),
        torch.tensor([0, *sizes], device=device).cumsum(0),
        torch.zeros(len(sizes), dtype=torch.int64, device=device),
    )


def random_edits(width, sizes, device):
    """Perturbations of so many random edits each, values in eighths."""
    draw = [
        [
            (neuron, ops.MODES[torch.randint(4, ())], torch.randint(-16, 17, ()).item() / 8)
            for neuron in torch.randperm(width)[:size].tolist()
        ]
        for size in sizes
    ]
    return edits_of(*draw, device=device)


def edited_by(x, edits, choice=None, **settings):
    """A copy of x after the edits, and how many activations they changed."""
    x, edits = x.clone(), edits._replace(changed=edits.changed.clone())
    ops.ffn_edit(x, edits, choice, **settings)
    return x, edits.changed


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", (1, 129, 2048))
@pytest.mark.parametrize("layout", EDITABLE)
def test_edits_match_reference_in_every_layout(layout, width, dtype, device):
    """In place: all around the view stays as it was."""
    torch.manual_seed(0)
    made = []

    def make(*shape):
        made.append(eighths(dtype, device)(*shape))
        return made[-1]

    x = EDITABLE[layout](make, width)
    before = made[0].clone()
    edits = random_edits(width, (40, 0, 300), device)
    for choice in (None, groups_of(x, -1, 3)):
        made[0].copy_(before)
        expected, expected_changed = x.clone(), edits.changed.clone().fill_(5)
        reference.ffn_edit(expected, *edits[:4], choice, expected_changed)
        changed = edits.changed.clone().fill_(5)
        ops.ffn_edit(x, edits._replace(changed=changed), choice)
        assert_bits(x, expected)
        assert torch.equal(changed, expected_changed)
        x.copy_(EDITABLE[layout](lambda *_: before, width))
        assert_bits(made[0], before)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_each_mode_does_what_it_says(backend, dtype, device):
    column = torch.tensor([[-2.0], [-0.0], [0.0], [0.5], [3.0], [NAN], [INF], [-INF]], device=device, dtype=dtype)
    edits = edits_of([(1, "set", 0.5), (2, "max", 0.5), (3, "add", 0.5), (4, "scale", -0.5)], device=device)
    x, changed = edited_by(column.repeat(1, 6), edits, backend=backend)
    wanted = [
        [-2.0, 0.5, 0.5, -1.5, 1.0, -2.0],
        [-0.0, 0.5, 0.5, 0.5, 0.0, -0.0],
        [0.0, 0.5, 0.5, 0.5, -0.0, 0.0],
        [0.5, 0.5, 0.5, 1.0, -0.25, 0.5],
        [3.0, 0.5, 3.0, 3.5, -1.5, 3.0],
        [NAN, 0.5, NAN, NAN, NAN, NAN],
        [INF, 0.5, INF, INF, -INF, INF],
        [-INF, 0.5, 0.5, -INF, INF, -INF],
    ]
    assert_bits(x, torch.tensor(wanted, dtype=dtype, device=device))
    assert changed.tolist() == [7 + 4 + 5 + 5]  # a zero of the other sign and another NaN are no change


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_edits_with_special_values(backend, dtype, device):
    values = [0.0, -0.0, NAN, INF, -INF, 1.0, smallest(dtype).item(), torch.finfo(dtype).max]
    column = torch.tensor(values, device=device, dtype=dtype)
    old = column.float()
    cases = [  # mode, value, result
        ("set", -0.0, torch.full_like(old, -0.0)),
        ("set", NAN, torch.full_like(old, NAN)),
        ("max", NAN, old),
        ("max", -0.0, torch.where(old < 0, -0.0, old)),  # the larger of two zeros is the one that was there
        ("add", INF, old + INF),
        ("scale", 0.0, old * 0.0),
        ("add", 3e38, old + 3e38),
        ("scale", 1e-45, old * 1e-45),
    ]
    edits = edits_of([(neuron, mode, value) for neuron, (mode, value, _) in enumerate(cases)], device=device)
    x, changed = edited_by(column[:, None].repeat(1, len(cases)), edits, backend=backend)
    expected = torch.stack([result for _, _, result in cases], 1).to(dtype)
    assert_bits(x, expected)
    both_nan = expected.isnan() & column.isnan()[:, None]
    assert changed.item() == ((expected != column[:, None]) & ~both_nan).sum()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", SHORT_DTYPES)
def test_values_round_as_torch_rounds_them(dtype, device):
    """Every number of the format, what lies halfway to the next, and what lies just beside that."""
    exact = every_pattern(dtype).float()
    following = torch.arange(1, 2**16 + 1, dtype=torch.int32).to(torch.uint16).view(dtype).float()
    half = (exact.double() + following.double()).div(2).float()
    limit = torch.finfo(dtype).max
    overflow = torch.tensor([limit, 65519.996, 65520.0, 3.3961775e38, 3.3895314e38, 3.4e38, 1e-45, 2.0**-25, 2.0**-134])
    above, below = (torch.nextafter(half, torch.tensor(end)) for end in (INF, -INF))
    # NaNs that would become infinity and zeros if they were rounded as numbers are.
    nans = torch.tensor([0x7F800001, 0x7FFFFFFF, -1], dtype=torch.int32).view(torch.float32)
    values = torch.cat([exact, half, above, below, overflow, -overflow, torch.tensor([INF, -INF]), nans]).to(device)
    for mode, x, wide in (
        ("set", torch.zeros_like(values), values),
        ("add", torch.full_like(values, -0.0), values - 0.0),
        ("add", torch.full_like(values, 0.375), values + 0.375),
        ("scale", torch.full_like(values, -1.5), values * -1.5),
    ):
        x, places = x.to(dtype), torch.arange(len(values), device=device)
        edits = ops.Edits(
            places,
            torch.full_like(places, ops.MODES.index(mode)),
            values,
            torch.tensor([0, len(values)], device=device),
            torch.zeros(1, dtype=torch.int64, device=device),
        )
        actual, changed = edited_by(x, edits)
        assert_bits(actual, wide.to(dtype))
        assert changed.item() == (wide.to(dtype) != x).sum()  # x holds no NaN


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_each_row_takes_the_perturbation_of_its_choice(backend, device):
    edits = edits_of([(0, "set", 7.0)], [], [(1, "add", 1.0), (2, "set", 0.0)], device=device)
    choice = torch.tensor([[2, -1, 0], [1, 2, -(2**40)]], device=device)
    x, changed = edited_by(torch.zeros(2, 3, 4, device=device), edits, choice, backend=backend)
    expected = torch.zeros(2, 3, 4)
    expected[0, 2, 0], expected[0, 0, 1], expected[1, 1, 1] = 7, 1, 1
    assert torch.equal(x.cpu(), expected) and changed.tolist() == [1, 0, 2]
    x, changed = edited_by(torch.zeros(2, 4, device=device), edits, backend=backend)
    assert x[:, 0].tolist() == [7, 7] and not x[:, 1:].any() and changed.tolist() == [2, 0, 0]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_nothing_to_edit_changes_no_bit(backend, device):
    x = torch.randn(3, 5, device=device)
    empty, none = edits_of([], device=device), edits_of(device=device)
    for edits, choice in ((empty, None), (none, None), (none, torch.full((3,), -1, device=device))):
        after, changed = edited_by(x, edits, choice, backend=backend)
        assert_bits(after, x)
        assert not changed.any()
    ops.ffn_edit(x[:0], edits_of([(1, "set", 0.0)], device=device), backend=backend)


@pytest.mark.parametrize("device", DEVICES)
def test_many_rows_and_edits_for_any_number_of_threads(device):
    torch.manual_seed(0)
    x = torch.randn(700, 3000, device=device).bfloat16()
    edits = random_edits(3000, (2000, 5), device)
    choice = groups_of(x, -1, 2)
    expected = edited_by(x, edits, choice, backend="reference")
    for threads in (1, 2):
        after, changed = with_threads(threads, lambda: edited_by(x, edits, choice))
        assert_bits(after, expected[0])
        assert torch.equal(changed, expected[1])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in EDITABLE])
def test_rows_that_cannot_be_edited_in_place_are_refused(layout, device):
    x = LAYOUTS[layout](lambda *shape: torch.zeros(shape, device=device), 9)
    with pytest.raises(RuntimeError, match="x must be editable in place"):
        ops.ffn_edit(x, edits_of([(0, "add", 1.0)], device=device))
    assert not x.any()


def _with(index=0, mode=0, choice=0, offset=(0, 1)):
    edits = edits_of([(0, "set", 1.0)])
    edits.index[0], edits.mode[0] = index, mode
    return edits._replace(offset=torch.tensor(offset)), torch.tensor([choice, 0])


@pytest.mark.parametrize("backend", ops.BACKENDS)
@pytest.mark.parametrize(
    ("fault", "message"),
    (
        ({"index": 3}, "index"),
        ({"index": -1}, "index"),
        ({"index": 2**40}, "index"),
        ({"mode": 4}, "mode"),
        ({"mode": -1}, "mode"),
        ({"choice": 1}, "choice"),
        ({"choice": 2**40}, "choice"),
        ({"offset": (0, 2)}, "offset"),
        ({"offset": (1, 0)}, "offset"),
        ({"offset": (-1, 1)}, "offset"),
    ),
)
def test_edits_out_of_range_raise_on_cpu_and_change_nothing(fault, message, backend):
    x, (edits, choice) = torch.zeros(2, 3), _with(**fault)
    with pytest.raises(RuntimeError, match=message):
        ops.ffn_edit(x, edits, choice, backend)
    assert not x.any() and not edits.changed.any()


@pytest.mark.parametrize("device", DEVICES[1:])
@pytest.mark.parametrize(
    "fault", ({"index": 3}, {"index": -1}, {"mode": 4}, {"mode": -1}, {"choice": 1}, {"choice": 2**40})
)
def test_edits_out_of_range_are_left_out_on_a_device(fault, device):
    edits, choice = _with(**fault)
    edits, choice = ops.Edits(*(tensor.to(device) for tensor in edits)), choice.to(device)
    x = torch.zeros(2, 3, device=device)
    ops.ffn_edit(x, edits, choice)
    done = 1 if "choice" in fault else 0  # the other row's edit
    assert x.sum() == done and edits.changed.item() == done


@pytest.mark.parametrize("backend", ops.BACKENDS)
@pytest.mark.parametrize(
    ("x", "changed", "message"),
    (
        (torch.zeros(2, 3).double(), {}, "x must be float32, bfloat16 or float16"),
        (torch.tensor(1.0), {}, "at least one dimension"),
        (torch.zeros(2, 3), {"index": torch.zeros(1, dtype=torch.int32)}, "index must be .*(int64|Long)"),
        (torch.zeros(2, 3), {"mode": torch.zeros(2, dtype=torch.int64)}, r"mode must have shape \[1\]"),
        (torch.zeros(2, 3), {"value": torch.zeros(1).double()}, "value must be .*[fF]loat"),
        (torch.zeros(2, 3), {"offset": torch.zeros(0, dtype=torch.int64)}, r"offset \[perturbations \+ 1\]"),
        (torch.zeros(2, 3), {"changed": torch.zeros(2, dtype=torch.int64)}, r"changed must have shape \[1\]"),
        (torch.zeros(2, 3), {"index": torch.zeros(1, dtype=torch.int64, device="meta")}, "index must be on cpu"),
        (torch.zeros(3, 3), {}, r"choice must have shape \[3\]"),
    ),
)
def test_bad_edit_arguments_raise(x, changed, message, backend):
    edits, choice = _with()
    with pytest.raises(RuntimeError, match=message):
        ops.ffn_edit(x, edits._replace(**changed), choice, backend)


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_flow_through_the_reference(device):
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]] * 2, device=device, requires_grad=True)
    edits = edits_of([(0, "set", 9.0), (1, "max", 9.0), (2, "add", 9.0), (3, "scale", 9.0)], device=device)
    after = reference.edited(x, *edits[:4], torch.tensor([0, -1], device=device))
    after.sum().backward()
    assert after.tolist() == [[9, 9, 12, 36, 5], [1, 2, 3, 4, 5]]
    assert x.grad.tolist() == [[0, 0, 1, 9, 1], [1, 1, 1, 1, 1]]
