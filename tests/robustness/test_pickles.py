"""Files that would run code if they were unpickled, wherever a command takes a file: none is, whatever its name."""

import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from stages import arguments

PAYLOAD = Path("payload-has-run")


class Payload:
    """Unpickling it makes a file."""

    def __reduce__(self):
        return open, (str(PAYLOAD.absolute()), "w")


def pickled() -> bytes:
    return pickle.dumps(Payload())


def torch_file(content: object, zipped: bool = True) -> bytes:
    body = io.BytesIO()
    torch.save(content, body, _use_new_zipfile_serialization=zipped)
    return body.getvalue()


def npy(**options) -> bytes:
    body = io.BytesIO()
    np.save(body, np.array([Payload()], object), allow_pickle=True, **options)
    return body.getvalue()


def npz() -> bytes:
    body = io.BytesIO()
    names = ("count", "tokens", "rows", "totals", "squares", "above", "thresholds")
    np.savez(body, **dict.fromkeys(names, np.array([Payload()], object)))
    return body.getvalue()


def test_the_payload_works(tmp_path, monkeypatch):
    """Else the other tests would show nothing."""
    monkeypatch.chdir(tmp_path)
    for content in (pickled, npy, npz, lambda: torch_file(Payload())):
        PAYLOAD.unlink(missing_ok=True)
        body = io.BytesIO(content())
        if content in (npy, npz):
            loaded = np.load(body, allow_pickle=True)
            loaded["count"] if content is npz else None
        elif content is pickled:
            pickle.load(body)
        else:
            torch.load(body, weights_only=False)
        assert PAYLOAD.exists(), content


@pytest.fixture
def harmless(stages):
    yield
    assert not PAYLOAD.exists(), "a pickle was run"


RELEASED = {
    "pickle": pickled,
    "torch.save": lambda: torch_file(Payload()),
    "old torch.save": lambda: torch_file(Payload(), zipped=False),
    "among tensors": lambda: torch_file([[torch.tensor([1]), Payload()]]),
    "as a count": lambda: torch_file({"n": 1, "over_zero": Payload()}),
    "npy": npy,
}


@pytest.mark.parametrize("kind", RELEASED)
@pytest.mark.parametrize("suffix", ["pth", "pt"])
def test_released_files(refused, harmless, kind, suffix):
    Path(f"evil.{suffix}").write_bytes(RELEASED[kind]())
    words = f"import neurons evil.{suffix} --languages fr --neurons-per-layer 32 --output out/lape.tsv"
    refused(words.split(), f"evil.{suffix}", "without running code")
    refused(f"import counts fr=evil.{suffix} --name x --output out".split(), f"evil.{suffix}", "without running code")


@pytest.mark.parametrize("content", [pickled, npy, npz, lambda: torch_file(Payload())])
@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("statistics", "tokens/fr/train.npy"),
        ("baseline", "tokens/fr/valid.npy"),
        ("baseline", "tokens/fr/valid.bytes.npy"),
        ("contexts", "tokens/fr/train.documents.npy"),
        ("select", "statistics/fr.npz"),
        ("steering", "statistics/fr.npz"),
        ("select_units", "expert_units/average_precision.npy"),
        ("average_precision", "expert_units/responses.blocks/0.npy"),
        ("tokens", "corpus/fr.parquet"),
        ("perplexity", "neurons/lape.tsv"),
        ("tokens", "models/tokenizer.json"),
    ],
)
def test_data_of_a_header_that_names_no_hash(refused, harmless, content, stage, file):
    header = Path(file.replace(".blocks/0.npy", ".npy").replace(".bytes", "").replace(".documents", "")).with_suffix(
        ".json"
    )
    if header.name != "tokenizer.json":
        header.write_text(json.dumps(json.loads(header.read_text()) | {"outputs": {}}))
    Path(file).write_bytes(content())
    refused(arguments(stage, output=f"out/{Path(arguments(stage)[-1]).name}"), file)


@pytest.mark.parametrize("content", [pickled, lambda: torch_file({"x": Payload()})])
def test_weights_that_are_a_pickle(refused, harmless, content):
    Path("model/model.safetensors").write_bytes(content())
    refused(arguments("model", output="out/model.json"), "model: its weights cannot be read")


def test_pytorch_model_in_a_checkpoint(refused, lape, harmless):
    """Beside safetensors it is not read; in their place it is refused."""
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt"):
        Path("model", name).write_bytes(torch_file(Payload()))
    assert lape(*arguments("model"))[0] == 0
    assert lape(*arguments("baseline"))[0] == 0
    Path("model/model.safetensors").unlink()
    refused(arguments("model", output="out/model.json"), "model: has no *.safetensors")


def test_code_of_a_checkpoint(refused, harmless):
    """Without trust_remote_code it is not run, and nobody is asked."""
    code = f"open({str(PAYLOAD.absolute())!r}, 'w')\n"
    Path("model/evil.py").write_text(code)
    config = json.loads(Path("model/config.json").read_text())
    auto_map = {
        "AutoConfig": "evil.Config",
        "AutoModelForCausalLM": "evil.Model",
        "AutoTokenizer": ["evil.T", "evil.T"],
    }
    Path("model/config.json").write_text(json.dumps(config | {"model_type": "evil", "auto_map": auto_map}))
    refused(arguments("model", output="out/model.json"), "model: cannot be read")


@pytest.mark.parametrize("name", ["parameters/pv.safetensors", "parameters/finetuned/fr.safetensors"])
def test_parameters_that_are_a_pickle(refused, harmless, name):
    Path(name).parent.mkdir(parents=True)
    Path(name).write_bytes(torch_file({"x": Payload()}))
    header = Path(name).with_suffix(".json")
    revision = json.loads(Path("models/model.json").read_text())["revision"]
    shared = {"language": "fr", "model": "tiny", "model_revision": revision, "matrices": {}, "parameters": {}}
    kind = "parameters" if name.endswith("pv.safetensors") else "finetuned"
    header.write_text(json.dumps({"artifact": kind, "sets": ["fr", "ja"], "languages": ["fr", "ja"], **shared}))
    if kind == "parameters":
        refused(["control_parameters", "--parameters", str(header), "--output", "out/x.safetensors"], name)
    else:
        other = Path(shutil.copy(header, header.with_name("ja.json")))
        other.write_text(header.read_text().replace('"fr"', '"ja"', 1))
        shutil.copy(name, other.with_suffix(".safetensors"))
        words = [
            "--model",
            "models/model.json",
            "--finetuned",
            str(header),
            str(other),
            "--output",
            "out/pv.safetensors",
        ]
        refused(["select_parameters", *words], name)


def test_pickle_in_an_archive_of_tensors(refused, harmless):
    """A .pth is an archive: one whose members point elsewhere."""
    with zipfile.ZipFile("evil.pth", "w") as archive:
        archive.writestr("../../archive/data.pkl", pickled())
        archive.writestr("archive/data.pkl", pickled())
        archive.writestr("archive/version", "3\n")
    refused("import neurons evil.pth --languages fr --neurons-per-layer 32 --output out/x.tsv".split(), "evil.pth")
