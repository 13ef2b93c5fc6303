"""Bad input: every command says in one line what is wrong and what to do, fails, and leaves nothing half-written."""

import gzip
import json
import random
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from package_index import digest, wheel
from stages import STAGES, arguments, cut
from tiny_data import ROOT, make_model

from lape import cli


def test_the_stages_themselves_succeed(stages, lape):
    for stage in STAGES:
        status, messages = lape(*arguments(stage))
        assert status == 0, messages


# The configuration, as Snakemake reads it.


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"neurons": {"raito": 0.1}}, "config neurons: unknown key 'raito'; did you mean 'ratio'?"),
        ({"languages": ["en", "xx"]}, "config languages: the embedded text has no 'xx'; it has ar, zh"),
        (
            {"models": ["gemma-270m"]},
            "config models: 'gemma-270m' is not in the catalogue; did you mean 'gemma3-270m'?",
        ),
        ({"languages": ["en", False]}, "config languages.1: YAML reads the word there as False; put it in quotes"),
    ],
)
def test_snakemake_refuses_a_bad_config(tmp_path, programs, config, line):
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    done = subprocess.run(
        [programs / "snakemake", "--snakefile", ROOT / "Snakefile", "--configfile", "bad.yaml", "--cores", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert line in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


# Downloads.


def test_checksum_mismatch(refused, index):
    index.add("data", "data-1.0-py3-none-any.whl", wheel({"data/x": b"other bytes"}))
    words = ["download", "--package", "data", "--version", "1.0", "--file", "data/x", "--sha256", digest(b"bytes")]
    refused([*words, "--index", index.url, "--output", "downloads/x"], digest(b"other bytes"), digest(b"bytes"))


def test_truncated_download(refused, index):
    path = index.add("data", "data-1.0-py3-none-any.whl", wheel({"data/x": random.Random(0).randbytes(3000)}))
    index.cut[path] = (1000, 99)
    words = ["download", "--package", "data", "--version", "1.0", "--file", "data/x", "--sha256", digest(b"")]
    refused([*words, "--index", index.url, "--output", "downloads/x"], "package data", "check the network")


# Texts.


def test_corpus_without_files(refused):
    refused(arguments("corpus", language="xx", output="out/xx.parquet"), "texts/xx/*", "no file matches")


def test_empty_corpus(refused):
    for file in Path("texts/fr").iterdir():
        file.write_text("")
    refused(arguments("corpus", output="out/fr.parquet"), "corpus fr", "no document is left")


def test_corpus_file_that_is_cut(refused):
    Path("texts/fr/more.jsonl.gz").write_bytes(gzip.compress(b'{"text": "bonjour"}\n' * 999)[:-9])
    refused(arguments("corpus", output="out/fr.parquet"), "texts/fr/more.jsonl.gz")


# Models.


def test_missing_model_folder(refused):
    refused(arguments("model", path="nowhere", output="out/model.json"), "nowhere", "`path`")


@pytest.mark.parametrize(("pattern", "name"), [("*.safetensors", "*.safetensors"), ("config.json", "config.json")])
def test_model_folder_without_a_needed_file(refused, pattern, name):
    for file in Path("model").glob(pattern):
        file.unlink()
    refused(arguments("model", output="out/model.json"), "model", name)


def test_model_config_that_is_cut(refused):
    cut("model/config.json")
    refused(arguments("model", output="out/model.json"), "model")


def test_model_of_unknown_architecture(refused):
    Path("model/config.json").write_text(json.dumps({"model_type": "none_such"}))
    refused(arguments("model", output="out/model.json"), "none_such")


def test_weights_that_are_cut(refused):
    cut("model/model.safetensors")
    refused(arguments("model", output="out/model.json"), "model: its weights cannot be read")


@pytest.mark.parametrize("stage", ["statistics", "baseline"])
def test_model_file_that_went_missing(refused, stage):
    Path("model/model.safetensors").unlink()
    output = arguments(stage)[-1]
    refused(arguments(stage, output=f"out/{Path(output).name}"), "model/model.safetensors", "models/model.json")


def test_model_file_that_changed_since(refused):
    with open("model/model.safetensors", "ab") as file:
        file.write(b" ")
    refused(arguments("statistics", output="out/fr.npz"), "model/model.safetensors", "changed")


def test_absent_device(refused):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    refused(arguments("model", device="cuda", output="out/model.json"), "'cuda'")


# Tokens.


def test_tokenizer_of_another_model(refused):
    make_model(Path("small"), vocab_size=100)
    for file in Path("model").glob("token*"):
        shutil.copy(file, "small")
    assert cli.main(arguments("model", path="small", output="models/small.json")) == 0
    refused(arguments("tokens", model="models/small.json", output="out/train.npy"), "the tokenizer", "100 embeddings")


def test_tokenizer_that_is_cut(refused):
    cut("models/tokenizer.json")
    refused(arguments("tokens", output="out/train.npy"), "models/tokenizer.json", "run the model step again")
    cut("model/tokenizer.json")
    refused(arguments("model", output="out/model.json"), "model", "the tokenizer cannot be loaded")


def test_budget_beyond_the_text(refused, lape):
    line = refused(arguments("tokens", budget="16000", output="out/train.npy"), "16000 tokens with BOS", "allow_fewer")
    held = int(re.search(r"19 documents hold (\d+);", line)[1])
    status, messages = lape(*arguments("tokens", budget="16000", output="out/train.npy"), "--allow-fewer")
    assert status == 0
    # Of a chunk's 16 positions 15 are text.
    assert np.load("out/train.npy").shape == (held // 15, 16)
    assert f"16000 were wanted, {held // 15 * 16} is all there is" in messages


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"chunk_length": "65"}, "context of 64"),
        ({"chunk_length": "1"}, "predicts no token"),
        ({"chunk_length": "0"}, "predicts no token"),
        ({"budget": "15"}, "15 tokens are less than one chunk"),
    ],
)
def test_chunks_that_cannot_be(refused, options, name):
    refused(arguments("tokens", **options, output="out/train.npy"), name, "chunk_length")


