"""Weights are what the checkpoint says, or nothing runs: reports of a load, hashes, quantised checkpoints."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_data import make_model

from lape.artifacts.files import read_json, write_json
from lape.errors import LapeError
from lape.model.loading import load_model
from lape.statistics.feeding import record_statistics

BATCH = torch.arange(2, 42).view(4, 10)


@pytest.fixture
def described(tmp_path, lape):
    """Run `lape model` on a folder: its exit status, what it wrote to stderr, and the path of the artifact."""

    def run(folder, *flags: str):
        words = ["--name", "tiny", "--path", folder, "--device", "cpu", "--dtype", "float32", *flags]
        return *lape("model", *words, "--output", tmp_path / "model.json"), tmp_path / "model.json"

    return run


def rewrite(folder, change=lambda tensors: tensors, **configuration):
    """Save a checkpoint anew with other tensors or another configuration."""
    tensors = change(load_file(folder / "model.safetensors"))
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    if configuration:
        config = json.loads((folder / "config.json").read_text()) | configuration
        (folder / "config.json").write_text(json.dumps(config))
    return folder


UP = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize(
    "change, configuration, message",
    [
        (lambda tensors: {key: each for key, each in tensors.items() if key != UP}, {}, f"the checkpoint lacks {UP};"),
        (lambda tensors: {f"a.b.{name}": each for name, each in tensors.items()}, {}, "the checkpoint lacks "),
        (lambda tensors: {**tensors, UP: tensors[UP][1:]}, {}, f"the checkpoint has in another shape {UP};"),
        (lambda tensors: tensors, {"vocab_size": 410}, "the checkpoint has in another shape "),
        (lambda tensors: tensors, {"num_hidden_layers": 4}, "the checkpoint lacks model.layers.3."),
        (lambda tensors: tensors, {"num_hidden_layers": 2}, "the model has no place for model.layers.2."),
        (
            lambda tensors: {**tensors, "model.layers.0.mlp.gate_proj.bias": torch.ones(32)},
            {},
            "the model has no place for model.layers.0.mlp.gate_proj.bias;",
        ),
    ],
)  # fmt: skip
def test_a_checkpoint_that_is_not_the_models_is_refused(tmp_path, described, change, configuration, message):
    folder = rewrite(make_model(tmp_path / "tiny"), change, **configuration)
    status, messages, output = described(folder)
    assert status == 1 and len(messages.splitlines()) == 1
    assert messages.startswith(f"lape model: {folder}: {message}") and not output.exists()


def test_weights_of_other_parts_are_no_fault(tmp_path, described):
    """A checkpoint may hold an encoder of images, or a head of another task."""
    others = {"vision_tower.layers.0.weight": torch.ones(2), "score.weight": torch.ones(2)}
    status, messages, _ = described(rewrite(make_model(tmp_path / "tiny"), lambda tensors: {**tensors, **others}))
    assert status == 0, messages


def test_a_load_of_other_weights_is_refused(tmp_path, described):
    folder = make_model(tmp_path / "tiny")
    _, _, output = described(folder)
    header = read_json(output, "model")
    names = list(header["weights"])
    assert len(names) == 8 and names[0] == "model.embed_tokens.weight" and any("_proj" in name for name in names)
    load_model(output)
    rewrite(folder, lambda tensors: {**tensors, names[3]: tensors[names[3]] + 1})  # a file of the same size
    with pytest.raises(LapeError, match=rf"{names[3]} was loaded with other values than the checkpoint's files hold"):
        load_model(output)


def test_a_head_of_its_own_is_loaded_though_the_configuration_ties_it(tmp_path, described):
    folder = make_model(tmp_path / "tiny")
    head = torch.randn(400, 16)
    rewrite(folder, lambda tensors: {**tensors, "lm_head.weight": head}, tie_word_embeddings=True)
    assert described(folder)[0] == 0
    model, _ = load_model(tmp_path / "model.json")
    assert torch.equal(model.lm_head.weight, head) and not torch.equal(model.model.embed_tokens.weight, head)


def in_fp8(tensors: dict[str, torch.Tensor], block: int = 16) -> dict[str, torch.Tensor]:
    """The weights of linear layers in float8 with a scale per block, as DeepSeek and Qwen publish them."""
    quantised = {}
    for name, weight in tensors.items():
        if "_proj" not in name:
            quantised[name] = weight
            continue
        rows, columns = weight.shape
        blocks = weight.view(rows // block, block, columns // block, block)
        scale = blocks.abs().amax((1, 3), keepdim=True) / torch.finfo(torch.float8_e4m3fn).max
        quantised[name] = (blocks / scale).view(rows, columns).to(torch.float8_e4m3fn)
        quantised[f"{name}_scale_inv"] = scale.view(rows // block, columns // block)
    return quantised


FP8 = {"quant_method": "fp8", "weight_block_size": [16, 16], "activation_scheme": "dynamic"}


def test_a_checkpoint_in_fp8_is_read_with_its_scales(tmp_path, described):
    folder = make_model(tmp_path / "tiny")
    plain = load_file(folder / "model.safetensors")
    rewrite(folder, in_fp8, quantization_config=FP8)
    status, messages, output = described(folder)
    assert status == 0, messages
    model, header = load_model(output)
    assert header["scheme"] == "fp8" and header["weights"]
    for layer in model.model.layers:  # the CPU has no kernel for float8, so that the weights are dequantised
        weight = layer.mlp.gate_proj.weight
        assert weight.dtype == torch.float32 and weight.unique().numel() > 64
    loaded = model.model.layers[1].mlp.up_proj.weight
    assert 0 < (loaded - plain[UP]).abs().max() < plain[UP].abs().max() / 16  # three bits of mantissa
    assert record_statistics(model, [BATCH]).tokens == 40

    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    status, messages, _ = described(folder)
    assert status == 1 and f"lape model: {folder}: its weights cannot be read" in messages


# The sixteen values of a number in MXFP4, two to a byte; each block of 32 shares a power of two.
FP4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])


def in_mxfp4(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The experts' weights [E, inputs, outputs] in blocks along the inputs, as gpt-oss is published."""
    quantised = {}
    for name, weight in tensors.items():
        if not name.endswith("_proj") or "experts" not in name:
            quantised[name] = weight
            continue
        blocks = weight.transpose(1, 2).unflatten(2, (-1, 32))
        exponent = (blocks.abs().amax(-1, keepdim=True) / 6).log2().ceil()
        code = ((blocks * 2.0**-exponent)[..., None] - FP4).abs().argmin(-1).to(torch.uint8)
        quantised[f"{name}_blocks"] = code[..., ::2] | code[..., 1::2] << 4
        quantised[f"{name}_scales"] = (exponent[..., 0] + 127).to(torch.uint8)
    return quantised


