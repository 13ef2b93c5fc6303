"""Sections 1 to 3: the counting pass against the bare forward pass, other ways to count, and the device's limit."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bench.models import Work, flops
from bench.peers import PEERS, attention, plain_hooks
from bench.report import Row, installed
from bench.setting import Setting
from bench.timing import Spread, alternate
from lape import counting, record_statistics
from lape.errors import LapeError
from lape.model.loading import DTYPES


def pass_rows(work: Work, setting: Setting) -> list[Row]:
    """Time all contenders on one model and batch, in turns.

    Raises:
        LapeError: the counting pass and plain hooks give different counts.
    """
    device = setting.device
    model, ids = work.model(device), work.ids(device)
    by_hooks = plain_hooks(model)
    truth = by_hooks(ids)
    counted = record_statistics(model, [ids]).count
    if not np.array_equal(counted, truth.cpu().numpy()):
        raise LapeError(f"{work}: {(counted != truth.cpu().numpy()).sum()} counts differ from plain hooks'; mend lape")

    @torch.inference_mode()
    def base() -> None:
        model.get_decoder()(input_ids=ids, use_cache=False)

    multiply, multiply_flops, matrices = ceiling(model, work, setting)
    contenders = {
        "base": base,
        "plain hooks": lambda: by_hooks(ids),
        "ceiling": multiply,
    }
    notes, absent = {"plain hooks": "counts equal"}, []
    for name, (package, make, implementation) in PEERS.items() if work.peers else ():
        version = installed(package)
        if version is None:
            absent.append(Row(2, f"{work}: {name}", None, goal=("at least", 1.0), note="not installed"))
            continue
        count = make(model)
        contenders[name] = lambda count=count: count(ids)
        notes[name] = f"{version}; " + _agreement(model, ids, truth, count(ids), implementation)

    with counting(work.model(device)) as count_batches:  # another copy of the model, so that the bare pass stays bare
        contenders["counted"] = lambda: count_batches([ids])
        seconds = alternate(contenders, setting.turns, device)
    speed = {name: work.tokens / np.median(taken) for name, taken in seconds.items()}

    def row(section: int, what: str, name: str, goal: float) -> Row:
        note = f"{speed['counted']:,.0f} against {speed[name]:,.0f} tokens/s"
        note = f"{note}; {notes[name]}" if name in notes else note
        return Row(section, what, Spread.of(seconds[name] / seconds["counted"]), goal=("at least", goal), note=note)

    rows = [
        row(1, f"{work}", "base", setting.forward),
        row(2, f"{work}: plain hooks", "plain hooks", setting.hooks),
        *(row(2, f"{work}: {name}", name, 1.0) for name in PEERS if name in contenders),
    ]
    reached, possible = flops(model, work) / seconds["counted"], multiply_flops / seconds["ceiling"]
    base_share = np.median(flops(model, work) / seconds["base"] / possible)
    note = f"{np.median(reached) / 1e9:,.0f} of {np.median(possible) / 1e9:,.0f} GFLOP/s ({matrices})"
    note += f"; the base forward {base_share:.3f}"
    goal = ("at least", setting.ceiling)
    return [*rows, *absent, Row(3, f"{work}", Spread.of(reached / possible), goal=goal, note=note)]


def _agreement(model, ids: Tensor, truth: Tensor, counts: Tensor, implementation: str) -> str:
    """How the counts of another tool compare with plain hooks', under the model's attention and under the tool's."""
    if torch.equal(counts, truth):
        return "counts equal"
    with attention(model, implementation):
        own = plain_hooks(model)(ids)
    differing = f"{(counts != truth).sum()} of {truth.numel()} counts differ"
    if torch.equal(counts, own):
        return f"counts equal under {implementation} attention, its own ({differing} from the model's)"
    most = (counts - truth).abs().max()
    return f"{differing}, by at most {most}; {(counts != own).sum()} under {implementation} attention, its own"


def ceiling(model, work: Work, setting: Setting) -> tuple[Callable, float, str]:
    """The fastest of a few matrix products: the function, its number of operations, and its shape."""
    config = model.get_decoder().config
    hidden, neurons = config.hidden_size, config.intermediate_size
    shapes = [(edge, edge, edge) for edge in setting.squares]
    shapes += [(work.tokens, hidden, neurons), (work.tokens, neurons, hidden)]
    products = {shape: _product(shape, DTYPES[work.dtype], setting.device) for shape in shapes}
    seconds = alternate(products, 2, setting.device)
    operations = {shape: 2.0 * np.prod(shape, dtype=np.float64) for shape in shapes}
    best = max(shapes, key=lambda shape: operations[shape] / seconds[shape].min())
    return products[best], operations[best], " x ".join(map(str, best))


def _product(shape: tuple[int, int, int], dtype: torch.dtype, device: str) -> Callable:
    rows, inner, columns = shape
    left = torch.randn(rows, inner, device=device).to(dtype)
    right = torch.randn(inner, columns, device=device).to(dtype)
    out = torch.empty(rows, columns, dtype=dtype, device=device)
    return lambda: torch.matmul(left, right, out=out)