def test_tokenizer_without_bos(refused):
    path = Path("model/tokenizer_config.json")
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if "bos" not in key}))
    assert cli.main(arguments("model")) == 0
    refused(arguments("tokens", output="out/train.npy"), "no BOS token", "tokens.bos")


# Numbers and neurons that do not fit.


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("stage", ["statistics", "baseline"])
def test_activations_that_are_not_finite(refused, stage, value):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained("model")
    with torch.no_grad():
        model.model.layers[1].mlp.gate_proj.weight[5] = value
    model.save_pretrained("model")
    assert cli.main(arguments("model")) == 0
    words = arguments(stage, output=f"out/{Path(arguments(stage)[-1]).name}", batch_size="4")
    refused(words, "NaN or infinite", "dtype")


def test_neurons_of_another_shape(refused):
    make_model(Path("wide"), intermediate_size=48)
    assert cli.main(arguments("model", path="wide", output="models/wide.json")) == 0
    words = arguments("perplexity", model="models/wide.json", output="out/fr.tsv")
    refused(words, "neurons/lape.json", "found on tiny", "not on tiny")
    header = json.loads(Path("neurons/lape.json").read_text())
    Path("neurons/lape.json").write_text(json.dumps(header | {"model_revision": None}))  # as a released file's
    refused(words, "3 layers x 32", "3 layers x 48")


@pytest.mark.parametrize(("column", "value"), [("index", 32), ("layer", 3), ("layer", -1), ("languages", "de")])
def test_neuron_out_of_range(refused, column, value):
    table = pd.read_csv("neurons/lape.tsv", sep="\t")
    table.loc[0, column] = value
    table.to_csv("neurons/lape.tsv", sep="\t", index=False)
    refused(arguments("perplexity", output="out/fr.tsv"), "neurons/lape.tsv", "neurons/lape.json")


def test_unknown_set(refused):
    refused(arguments("perplexity", deactivate="de", output="out/de.tsv"), "'de'", "fr, ja")


def test_set_without_neurons_and_neurons_without_set(refused):
    refused(arguments("baseline", deactivate="fr", output="out/fr.tsv"), "--neurons", "--deactivate")
    refused(arguments("baseline", neurons="neurons/lape.json", output="out/fr.tsv"), "--neurons", "--deactivate")
    refused(arguments("accuracy", steer="fr", output="out/fr.tsv"), "--values", "--steer")
    refused(arguments("steered", deactivate="fr", output="out/fr.tsv"), "--steer", "--deactivate")
    refused(arguments("steered", steer="de", output="out/fr.tsv"), "'de'", "fr, ja")


def test_one_language(refused):
    words = arguments("select", output="out/lape.tsv")
    words.remove("statistics/ja.json")
    refused(words, "at least two")
    refused([word.replace("ja.json", "fr.json") for word in arguments("select", output="out/lape.tsv")], "twice")


def test_statistics_of_different_models(refused):
    path = Path("statistics/ja.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_revision": "other"}))
    refused(arguments("select", output="out/lape.tsv"), "statistics/ja.json", "another model")


@pytest.mark.parametrize(
    ("option", "value"), [("ratio", "0"), ("ratio", "1.5"), ("quantile", "-1"), ("quantile", "nan")]
)
def test_share_out_of_range(refused, option, value):
    refused(arguments("select", **{option: value}, output="out/lape.tsv"), f"neurons.{option}")