def test_a_checkpoint_in_mxfp4_is_read_with_its_scales(tmp_path, described):
    shape = {"hidden_size": 32, "num_local_experts": 4, "head_dim": 16, "num_key_value_heads": 1}
    folder = make_model(tmp_path / "tiny", model_type="gpt_oss", **shape)
    plain = load_file(folder / "model.safetensors")
    rewrite(folder, in_mxfp4, quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]})
    status, messages, output = described(folder)
    assert status == 0, messages
    model, header = load_model(output)
    assert (header["scheme"], header["neurons_per_layer"], header["experts"]) == ("mxfp4", 128, 4)
    # The CPU has no kernel for it without triton, so that the weights are dequantised.
    name = "model.layers.1.mlp.experts.down_proj"
    loaded, wanted = model.get_parameter(name).float(), plain[name].float()
    assert 0 < (loaded - wanted).abs().max() < wanted.abs().max() / 4  # one bit of mantissa
    assert record_statistics(model, [BATCH]).rows.sum(axis=1).tolist() == [160] * 3


@pytest.mark.parametrize(
    "method, names",
    [("gptq", "optimum"), ("awq", "gptqmodel"), ("compressed-tensors", "compressed-tensors"), ("new", "does not know")],
)
def test_quantised_weights_that_cannot_be_read_are_refused(tmp_path, described, method, names):
    own = {"quant_method": method, "bits": 4, "group_size": 16}
    folder = rewrite(make_model(tmp_path / "tiny"), quantization_config=own)
    status, messages, output = described(folder)
    assert status == 1 and names in messages and f"its weights are quantised by {method}" in messages
    assert not output.exists()


def test_quantised_weights_are_not_quantised_again(tmp_path, described, monkeypatch):
    monkeypatch.setattr("lape.model.quantization.importlib.util.find_spec", lambda name: object())
    folder = rewrite(make_model(tmp_path / "tiny"), in_fp8, quantization_config=FP8)
    status, messages, _ = described(folder, "--quantization", "bitsandbytes-4bit")
    assert status == 1 and "are quantised already (fp8); leave the model's `quantization`" in messages


def test_an_artifact_without_hashes_of_weights_still_loads(tmp_path, described):
    _, _, output = described(make_model(tmp_path / "tiny"))
    header = json.loads(output.read_text())
    del header["weights"], header["scheme"]
    write_json(output, header)
    load_model(output)
