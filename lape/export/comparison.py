"""How far the logits of an exported checkpoint are from those of the perturbed model."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lape.errors import LapeError
from lape.interventions.overwriting import UnitPerturbation, overwritten
from lape.interventions.perturbation import Perturbation, perturbed
from lape.model.decoder import input_device
from lape.model.loading import DTYPES, load_model

# Largest difference of two logits that is taken for rounding, as a share of the largest logit, in steps of the dtype.
_STEPS = 64


@dataclass(frozen=True)
class Comparison:
    """Logits of the exported checkpoint beside those of the perturbed model, on some text.

    Attributes:
        tokens: number of tokens at which they were compared.
        changed: number of activations or outputs that the perturbation changed in the text.
        difference: the largest absolute difference of two logits.
        effect: the largest absolute difference of a logit of the perturbed model from the unperturbed one.
        logit: the largest absolute logit.
        dtype: in which both models computed.
        backend: the device on which they did.
    """

    tokens: int
    changed: int
    difference: float
    effect: float
    logit: float
    dtype: str
    backend: str

    def fields(self) -> dict:
        """The comparison as plain values for JSON."""
        return asdict(self)

    @property
    def bound(self) -> float:
        """The largest difference that passes."""
        return _STEPS * torch.finfo(DTYPES[self.dtype]).eps * self.logit

    def check(self, folder: Path) -> None:
        """Fail where the logits differ by more than rounding.

        Raises:
            LapeError: they do.
        """
        if not self.difference <= self.bound:  # NaN does not pass either
            raise LapeError(
                f"{folder}: its logits would differ from the perturbed model's by {self.difference:.3g}, more than the "
                f"{self.bound:.3g} of rounding; nothing was written, use lape itself"
            )


def compare(
    model_json: Path, folder: Path, change: Perturbation | UnitPerturbation, chunks: Sequence[np.ndarray]
) -> Comparison:
    """Compare an exported checkpoint with the perturbed model. One of the two is in memory at a time.

    Args:
        model_json: header of the model, by whose settings both are loaded.
        folder: the exported checkpoint.
        change: the perturbation.
        chunks: token ids, int64 [T] each.

    Raises:
        LapeError: a model cannot be loaded, or the perturbation does not fire.
    """
    model, header = load_model(model_json)
    plain = _logits(model, chunks)
    begin = overwritten if isinstance(change, UnitPerturbation) else perturbed
    with begin(model, change) as firing:
        wanted = _logits(model, chunks)
    tokens = sum(map(len, chunks))
    firing.check(tokens, must_change=False)
    device = str(input_device(model))
    del model
    with tempfile.TemporaryDirectory() as beside:
        exported = Path(beside, "model.json")
        own = header | {"source": "path", "path": str(folder.resolve()), "sizes": {}, "weights": {}}
        exported.write_text(json.dumps(own), encoding="utf-8")
        found = _logits(load_model(exported)[0], chunks)
    difference, effect = (
        max(float((logits - those).abs().max()) for logits, those in zip(wanted, others, strict=True))
        for others in (found, plain)
    )
    largest = max(float(logits.abs().max()) for logits in wanted)
    return Comparison(tokens, sum(firing.changed.values()), difference, effect, largest, header["dtype"], device)


@torch.inference_mode()
def _logits(model, chunks: Sequence[np.ndarray]) -> list[Tensor]:
    """Logits of each chunk, float32 [T, vocabulary], in memory of the CPU."""
    device = input_device(model)
    return [
        model(input_ids=torch.from_numpy(chunk)[None].to(device), use_cache=False).logits[0].float().cpu()
        for chunk in chunks
    ]
