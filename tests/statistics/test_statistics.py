"""Activation statistics: exact sums over shards, and faults that must not pass."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from stages import arguments

from lape.artifacts.files import read_json
from lape.errors import LapeError
from lape.model.batches import filling_batch_size, fitting_batch_size, passes, shard_batches, token_batches
from lape.model.ffn import find_ffn
from lape.statistics.feeding import record_statistics
from lape.statistics.recording import counting, record
from lape.statistics.sums import ActivationStatistics


def chunks(rows: int = 13, length: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(2, 400, (rows, length), dtype=np.int32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_number_of_shards_adds_up_to_the_same_bits(tiny_model, dtype, tmp_path):
    model, ids = tiny_model.to(dtype), chunks()

    def counted(shards) -> bytes:
        with counting(model, thresholds=[0.25, -1.0]) as count:
            parts = [count(token_batches(ids, batches)) for batches in shard_batches(len(ids), 2, shards)]
        whole = sum(parts[1:], parts[0])
        assert whole.tokens == ids.size
        whole.save(tmp_path / "whole.npz")
        return (tmp_path / "whole.npz").read_bytes()

    whole = counted(1)
    for shards in (2, 3, 8, 20):  # 20: more shards than batches, some are empty
        assert counted(shards) == whole


def test_sums_are_those_of_the_activations(tiny_model):
    ids, seen = torch.from_numpy(chunks().astype(np.int64)), []
    statistics = record_statistics(tiny_model, [ids[:6], ids[6:]], thresholds=[0.25, -1.0])
    for module in find_ffn(tiny_model).modules("activation"):
        module.register_forward_hook(lambda module, inputs, output: seen.append(output.flatten(0, -2).double()))
    with torch.inference_mode():
        tiny_model(input_ids=ids)
    x = torch.stack(seen).numpy()  # [L, R, I]
    # Batches of another size round the matrix products differently.
    np.testing.assert_allclose(statistics.total, x.sum(1), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(statistics.square, (x * x).sum(1), rtol=1e-5, atol=1e-4)
    for k, threshold in enumerate((0.25, -1.0)):
        assert abs(statistics.above[k] - (x > threshold).sum(1)).max() <= 1


def test_first_positions_can_be_left_out(tiny_model):
    ids = torch.from_numpy(chunks().astype(np.int64))
    statistics = record_statistics(tiny_model, [ids], skip_first=2)
    with record(tiny_model, groups=3) as recorder, torch.inference_mode():
        recorder.group = torch.ones_like(ids)
        recorder.group[:, :2] = torch.tensor([0, -1])
        tiny_model(input_ids=ids)
        recorder.end_batch()
    assert statistics.tokens == ids[:, 2:].numel()
    first, rest = recorder.statistics(len(ids), group=0), recorder.statistics(ids[:, 2:].numel(), group=1)
    assert (rest.count == statistics.count).all() and (rest.totals == statistics.totals).all()
    assert (first.rows == len(ids)).all() and first.count.any()
    with pytest.raises(LapeError, match="seen at 0 of 5 tokens"):
        recorder.statistics(5, group=2)


def test_languages_of_one_batch_are_kept_apart(tiny_model):
    """The same rows, mixed in one batch and in batches of their own."""
    ids = torch.from_numpy(chunks(4, 9).astype(np.int64))
    with record(tiny_model, groups=2) as recorder, torch.inference_mode():
        recorder.group = torch.tensor([0, 1, 1, 0])[:, None].expand(4, 9).contiguous()
        tiny_model(input_ids=ids)
        recorder.end_batch()
        mixed = [recorder.statistics(18, group) for group in (0, 1)]
        recorder.reset()
        recorder.group = None
        tiny_model(input_ids=ids)
        whole = recorder.statistics(36)
    assert (mixed[0].count + mixed[1].count == whole.count).all()
    for group, rows in ((0, [0, 3]), (1, [1, 2])):
        own = record_statistics(tiny_model, [ids[rows]])
        assert abs(mixed[group].count - own.count).max() <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_and_hooked_passes_give_the_same_bits(tiny_model, dtype):
    batches = list(token_batches(chunks(), [slice(0, 6), slice(6, 13)]))
    one, two = (record_statistics(tiny_model.to(dtype), batches, fused=fused) for fused in (True, False))
    for name in ("count", "totals", "squares", "rows"):
        assert (getattr(one, name) == getattr(two, name)).all()


def test_a_compiled_model_is_counted(tiny_model):
    batches = list(token_batches(chunks(), [slice(0, 6), slice(6, 12), slice(12, 13)]))
    plain = record_statistics(tiny_model, batches)
    tiny_model.get_decoder().compile(backend="aot_eager")
    for fused in (True, False):
        compiled = record_statistics(tiny_model, batches, fused=fused)
        assert compiled.tokens == plain.tokens
        assert abs(compiled.count - plain.count).max() <= 1  # another order of operations


def test_sums_too_large_for_whole_numbers_are_refused(tiny_model):
    with torch.no_grad():
        tiny_model.model.layers[1].mlp.gate_proj.weight.mul_(1e12)
    with pytest.raises(LapeError, match=r"NaN or infinite in layer 2 .index 1.; set"):
        record_statistics(tiny_model, [torch.ones(1, 4, dtype=torch.int64)])


@pytest.mark.parametrize("memory, expected", [(100.0, 4), (None, 4), (1e-6, None)])
def test_batches_fill_a_pass_as_far_as_memory_allows(tiny_model, monkeypatch, memory, expected):
    monkeypatch.setattr("lape.model.batches.TOKENS_PER_PASS", {"cpu": 160})
    monkeypatch.setattr("lape.model.batches.peak_memory", lambda function, device: function() and 2**20)
    cpu = torch.device("cpu")
    assert [filling_batch_size(*given) for given in ((32, cpu, 9), (32, cpu, 3), (400, cpu, 9))] == [4, 2, 1]
    if expected:
        assert fitting_batch_size(tiny_model, 32, 4, memory) == expected
        assert fitting_batch_size(tiny_model, 32, 4, 3.5 / 1024) == 2
    else:
        with pytest.raises(LapeError, match=r"takes \S+ GiB of the 1e-06 GiB that it may; lower tokens\.chunk_length"):
            fitting_batch_size(tiny_model, 32, 4, memory)


def test_backends_agree(tiny_model):
    batches = [torch.from_numpy(chunks().astype(np.int64))]
    fast, plain = (record_statistics(tiny_model, batches, backend=backend) for backend in ("extension", "reference"))
    assert (fast.count == plain.count).all() and fast.tokens == plain.tokens
    np.testing.assert_allclose(fast.total, plain.total, rtol=1e-12)


@pytest.mark.parametrize("count, batch_size, shards", [(1, 4, 8), (13, 2, 3), (64, 4, 8), (5, 9, 1)])
def test_shards_cover_every_chunk_once(count, batch_size, shards):
    parts = shard_batches(count, batch_size, shards)
    assert len(parts) == shards
    covered = [row for part in parts for batch in part for row in range(count)[batch]]
    assert covered == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_no_head_is_computed(tiny_model):
    def fail(*_):
        raise AssertionError("the LM head ran")

    tiny_model.lm_head.register_forward_hook(fail)
    record_statistics(tiny_model, [torch.ones(1, 4, dtype=torch.int64)])


def test_nan_activations_are_refused_with_their_layer(tiny_model):
    with torch.no_grad():
        tiny_model.model.layers[1].mlp.gate_proj.weight[0] = torch.nan
    with pytest.raises(LapeError, match=r"NaN or infinite in layer 2 .index 1., layer 3 .index 2.; set"):
        record_statistics(tiny_model, [torch.ones(1, 4, dtype=torch.int64)])


def test_a_hook_that_does_not_fire_is_refused(tiny_model):
    ids = torch.ones(1, 4, dtype=torch.int64)
    skipped = tiny_model.model.layers[2].mlp
    skipped.forward = lambda hidden: hidden  # bypasses the activation module, as a fused kernel would
    with pytest.raises(LapeError, match=r"layer 3 .index 2.: its activation was seen at 0 of 4 tokens"):
        record_statistics(tiny_model, [ids])


def test_hooks_go_when_the_block_fails(tiny_model):
    with pytest.raises(RuntimeError, match="stop"), record(tiny_model):
        raise RuntimeError("stop")
    assert not any(module._forward_hooks for module in find_ffn(tiny_model).modules("activation"))


def test_saving_is_lossless_and_deterministic(tmp_path):
    statistics = dataclasses.replace(
        ActivationStatistics.of_counts(np.full((2, 3), 2**40), 2**41, thresholds=(0.1,)),
        totals=np.arange(12).reshape(2, 2, 3) - 5,
    )
    statistics.save(tmp_path / "a.npz")
    statistics.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    loaded = ActivationStatistics.load(tmp_path / "a.npz")
    assert loaded.count.dtype == np.int64 and (loaded.count == 2**40).all()
    assert (loaded.total == statistics.total).all() and loaded.tokens == 2**41 and loaded.thresholds == (0.1,)
    assert loaded.total[0].tolist() == [-5 + 1 * 2**-40, -4 + 2 * 2**-40, -3 + 3 * 2**-40]


def test_a_pickle_is_not_loaded(tmp_path):
    np.savez(tmp_path / "bad.npz", count=np.array([{}], dtype=object), total=np.zeros(1), tokens=1)
    with pytest.raises(LapeError, match="holds no activation statistics"):
        ActivationStatistics.load(tmp_path / "bad.npz")


def test_a_run_goes_on_with_the_batch_size_that_was_found_at_first(stages, lape, monkeypatch):
    """Free memory changes; numbers, and the shards that are finished, must not."""
    words = arguments("statistics", output="again/fr.npz")
    for found in (3, 5):
        monkeypatch.setattr("lape.model.batches.fitting_batch_size", lambda *_, found=found, **__: found)
        assert lape(*words)[0] == 0
        header = read_json("again/fr.json", "statistics")
        assert header["parameters"]["batch_size"] == 8  # of which passes are parts
        assert {shard["batch_size"] for shard in header["shards"]} == {3}
        Path("again/fr.shards/2.npz").unlink()
    assert lape(*words, "--memory", "9")[0] == 0  # asked for otherwise
    assert {shard["batch_size"] for shard in read_json("again/fr.json")["shards"]} == {5}


def test_passes_cover_their_batches():
    assert list(passes([slice(0, 4), slice(4, 7)], 3)) == [slice(0, 3), slice(3, 4), slice(4, 7)]


def test_jobs_that_share_the_shards_add_up_to_the_same_bytes(stages, lape):
    """Whatever their number and order, and in passes of any size, as long as rounding flips nothing."""
    for jobs in (2, 3):
        for job in reversed(range(jobs)):
            words = arguments("statistics", job=str(job), jobs=str(jobs), output=f"jobs{jobs}/fr.npz")
            assert lape(*words)[0] == 0
            assert read_json(f"jobs{jobs}/fr.{job}.json", "count")["shards"]
        counted = [f"jobs{jobs}/fr.{job}.json" for job in range(jobs)]
        assert lape(*arguments("statistics", output=f"jobs{jobs}/fr.npz"), "--counted", *counted)[0] == 0
        assert Path(f"jobs{jobs}/fr.npz").read_bytes() == Path("statistics/fr.npz").read_bytes()
        whole, joined = read_json("statistics/fr.json"), read_json(f"jobs{jobs}/fr.json")
        assert {key for key in whole if whole[key] != joined[key]} == {"command"}


def test_jobs_that_do_not_make_a_whole_are_refused(lape, refused):
    for job in (0, 1):
        assert lape(*arguments("statistics", job=str(job), jobs="2", output="out/fr.npz"))[0] == 0
    words = arguments("statistics", output="out/fr.npz")
    refused([*words, "--counted", "out/fr.0.json"], "out", "a shard is missing")
    refused([*words, "--counted", "out/fr.0.json", "out/fr.0.json"], "out", "comes twice")
    other = arguments("statistics", job="1", jobs="2", skip_first="1", output="other/fr.npz")
    assert lape(*other)[0] == 0
    refused([*words, "--counted", "out/fr.0.json", "other/fr.1.json"], "other/fr.1.json", "other settings")
    Path("out/fr.shards/3.npz").unlink()
    refused([*words, "--counted", "out/fr.0.json", "out/fr.1.json"], "out/fr.shards/3.npz", "run the count again")
    assert not Path("out/fr.npz").exists()


def test_settings_of_the_pass_reach_the_artifact(stages, lape):
    status, _ = lape(*arguments("statistics", skip_first="2", output="out/fr.npz"), "--thresholds", "[0.5, -1]")
    assert status == 0
    header, statistics = read_json("out/fr.json", "statistics"), ActivationStatistics.load("out/fr.npz")
    chunks_there = np.load("tokens/fr/train.npy")
    assert statistics.tokens == header["tokens"] == chunks_there[:, 2:].size
    assert statistics.thresholds == (0.5, -1.0) and header["parameters"]["thresholds"] == [0.5, -1.0]
    assert (statistics.above[0] <= statistics.count).all() and (statistics.count <= statistics.above[1]).all()


def test_gradients_flow_while_activations_are_recorded(tiny_model):
    ids = torch.arange(2, 12).view(2, 5)
    tiny_model(input_ids=ids).logits.sum().backward()
    expected = tiny_model.model.layers[0].mlp.gate_proj.weight.grad.clone()
    tiny_model.zero_grad()
    with record(tiny_model) as recorder:
        tiny_model(input_ids=ids).logits.sum().backward()
        recorder.end_batch()
    assert torch.equal(tiny_model.model.layers[0].mlp.gate_proj.weight.grad, expected)
    assert (recorder.statistics(10).count == record_statistics(tiny_model, [ids]).count).all()


def test_more_positions_than_a_chunk_has_cannot_be_left_out(refused):
    refused(arguments("statistics", skip_first="16", output="out/fr.npz"), "statistics.skip_first: 16 of 16")
