"""Directions of languages in the hidden states (DiffMean), and their addition while a model runs.

The direction of a language is the mean hidden state of its text less the mean over the other languages' means. Adding
it behind a layer is the baseline that neurons are compared with; see Gurgurov et al. 2026 (CLaS-Bench).
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lape.artifacts.files import checked, read_json, write_header, writing
from lape.errors import LapeError
from lape.interventions.dose import Push
from lape.interventions.perturbation import Firing, edits_of
from lape.kernels import ops
from lape.model.decoder import decoder_of, device_of
from lape.model.embeddings import hidden_states_hooked
from lape.model.ffn import find_ffn
from lape.neurons.set_names import known_sets


@dataclass(frozen=True)
class Directions:
    """The direction of every language behind every layer.

    Attributes:
        values: float32 [K, L, d].
        languages: the K languages.
        origin: what messages call the directions.
        summary: the header; empty for directions that were not loaded.
    """

    values: np.ndarray
    languages: tuple[str, ...]
    origin: str = "directions"
    summary: dict = field(default_factory=dict)

    @classmethod
    def of_means(cls, means: Mapping[str, np.ndarray]) -> "Directions":
        """Directions from the mean hidden states of every language, [L, d] each; see `hidden_means`.

        Raises:
            LapeError: there are fewer than two languages.
        """
        if len(means) < 2:
            raise LapeError("directions: of one language there is no difference; pass the means of two or more")
        stacked = np.stack(list(means.values()))
        others = (stacked.sum(axis=0) - stacked) / (len(stacked) - 1)
        return cls((stacked - others).astype(np.float32), tuple(means))

    def of(self, language: str) -> dict[int, np.ndarray]:
        """The direction of a language behind every layer: layer (from 0) -> float32 [d].

        Raises:
            LapeError: the language is unknown.
        """
        known_sets(language, self.languages, self.origin)
        return dict(enumerate(self.values[self.languages.index(language)]))

    def pushes(self, language: str, push: Push) -> dict[int, np.ndarray]:
        """What is added behind each layer: layer (from 0) -> float32 [d]; empty at strength 0.

        Raises:
            LapeError: the language is unknown.
        """
        own = self.of(language)
        return {layer: push.strength * own[layer] for layer in push.layers(len(own)) if push.strength}

    def save(self, path: str | Path, *, parameters: dict, inputs: Iterable, **fields) -> None:
        """Write `<name>.npz`, with the array `values`, and the header beside it."""
        path = Path(path)
        with writing(path) as temporary:
            np.savez(temporary, values=self.values)
        write_header(
            path.with_suffix(".json"),
            "directions",
            **fields,
            method="diffmean",
            languages=list(self.languages),
            layers=self.values.shape[1],
            width=self.values.shape[2],
            parameters=parameters,
            inputs=inputs,
            outputs=[path],
        )

    @classmethod
    def load(cls, path: str | Path) -> "Directions":
        """Read what `save` wrote, from the header.

        Raises:
            LapeError: a file is missing, damaged or of another kind.
        """
        header = read_json(path, "directions")
        data = checked(path, header, ".npz")
        try:
            with np.load(data, allow_pickle=False) as arrays:
                values = arrays["values"]
            if values.shape != (len(header["languages"]), header["layers"], header["width"]):
                raise ValueError(f"shape {values.shape}")
        except Exception as error:  # a truncated or foreign file fails in many ways
            raise LapeError(f"{data}: holds no directions ({error}); run the directions step again") from error
        return cls(values, tuple(header["languages"]), str(path), header)


@contextlib.contextmanager
def pushed(
    model: nn.Module,
    pushes: Sequence[Mapping[int, np.ndarray]],
    choice: Tensor | None = None,
    backend: str = "auto",
) -> Iterator[Firing]:
    """Add vectors to the hidden states behind some layers, at every position, during the block.

    Args:
        model: a Hugging Face causal LM.
        pushes: layer -> float32 [d], as `Directions.pushes` gives them; one such, or several of which each sequence of
            a batch takes one.
        choice: int64 [B], number of the push of each sequence in the batches that follow; None takes the first.
        backend: see `lape.kernels.ops.resolved`.

    Yields:
        the record of what fired, by layer; it counts the entries of the hidden state. It is not checked.

    Raises:
        LapeError: the model has no such layer, or hidden states of another width.
    """
    layers = {number: layer for push in pushes for number, layer in fitting_layers(model, push).items()}
    used, width = sorted(layers), decoder_of(model).config.get_text_config().hidden_size
    every = np.arange(width)
    with torch.inference_mode(False):  # the record's tensors may outlive an inference mode of the caller
        edits = {
            layer: [
                edits_of(
                    [[("add", every, push[layer])] if layer in push else [] for push in pushes],
                    device_of(layers[layer]),
                )
            ]
            for layer in used
        }
        firing = Firing([{layer: width for layer in push} for push in pushes], edits)
    backend = ops.resolved(backend, *{device_of(layers[layer]) for layer in used}) if used else backend

    def add(layer: int, hidden: Tensor) -> Tensor:
        chosen = None
        if choice is not None:
            chosen = choice.to(hidden.device)[:, None].expand(hidden.shape[:-1]).contiguous()
        return firing.edit(layer, 0, hidden.contiguous(), chosen, backend)

    with hidden_states_hooked(decoder_of(model), layers, add):
        yield firing


def fitting_layers(model: nn.Module, vectors: Mapping[int, np.ndarray]) -> dict[int, nn.Module]:
    """The layers of a model behind which vectors, [d] each, are put: number (from 0) -> layer.

    Raises:
        LapeError: the model has no such layer, or hidden states of another width.
    """
    layers, width = find_ffn(model).layers, decoder_of(model).config.get_text_config().hidden_size
    for number, vector in vectors.items():
        if not 0 <= number < len(layers) or vector.shape != (width,):
            raise LapeError(
                f"directions: of layer {number} (from 0) with {len(vector)} entries, the model has {len(layers)} "
                f"layers of {width}; make them on this model"
            )
    return {number: layers[number] for number in vectors}
