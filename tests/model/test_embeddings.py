"""Sentence embeddings: transformers' own hidden states, pooled by hand; the batch, BOS and padding change nothing."""

import json

import numpy as np
import pytest
import torch
from architectures import tiny
from stages import check_refusal

from lape.artifacts.files import sha256
from lape.cli import main
from lape.errors import LapeError
from lape.model.embeddings import sentence_embeddings
from lape.model.tokenizer import load_tokenizer

BOS = 7
SENTENCES = [[9, 10, 11], [12], [13, 14, 15, 16, 17, 18, 19], [20, 21], [9, 10, 11]]
# Rotary and learned positions, ALiBi, sliding windows, routed experts; OPT's positions come from the mask.
ARCHITECTURES = ("llama", "gemma3_text", "gpt2", "bloom", "opt", "falcon", "qwen3_moe")


@torch.inference_mode()
def hidden_states(model, ids: list[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """transformers' own, behind every layer [L] x [T, d], and once more what its last norm makes of the last."""
    decoder, seen = model.get_decoder(), []
    output = decoder(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    norms = [child for name, child in decoder.named_children() if "norm" in name or name == "ln_f"]
    handle = norms[-1].register_forward_hook(lambda module, inputs, normed: seen.append(inputs[0]))
    decoder(input_ids=torch.tensor([ids]), use_cache=False)
    handle.remove()
    states = [*output.hidden_states[1:-1], seen[0]]
    return [state[0].float().numpy() for state in states], output.hidden_states[-1][0].float().numpy()


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_are_the_hidden_states_before_the_last_norm_without_bos(model_type):
    model = tiny(model_type)
    found = {
        pooling: sentence_embeddings(model, SENTENCES, bos=BOS, pooling=pooling, batch_size=3)
        for pooling in ("mean", "last")
    }
    assert found["mean"].shape == (2, 5, 16) and found["mean"].dtype == np.float32
    for place, sentence in enumerate(SENTENCES):
        states, normed = hidden_states(model, [BOS, *sentence])
        assert np.abs(states[-1] - normed).max() > 0.01
        for layer, state in enumerate(states):
            np.testing.assert_allclose(found["mean"][layer, place], state[1:].mean(axis=0), atol=2e-6)
            np.testing.assert_allclose(found["last"][layer, place], state[-1], atol=2e-6)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
@pytest.mark.parametrize("bos", [BOS, None])
def test_do_not_depend_on_the_batch(model_type, bos):
    model = tiny(model_type)
    one_by_one = sentence_embeddings(model, SENTENCES, bos=bos, batch_size=1)
    for batch_size in (2, 16):
        found = sentence_embeddings(model, SENTENCES, bos=bos, batch_size=batch_size)
        np.testing.assert_allclose(found, one_by_one, atol=2e-6)
    np.testing.assert_allclose(one_by_one[:, 0], one_by_one[:, 4], atol=2e-6)
    assert np.abs(one_by_one[:, 0] - one_by_one[:, 1]).max() > 0.01


def test_without_bos_every_token_is_pooled():
    model = tiny("llama")
    states, _ = hidden_states(model, SENTENCES[2])
    found = sentence_embeddings(model, SENTENCES)
    np.testing.assert_allclose(found[:, 2], [state.mean(axis=0) for state in states], atol=2e-6)


def test_pools_in_float32_whatever_the_model_computes_in():
    model = tiny("llama", torch.bfloat16)
    states, _ = hidden_states(model, [BOS, *SENTENCES[2]])
    found = sentence_embeddings(model, SENTENCES[2:3], bos=BOS)
    np.testing.assert_allclose(found[:, 0], [state[1:].mean(axis=0) for state in states], rtol=1e-6, atol=1e-7)
    rounded = torch.from_numpy(found).bfloat16().float().numpy()
    assert (rounded != found).mean() > 0.5


def test_hooks_go_and_progress_counts_every_token_once():
    model, seen = tiny("llama"), []
    sentence_embeddings(model, SENTENCES, bos=BOS, batch_size=2, on_batch=seen.append)
    assert seen == [10, 5, 1]
    assert not any(module._forward_hooks for module in model.modules())


def test_a_compiled_decoder_runs_as_it_is_and_stays_compiled():
    model = tiny("llama")
    expected = sentence_embeddings(model, SENTENCES, bos=BOS)
    model.get_decoder().compile()
    compiled = model.get_decoder()._compiled_call_impl
    np.testing.assert_array_equal(sentence_embeddings(model, SENTENCES, bos=BOS), expected)
    assert compiled is not None and model.get_decoder()._compiled_call_impl is compiled


def test_refuses_a_sentence_without_a_token_and_what_is_not_finite():
    model = tiny("llama")
    with pytest.raises(LapeError, match="sentence 1: has no token"):
        sentence_embeddings(model, [[9], []], bos=BOS)
    model.model.layers[1].mlp.down_proj.weight.data[0, 0] = float("inf")
    with pytest.raises(LapeError, match="NaN or infinite; set the model's dtype"):
        sentence_embeddings(model, SENTENCES, bos=BOS)
    assert not any(module._forward_hooks for module in model.modules())


QUESTIONS = {2: "la maison près de cette rivière", 3: "où coule une lumière", 5: "la"}


@pytest.fixture
def workspace(tmp_path, monkeypatch, tiny_folder):
    """The tiny model's artifact and three questions; the working directory."""
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"number": number, "question": text}) + "\n" for number, text in QUESTIONS.items()]
    (tmp_path / "fr.jsonl").write_text("".join(lines))
    assert (
        main(["questions", "--language", "fr", "--settings", '{"pattern": "fr.jsonl"}', "--output", "q/fr.jsonl"]) == 0
    )
    words = ["model", "--name", "tiny", "--path", str(tiny_folder), "--device", "cpu", "--dtype", "float32"]
    assert main([*words, "--output", "model.json"]) == 0
    return tmp_path


