"""Memory that does not suffice: work begins again with half the batch, what ran is recorded, nothing counts twice."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from op_cases import DEVICES
from stages import arguments
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from lape.artifacts.files import read_json
from lape.errors import LapeError
from lape.machine.memory import Halving
from lape.machine.progress import progress

GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to ...")
DRIVER = RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.")
CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


@pytest.mark.parametrize("error", [GPU, DRIVER, CUBLAS, CPU, MemoryError(), RuntimeError("std::bad_alloc")])
def test_work_is_begun_again_with_half_the_batch(error, caplog):
    tried = []

    def work(size):
        tried.append(size)
        bar.update(3)
        if size > 2:
            raise error
        return "done"

    with progress(100, "work") as bar:
        bar.update(10)
        halving = Halving(9, "work", bar)
        assert halving(work) == "done" and (tried, halving.size) == ([9, 4, 2], 2)
        assert bar.n == 13
        assert halving(work) == "done" and tried[3:] == [2]
    assert "work: out of memory with a batch of 9; goes on with half of it" in caplog.text


def test_other_faults_pass_and_a_batch_of_one_ends_it():
    def fail(error):
        def work(size):
            raise error

        return work

    with progress(1, "work") as bar:
        with pytest.raises(RuntimeError, match="shapes"):
            Halving(4, "work", bar)(fail(RuntimeError("shapes do not match")))
        with pytest.raises(LapeError, match=r"work: a batch of 1 takes more memory than there is; lower .* spread"):
            Halving(4, "work", bar)(fail(GPU))


# Stages that run a model, and the size of batch that is asked for. Answers to questions are batched as samples are.
STAGES = {"statistics": 8, "baseline": 8, "perplexity": 8, "sample": 16, "score": 8, "embed": 4, "responses": 8}


@pytest.mark.parametrize(("stage", "size"), STAGES.items())
def test_every_stage_goes_on_and_records_what_ran(stages, lape, monkeypatch, stage, size):
    """Memory runs out in the last layer, where the others have been counted and perturbed."""
    forward = LlamaDecoderLayer.forward

    def limited(self, hidden, *rest, **keywords):
        if self.self_attn.layer_idx == 2 and len(hidden) > size // 2:
            raise GPU
        return forward(self, hidden, *rest, **keywords)

    monkeypatch.setattr(LlamaDecoderLayer, "forward", limited)
    output = f"out/{Path(arguments(stage)[-1]).name}"
    options = {"batch_size": str(size)} | ({"seeds": "12"} if stage == "sample" else {})
    status, messages = lape(*arguments(stage, **options, output=output))
    assert status == 0 and f"out of memory with a batch of {size}" in messages, messages
    header = read_json(Path(output).with_suffix(".json"))
    ran = header["shards"][0]["batch_size"] if stage == "statistics" else header["batch_size"]
    assert (header["parameters"]["batch_size"], ran) == (size, size // 2)


LIMITS = {
    "cpu": """
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
""",
    "cuda": "torch.cuda.set_per_process_memory_fraction(2**28 / torch.cuda.mem_get_info()[1])",
}


@pytest.mark.parametrize("device", DEVICES)
def test_a_real_shortage(device):
    """torch's own error, under a limit of the process's memory."""
    code = f"""
import resource, torch
from lape.machine.memory import Halving
from lape.machine.progress import progress
torch.zeros(1, device="{device}")
{LIMITS[device]}
with progress(1, "work") as bar:
    halving = Halving(64, "work", bar)
    halving(lambda size: torch.zeros(size, 2**22, device="{device}").sum())
print(halving.size)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 1 <= int(done.stdout) <= 16  # 16 MiB a row
