"""Responses: plain hooks averaged by hand, one sentence at a time; blocks on disk that survive an interruption."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from architectures import MIXTURES, tiny
from op_cases import DEVICES
from stages import check_refusal
from tiny_data import make_text
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from lape.artifacts.code import ROOT, code_of
from lape.artifacts.files import read_json, write_header
from lape.audit.expert_units import check_responses
from lape.cli import main
from lape.errors import LapeError
from lape.expert_units import kept_blocks
from lape.expert_units import responses as module
from lape.expert_units.responses import Responses, responses
from lape.interventions.overwriting import UnitPerturbation, overwritten
from lape.model.architectures import ARCHITECTURES
from lape.model.linear import linear_layers
from lape.model.tokenizer import load_tokenizer

BOS = 7
SENTENCES = [[9, 10, 11], [12], [13, 14, 15, 16, 17, 18, 19], [20, 21], [9, 10, 11]]


@torch.inference_mode()
def plain_responses(model, ids: list[int]) -> np.ndarray:
    """[U]: every linear module's output in the order of modules, averaged over one sentence; experts by hand."""
    found, handles = {}, []

    def hook(path):
        return lambda module, inputs, output: found.update(
            {path: output.float().reshape(len(ids), -1).mean(0).cpu().numpy()}
        )

    def experts_hook(path):
        def hook(module, inputs):
            hidden, chosen, _ = inputs
            for expert in range(len(module.gate_up_proj)):
                rows = (chosen == expert).any(dim=1)
                gate_up = functional.linear(hidden[rows], module.gate_up_proj[expert])
                gate, up = gate_up.chunk(2, dim=1)
                down = functional.linear(functional.silu(gate) * up, module.down_proj[expert])
                for name, output in (("gate_up_proj", gate_up), ("down_proj", down)):
                    mean = output.sum(0) / max(1, int(rows.sum()))
                    found[f"{path}.{expert}.{name}"] = mean.cpu().numpy()

        return hook

    decoder, order = model.get_decoder(), []
    for path, part in decoder.named_modules():
        if isinstance(part, nn.Linear | Conv1D):
            handles.append(part.register_forward_hook(hook(path)))
            order.append(path)
        elif path.endswith(".experts"):
            handles.append(part.register_forward_pre_hook(experts_hook(path)))
            order += [f"{path}.{expert}.{name}" for expert in range(4) for name in ("gate_up_proj", "down_proj")]
    decoder(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
    for handle in handles:
        handle.remove()
    return np.concatenate([found[path] for path in order])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bos", [BOS, None], ids=["bos", "no bos"])
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_are_the_means_of_plain_hooks_whatever_the_batch(model_type, bos, device):
    model, tolerance = tiny(model_type, device=device), 1e-5 if device == "cpu" else 1e-4
    layers, front = linear_layers(model), [] if bos is None else [bos]
    expected = np.stack([plain_responses(model, [*front, *sentence]) for sentence in SENTENCES], axis=1)
    for batch_size in (1, 3, 16):
        found = responses(model, SENTENCES, layers, bos=bos, batch_size=batch_size)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    assert np.abs(expected).max() > 0.01
    assert not any(part._forward_hooks or "forward" in part.__dict__ for part in model.modules())


@pytest.mark.parametrize("model_type", MIXTURES)
def test_an_expert_that_no_token_reached_responds_zero(model_type):
    model = tiny(model_type)
    found = responses(model, [[12]], linear_layers(model), bos=None)
    means = [
        found[layer.first : layer.first + layer.width, 0] for layer in linear_layers(model) if "experts" in layer.name
    ]
    assert sum(not mean.any() for mean in means) == 8, "two of four experts in each of two layers are reached"


def test_are_averaged_in_float32_whatever_the_model_computes_in():
    model = tiny("llama", torch.bfloat16)
    found = responses(model, SENTENCES[2:3], linear_layers(model), bos=BOS)[:, 0]
    np.testing.assert_allclose(found, plain_responses(model, [BOS, *SENTENCES[2]]), rtol=1e-6, atol=1e-7)
    assert (torch.from_numpy(found).bfloat16().float().numpy() != found).mean() > 0.5


def test_an_overwritten_unit_responds_with_its_value():
    model = tiny("bloom")
    layers = linear_layers(model)
    units = UnitPerturbation({(layers[5].layer, layers[5].name): (np.array([3]), np.array([0.625], np.float32))})
    with overwritten(model, units):
        found = responses(model, SENTENCES, layers, bos=BOS)
    assert (found[layers[5].first + 3] == 0.625).all() and (found[layers[5].first + 2] != 0.625).all()


def test_a_compiled_decoder_runs_as_it_is_and_progress_counts_every_token_once():
    model, seen = tiny("llama"), []
    layers = linear_layers(model)
    expected = responses(model, SENTENCES, layers, bos=BOS, batch_size=2, on_batch=seen.append)
    assert seen == [12, 7, 2]
    model.get_decoder().compile()
    compiled = model.get_decoder()._compiled_call_impl
    np.testing.assert_array_equal(responses(model, SENTENCES, layers, bos=BOS, batch_size=2), expected)
    assert compiled is not None and model.get_decoder()._compiled_call_impl is compiled


def test_refuses_no_token_what_is_not_finite_and_what_is_bypassed():
    model = tiny("llama")
    layers = linear_layers(model)
    with pytest.raises(LapeError, match="sentence 1: has no token"):
        responses(model, [[9], []], layers, bos=BOS)
    model.model.layers[1].self_attn.forward = lambda hidden_states, **others: (hidden_states, None)
    with pytest.raises(LapeError, match=r"layer 2 .index 1., self_attn.q_proj: the model bypasses it; load"):
        responses(model, SENTENCES, layers, bos=BOS)
    del model.model.layers[1].self_attn.forward
    # Row 3 of the embedding reaches one sentence alone.
    model.get_input_embeddings().weight.data[20, 0] = torch.nan
    with pytest.raises(
        LapeError, match=r"layer 1 .index 0., self_attn.q_proj: a response to the bad one is NaN or infinite; set"
    ):
        responses(model, SENTENCES, layers, bos=BOS, names=["a", "b", "c", "the bad one", "d"])
    assert not any(part._forward_hooks for part in model.modules())


# The command and its artifact.

TEXTS = {
    "no": [make_text("en", 3 + number % 7, number) for number in range(40)],
    "fr": [make_text("fr", 2 + number % 9, number) for number in range(40)],
}


def write_sentences(language: str, texts: list[str]) -> None:
    rows = [{"split": "scored", "id": f"{number}", "text": text} for number, text in enumerate(texts)]
    with open(f"{language}.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    counts = dict(scored=len(texts), held_out=0)
    write_header(
        f"{language}.json",
        "sentences",
        language=language,
        **counts,
        parameters={},
        inputs=[],
        outputs=[f"{language}.jsonl"],
    )


@pytest.fixture
def workspace(tmp_path, monkeypatch, tiny_folder):
    """The tiny model's artifact and forty sentences in Norwegian ("no" is text) and French; the working directory."""
    monkeypatch.chdir(tmp_path)
    for language, texts in TEXTS.items():
        write_sentences(language, texts)
    words = ["model", "--name", "tiny", "--path", str(tiny_folder), "--device", "cpu", "--dtype", "float32"]
    assert main([*words, "--output", "model.json"]) == 0
    return tmp_path


COMMAND = ["responses", "--model", "model.json", "--sentences", "no.json", "fr.json", "--batch-size", "16"]
COMMAND += ["--bos", "--max-length", "12", "--output", "r/responses.json"]


def tree(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def expected_matrix(folder, model, table: pd.DataFrame, bos: bool = True, texts=TEXTS) -> np.ndarray:
    """[U, N] in the table's order, by plain hooks."""
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    columns = []
    for row in table.itertuples():
        ids = tokenizer.encode(texts[row.language][row.number], add_special_tokens=False).ids
        ids = ([0] * bos + ids)[:12]
        assert len(ids) == row.tokens
        columns.append(plain_responses(model, ids))
    return np.stack(columns, axis=1)


def test_command_writes_blocks_that_are_one_matrix_and_the_same_bytes_twice(workspace, tiny_model):
    found = []
    for _ in range(2):
        assert main(COMMAND) == 0
        found.append(tree(workspace / "r"))
        shutil.rmtree(workspace / "r")
    assert found[0] == found[1]
    assert main(COMMAND) == 0
    loaded = Responses.load("r/responses.json")
    table = pd.read_csv("r/responses.tsv", sep="\t", keep_default_na=False)
    assert list(table) == ["block", "column", "language", "number", "tokens"]
    pd.testing.assert_frame_equal(loaded.table, table)
    assert list(table["block"]) == [0] * 64 + [1] * 16
    assert list(table["column"]) == [*range(64), *range(16)]
    assert table["tokens"].is_monotonic_decreasing and table["tokens"].max() == 12 and table["tokens"].min() < 6
    assert table.groupby("language")["number"].apply(sorted).to_dict() == {key: list(range(40)) for key in TEXTS}

    expected = expected_matrix(workspace, tiny_model, table)
    np.testing.assert_allclose(loaded.chunk(0, loaded.units), expected, rtol=1e-5, atol=2e-5)
    np.testing.assert_array_equal(loaded.chunk(7, 9), loaded.chunk(0, loaded.units)[7:9])
    chunks = list(loaded.chunks(memory=4 * 80 * 50))
    assert [first for first, _ in chunks] == list(range(0, loaded.units, 50))
    assert all(chunk.dtype == np.float32 for _, chunk in chunks)
    np.testing.assert_array_equal(np.concatenate([chunk for _, chunk in chunks]), loaded.chunk(0, loaded.units))
    assert loaded.languages == ("no", "fr") and loaded.units == len(expected)
    assert (
        list(np.array(loaded.languages)[loaded.labels]) == list(table["language"]) and loaded.labels.dtype == np.int64
    )
    assert loaded.linear_layers == linear_layers(tiny_model)

    header = json.loads((workspace / "r/responses.json").read_text())
    assert (header["artifact"], header["model"], header["neuron_part"], header["bos"]) == (
        "responses",
        "tiny",
        "gate",
        0,
    )
    assert header["model_revision"] == json.loads((workspace / "model.json").read_text())["revision"]
    assert (header["sentences"], header["units"], header["block"]) == (80, loaded.units, 64)
    assert header["languages"] == ["no", "fr"] and header["storage"] == "float32"
    assert header["tokens"] == table["tokens"].sum() and header["left_out"] == {"no": 0, "fr": 0}
    assert set(header["inputs"]) == {"model.json", "tokenizer.json", "no.json", "no.jsonl", "fr.json", "fr.jsonl"}
    blocks = {f"responses.blocks/{name}" for name in ("0.npy", "1.npy", "0.json", "1.json")}
    assert set(header["outputs"]) == {"responses.tsv", *blocks}


def test_a_number_is_the_row_among_the_languages_sentences(workspace, tiny_model, lape):
    texts = {"no": ["Sagrada Familia", *TEXTS["no"]], "fr": [*TEXTS["fr"][:5], "sagrada  familia", *TEXTS["fr"][5:]]}
    for language, own in texts.items():
        write_sentences(language, own)
    assert main(COMMAND) == 0
    loaded = Responses.load("r/responses.json")
    numbers = loaded.table.groupby("language")["number"].apply(set)
    assert numbers["no"] == set(range(1, 41)) and numbers["fr"] == set(range(41)) - {5}
    assert json.loads((workspace / "r/responses.json").read_text())["left_out"] == {"no": 1, "fr": 1}
    expected = expected_matrix(workspace, tiny_model, loaded.table, texts=texts)
    np.testing.assert_allclose(loaded.chunk(0, loaded.units), expected, rtol=1e-5, atol=2e-5)
    write_sentences("no", [*texts["no"][:3], "", *texts["no"][3:]])
    check_refusal(*lape(*COMMAND), "responses", "no.jsonl:4 has no token", "leave it out")


def test_command_without_bos_and_in_half_precision(workspace, tiny_model):
    assert main([*COMMAND, "--no-bos", "--storage", "float16"]) == 0
    loaded = Responses.load("r/responses.json")
    assert np.load("r/responses.blocks/0.npy").dtype == np.float16
    expected = expected_matrix(workspace, tiny_model, loaded.table, bos=False)
    found = loaded.chunk(0, loaded.units)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert json.loads((workspace / "r/responses.json").read_text())["bos"] is None


def test_an_interrupted_run_goes_on_where_it_was(workspace, monkeypatch, lape):
    assert main(COMMAND) == 0
    whole = tree(workspace / "r")
    shutil.rmtree(workspace / "r")
    run, calls = module.responses, []

    def dying(model, sentences, *arguments, **settings):
        calls.append(len(sentences))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run(model, sentences, *arguments, **settings)

    monkeypatch.setattr(module, "responses", dying)
    assert lape(*COMMAND)[0] == 130
    assert set(tree(workspace / "r")) == {"responses.blocks/0.npy", "responses.blocks/0.json"}
    assert main(COMMAND) == 0
    assert calls == [64, 16, 16], "the first block was kept"
    assert tree(workspace / "r") == whole
    # Another setting keeps nothing, nor does a block that is not whole.
    assert main([*COMMAND, "--max-length", "11"]) == 0
    assert calls == [64, 16, 16, 64, 16]
    assert main(COMMAND) == 0
    (workspace / "r/responses.blocks/1.npy").write_bytes(b"")
    (workspace / "r/responses.blocks/2.npy").write_bytes(b"of a larger run")
    assert main(COMMAND) == 0
    assert calls[5:] == [64, 16, 16]
    assert tree(workspace / "r") == whole


def test_languages_in_another_order_are_other_columns(workspace, monkeypatch, lape):
    write_sentences("ja", [make_text("ja", 2 + number % 9, number) for number in range(40)])

    def command(*languages: str) -> list[str]:
        return [*COMMAND[:4], *(f"{language}.json" for language in languages), *COMMAND[6:]]

    assert main(command("ja", "fr", "no")) == 0
    fresh = tree(workspace / "r")
    shutil.rmtree(workspace / "r")
    assert main(command("no", "fr", "ja")) == 0
    assert tree(workspace / "r") != fresh
    (workspace / "r/responses.json").unlink()
    (workspace / "r/responses.blocks/1.npy").unlink()  # as an interruption leaves it
    assert main(command("ja", "fr", "no")) == 0
    assert tree(workspace / "r") == fresh
    known = {file.relative_to(ROOT).with_suffix("").as_posix() for file in code_of("lape.commands.responses")}
    assert {"lape/expert_units/responses", "lape/expert_units/kept_blocks", "lape/model/linear"} <= known


def test_command_says_first_what_it_takes_and_refuses_a_disk_that_is_too_small(workspace, monkeypatch, lape):
    status, messages = lape(*COMMAND)
    units = Responses.load("r/responses.json").units
    assert status == 0 and f"responses tiny: {units} units x 80 sentences; 0.00 GB" in messages.splitlines()[0]
    (workspace / "r/responses.blocks/1.npy").unlink()
    usage, wanted = shutil.disk_usage("/"), 16 * units * 4
    monkeypatch.setattr(kept_blocks.shutil, "disk_usage", lambda folder: usage._replace(free=wanted - 1))
    status, messages = lape(*COMMAND)
    check_refusal(status, messages, "responses", "r/responses.blocks", "GB are free", "storage to float16")
    monkeypatch.setattr(kept_blocks.shutil, "disk_usage", lambda folder: usage._replace(free=wanted))
    assert lape(*COMMAND)[0] == 0, "what is there already is not wanted again"


def test_command_refuses_what_it_cannot_do_in_one_line(workspace, lape):
    def refused(*names: str, options: tuple[str, ...] = ()) -> None:
        status, messages = lape(*COMMAND, *options)
        check_refusal(status, messages, "responses", *names)
        assert not (workspace / "r").exists()

    refused("max_length 1", options=("--max-length", "1"))
    refused("model.json", "sentences", options=("--sentences", "model.json", "fr.json"))
    write_sentences("fr", [*TEXTS["fr"][:30], "maison " * 90])
    refused("context of 64", "max_length", options=("--max-length", "256"))
    write_sentences("fr", [*TEXTS["fr"][:30], ""])
    refused("fr.jsonl:31 has no token")
    model = json.loads((workspace / "model.json").read_text())
    (workspace / "model.json").write_text(json.dumps(model | {"bos_token_id": None}))
    refused("no BOS token", "expert_units.bos")


def test_threads_are_one_or_more(lape, capsys):
    with pytest.raises(SystemExit):
        lape(*COMMAND, "--threads", "0")
    assert "argument --threads: 0 is no number above 0" in capsys.readouterr().err


def test_command_names_the_sentence_whose_response_is_not_finite(workspace, monkeypatch, lape):
    run = module.responses

    def large(*arguments, **settings):
        return run(*arguments, **settings) * 1e6

    monkeypatch.setattr(module, "responses", large)
    status, messages = lape(*COMMAND, "--storage", "float16")
    check_refusal(status, messages, "responses", "beyond float16", "storage to float32")


@pytest.mark.parametrize("change", ["table", "block", "kind", "cut block", "no block"])
def test_responses_that_are_not_the_headers_are_refused(workspace, change):
    assert main(COMMAND) == 0
    header, block = workspace / "r/responses.json", workspace / "r/responses.blocks/1.npy"
    match change:
        case "table":
            (workspace / "r/responses.tsv").write_text("block\tcolumn\n")
        case "block":
            np.save(block, np.load(block) + 1)
        case "cut block":
            block.write_bytes(block.read_bytes()[:-4])
        case "no block":
            block.unlink()
        case "kind":
            header.write_text(json.dumps({"artifact": "scores"}))
    remedy = "; run `lape responses` again, or snakemake --forcerun responses" if "block" in change else "; "
    with pytest.raises(LapeError, match=remedy):
        Responses.load(header)
    assert main(COMMAND) == 0
    assert Responses.load(header).units


@pytest.mark.parametrize("change", ["nothing", "swapped", "tokens", "left out"])
def test_the_audit_finds_columns_that_are_not_their_sentences(workspace, change):
    assert main(COMMAND) == 0
    path, table_path = workspace / "r/responses.json", workspace / "r/responses.tsv"
    header, table = read_json(path), pd.read_csv(table_path, sep="\t", keep_default_na=False)
    assert not list(check_responses(path, header))
    match change:
        case "swapped":  # within a language: every sentence still stands once
            rows = table.index[table["language"] == "fr"][[0, 1]]
            table.loc[rows, "number"] = table.loc[rows[::-1], "number"].to_numpy()
        case "tokens":  # their sum is the same
            table.loc[[0, 79], "tokens"] += [-1, 1]
        case "left out":
            header["left_out"] = {"no": 2, "fr": 0}
    table.to_csv(table_path, sep="\t", index=False)
    path.write_text(json.dumps(header | {"outputs": {}}))  # as if the hashes were forged
    wrong = {"nothing": [], "left out": ["left out"]}.get(change, ["its columns are not the sentences"])
    found = list(check_responses(path, header))
    assert len(found) == len(wrong) and all(fault.startswith(start) for fault, start in zip(found, wrong, strict=True))