EMBED = ["embed", "--model", "model.json", "--sentences", "q/fr.json"]


def test_command_writes_array_and_header_and_the_same_bytes_twice(workspace, tiny_model):
    found = []
    for _ in range(2):
        assert main([*EMBED, "--pooling", "last", "--output", "e/fr.npy"]) == 0
        found.append({path.name: path.read_bytes() for path in (workspace / "e").iterdir()})
    assert found[0] == found[1]
    tokenizer = load_tokenizer(workspace / "tokenizer.json")
    sentences = [tokenizer.encode(text, add_special_tokens=False).ids for text in QUESTIONS.values()]
    expected = [[state[-1] for state in hidden_states(tiny_model, [0, *ids])[0]] for ids in sentences]
    np.testing.assert_allclose(np.load("e/fr.npy"), np.swapaxes(expected, 0, 1), atol=2e-5)

    header = json.loads(found[0]["fr.json"])
    assert (header["artifact"], header["model"], header["language"], header["pooling"]) == (
        "embeddings", "tiny", "fr", "last"
    )  # fmt: skip
    assert (header["layers"], header["sentences"], header["width"], header["bos"]) == (3, 3, 16, 0)
    assert header["numbers"] == [2, 3, 5] and header["tokens"] == sum(map(len, sentences))
    assert (header["device"], header["dtype"]) == ("cpu", "float32")
    assert header["model_revision"] == json.loads((workspace / "model.json").read_text())["revision"]
    assert header["parameters"] == {"pooling": "last", "batch_size": 16, "threads": 1}
    assert set(header["inputs"]) == {"model.json", "tokenizer.json", "q/fr.json", "q/fr.jsonl"}
    assert header["outputs"] == {"fr.npy": sha256("e/fr.npy")}


def test_command_refuses_what_it_cannot_embed_in_one_line(workspace, lape):
    status, messages = lape("embed", "--model", "model.json", "--sentences", "model.json", "--output", "e/fr.npy")
    check_refusal(status, messages, "embed", "model.json", "questions")
    (workspace / "fr.jsonl").write_text(json.dumps({"number": 1, "question": "maison " * 80}) + "\n")
    assert (
        main(["questions", "--language", "fr", "--settings", '{"pattern": "fr.jsonl"}', "--output", "q/fr.jsonl"]) == 0
    )
    status, messages = lape(*EMBED, "--output", "e/fr.npy")
    check_refusal(status, messages, "embed", "tiny fr", "context of 64")
    (workspace / "q/fr.jsonl").write_text("{}\n")
    status, messages = lape(*EMBED, "--output", "e/fr.npy")
    check_refusal(status, messages, "embed", "q/fr.jsonl")
    assert not (workspace / "e").exists()
