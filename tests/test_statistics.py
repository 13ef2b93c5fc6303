"""Activation statistics: exact sums over shards, and faults that must not pass."""

import numpy as np
import pytest
import torch

from lape.errors import LapeError
from lape.ffn import find_ffn
from lape.statistics import ActivationStatistics, record, record_statistics, shard_batches, token_batches


def chunks(rows: int = 13, length: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(2, 400, (rows, length), dtype=np.int32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_number_of_shards_adds_up_to_the_same_integers(tiny_model, dtype):
    model, ids = tiny_model.to(dtype), chunks()

    def counted(shards):
        parts = [
            record_statistics(model, token_batches(ids, batches)) for batches in shard_batches(len(ids), 2, shards)
        ]
        return sum(parts[1:], parts[0])

    whole = counted(1)
    for shards in (3, 8, 20):  # 20: more shards than batches, some are empty
        parts = counted(shards)
        assert (parts.count == whole.count).all()
        assert parts.tokens == whole.tokens == ids.size
        np.testing.assert_allclose(parts.total, whole.total, rtol=1e-12)


def test_backends_agree(tiny_model):
    batches = [torch.from_numpy(chunks().astype(np.int64))]
    fast, plain = (record_statistics(tiny_model, batches, backend) for backend in ("extension", "reference"))
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
    with pytest.raises(LapeError, match=r"NaN or infinite in layers 1, 2"):
        record_statistics(tiny_model, [torch.ones(1, 4, dtype=torch.int64)])


def test_a_hook_that_does_not_fire_is_refused(tiny_model):
    ids = torch.ones(1, 4, dtype=torch.int64)
    skipped = tiny_model.model.layers[2].mlp
    skipped.forward = lambda hidden: hidden  # bypasses the activation module, as a fused kernel would
    with pytest.raises(LapeError, match="layer 2: its activation was seen at 0 of 4 tokens"):
        record_statistics(tiny_model, [ids])


def test_hooks_go_when_the_block_fails(tiny_model):
    with pytest.raises(RuntimeError, match="stop"), record(tiny_model):
        raise RuntimeError("stop")
    assert not any(module._forward_hooks for module in find_ffn(tiny_model).activations)


def test_saving_is_lossless_and_deterministic(tmp_path):
    statistics = ActivationStatistics(np.full((2, 3), 2**40), np.array([[0.1, -1.5, 1e300]] * 2), 2**41)
    statistics.save(tmp_path / "a.npz")
    statistics.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    loaded = ActivationStatistics.load(tmp_path / "a.npz")
    assert loaded.count.dtype == np.int64 and (loaded.count == 2**40).all()
    assert (loaded.total == statistics.total).all() and loaded.tokens == 2**41


def test_a_pickle_is_not_loaded(tmp_path):
    np.savez(tmp_path / "bad.npz", count=np.array([{}], dtype=object), total=np.zeros(1), tokens=1)
    with pytest.raises(LapeError, match="holds no activation statistics"):
        ActivationStatistics.load(tmp_path / "bad.npz")
