"""The response of every unit to every sentence: the mean of its output over the tokens (Kojima et al. 2024)."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.expert_units.blocks import Responses
from lape.machine import ranks
from lape.model.decoder import decoder_of, input_device
from lape.model.embeddings import batches_by_length, uncompiled
from lape.model.ffn import find_ffn
from lape.model.fused import experts_seen
from lape.model.linear import LinearLayer, find_units, mixture_of
from lape.model.model_sites import FFN, ModelSite
from lape.model.patching import check_not_replaced
from lape.model.sites import layer_label

__all__ = ["Responses", "responses"]


@torch.inference_mode()
def responses(
    model: nn.Module,
    sentences: Sequence[Sequence[int]],
    layers: Sequence[LinearLayer],
    *,
    bos: int | None,
    batch_size: int = 32,
    names: Sequence[str] | None = None,
    on_batch: Callable[[int], None] = lambda tokens: None,
) -> np.ndarray:
    """The response of every unit to every sentence.

    A response is the mean of the unit's output over the sentence's tokens, BOS included, in float32 whatever the
    model's dtype is. In a mixture of experts the mean is over the tokens that were routed to the unit's expert, and 0
    where there are none. The LM head is not computed. The batch that a sentence is in changes its responses by rounding
    alone. Where a model is spread over ranks, each rank returns the responses of all units.

    Args:
        model: a Hugging Face causal LM.
        sentences: token ids of each of N sentences, without BOS.
        layers: all linear layers of the model, see `lape.model.linear.linear_layers`.
        bos: id of the token that goes before every sentence; None for no such token.
        batch_size: sentences per forward pass. Sentences of similar length share a pass.
        names: what messages call the sentences; None for their numbers.
        on_batch: called with the number of tokens of each batch, BOS included, for progress.

    Returns:
        float32 [U, N].

    Raises:
        LapeError: a sentence has no token, a linear layer did not run, a response is not finite, or the FFNs are
            recorded or perturbed already.
    """
    ffn, decoder, device = find_ffn(model), decoder_of(model), input_device(model)
    check_not_replaced(ffn.layers)
    modules = [linear for linear in layers if mixture_of(linear.layer, linear.name, ffn) is None]
    outside = {(linear.layer, linear.name) for linear in modules}  # of the experts of a mixture
    spread = {
        (linear.layer, linear.name)
        for linear in modules
        if ranks.of_output(decoder, linear.name, ffn.layers[linear.layer].get_submodule(linear.name))[0] > 1
    }
    found = np.zeros((layers[-1].first + layers[-1].width, len(sentences)), np.float32)
    with uncompiled(decoder), _averaging(ffn, modules) as means:
        for places, ids, lengths in batches_by_length(sentences, batch_size, bos):
            read = torch.arange(ids.shape[1]) < lengths[:, None]
            means.start(read.to(device))
            decoder(input_ids=ids.to(device), attention_mask=read.long().to(device), use_cache=False)
            own = {place: mean.cpu().numpy() for place, mean in means.of.items()}
            others = ranks.gathered({place: own[place] for place in spread & own.keys()}) if spread else []
            own |= {place: np.concatenate([each[place] for each in others], axis=1) for place in spread & own.keys()}
            for linear in layers:
                mean = own.get((linear.layer, linear.name))
                if mean is not None:
                    found[linear.first : linear.first + linear.width, places] = mean.T
                elif (linear.layer, linear.name) in outside:
                    raise LapeError(
                        f"{layer_label(linear.layer)}, {linear.name}: the model bypasses it; load it without "
                        "fused kernels"
                    )
            on_batch(int(lengths.sum()))
    if not np.isfinite(found).all():
        unit, place = np.argwhere(~np.isfinite(found))[0]
        where = find_units(layers, np.array([unit]))
        name = f"sentence {place}" if names is None else names[place]
        raise LapeError(
            f"{layer_label(where['layer'][0])}, {where['name'][0]}: a response to {name} is NaN or infinite; set the "
            "model's dtype to float32 or bfloat16, or check its weights"
        )
    return found


class _Means:
    """Means of the outputs of linear layers over those positions of a batch that hold tokens.

    The attribute `of` has them by (layer, name). They stay on the model's devices until the pass is over, so that no
    layer waits for a copy.
    """

    def start(self, read: Tensor) -> None:
        """Begin a batch in which the mask `read` [B, T] marks the positions to average over."""
        self.of: dict[tuple[int, str], Tensor] = {}
        self._read, self._weights, self._count = read, read[:, None].float(), read.sum(dim=1, keepdim=True)

    def over_positions(self, layer: int, name: str, output: Tensor) -> None:
        """Take the mean of an output [B, T, d] or [B * T, d] per sentence: float32 [B, d]."""
        weights, count = self._weights.to(output.device), self._count.to(output.device)
        # A matrix product is several times as fast as a sum over a middle dimension. Its weights, 0 and 1, are exact.
        self.of[layer, name] = torch.bmm(weights, output.reshape(*self._read.shape, -1).float())[:, 0] / count

    def over_rows(self, layer: int, name: str, output: Tensor, rows: Tensor) -> None:
        """Take the mean of an output [R, d] at the positions `rows` of the flattened batch: float32 [B, d].

        It is 0 for a sentence without such positions.
        """
        read = self._read.to(output.device)
        sentence = torch.arange(len(read), device=output.device)[:, None]
        member = (rows // read.shape[1] == sentence) & read.flatten()[rows]  # [B, R]
        self.of[layer, name] = member.float() @ output.float() / member.sum(dim=1, keepdim=True).clamp(min=1)


@contextlib.contextmanager
def _averaging(ffn: FFN, modules: Sequence[LinearLayer]) -> Iterator[_Means]:
    """During the block, reduce the output of every linear layer to its means as soon as it is computed.

    `modules` are the linear layers outside the experts of mixtures; those in them have no module.
    """
    means = _Means()

    def hook(layer: int, name: str) -> Callable:
        return lambda module, inputs, output: means.over_positions(layer, name, output)

    def see(site: ModelSite, expert: int, projection: str, output: Tensor, rows: Tensor) -> Tensor:
        means.over_rows(site.site.layer, f"{site.paths.experts}.{expert}.{projection}", output, rows)
        return output

    with contextlib.ExitStack() as stack:
        for part in ffn.parts:
            if part.paths.experts:
                stack.enter_context(experts_seen(part, partial(see, part)))
        for linear in modules:
            module = ffn.layers[linear.layer].get_submodule(linear.name)
            stack.callback(module.register_forward_hook(hook(linear.layer, linear.name)).remove)
        yield means
