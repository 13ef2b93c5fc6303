"""Where a decoder computes its FFN activations: its sites and their modules, by the table or by a trace.

A neuron is one column of the FFN's first projection, followed by the activation function (Tang et al. 2024, section
2.1). In a GLU it is a column of the gate (Eq. 3), and in a mixture of experts a column of one expert's gate. Recordings
and perturbations therefore act on the output of the activation function, before the up projection multiplies it.
"""

import re
import weakref
from collections.abc import Iterable

from torch import nn

from lape.errors import LapeError, first_line
from lape.machine import ranks
from lape.model.architectures import ARCHITECTURES, Architecture
from lape.model.decoder import decoder_of, input_device
from lape.model.ffn_search import Found, UnknownError, search
from lape.model.ffn_trial import check_sites
from lape.model.model_sites import FFN, ModelSite
from lape.model.modules import experts_of, input_width
from lape.model.patching import traced_anew
from lape.model.sites import Site, layer_label

# Decoder -> the FFNs that a trace found in it, and whether they were tried on its weights.
_traced: weakref.WeakKeyDictionary[nn.Module, tuple[list[Found], bool]] = weakref.WeakKeyDictionary()


def find_ffn(model: nn.Module) -> FFN:
    """Find the FFNs of a Hugging Face causal LM.

    An architecture that the table lacks, or of which a model differs from its entry, is traced: a forward pass of three
    tokens shows which projections feed which activation, and which projection reads it. What a trace finds is then
    tried on the model's weights: neurons that are set to zero must reach the output by the down projection alone.

    Raises:
        LapeError: the model has no FFN that is understood; the message says what was found.
    """
    decoder = decoder_of(model)
    model_type = decoder.config.model_type
    table = ARCHITECTURES.get(model_type)
    if table is not None:
        layers = _layers_by_table(decoder, table)
        if layers is not None:
            found = [_by_table(layer, table) for layer in layers]
            return _assembled(decoder, list(layers), enumerate([one] for one in found), model_type)
    found, tried = _traced.get(decoder, (None, False))
    if found is None or not _still_there(decoder, found):
        found, tried = _search(model, decoder, model_type), False
        _traced[decoder] = found, tried
    layers, by_layer = _by_layer(decoder, found, model_type)
    ffn = _assembled(decoder, layers, by_layer.items(), model_type)
    if not tried and not any(weight.is_meta for weight in decoder.parameters()):
        with traced_anew():
            check_sites(model, ffn, model_type)
        _traced[decoder] = found, True
    return ffn


def _search(model: nn.Module, decoder: nn.Module, model_type: str) -> list[Found]:
    try:
        with traced_anew():
            found = search(decoder, input_device(model))
    except UnknownError as error:
        raise LapeError(f"architecture {model_type!r}: {error}; its FFN is not understood") from error
    except Exception as error:  # models fail in many ways on token ids alone
        raise LapeError(
            f"architecture {model_type!r}: its FFN is not known, and its decoder does not run on token ids alone "
            f"({first_line(error)})"
        ) from error
    if not found:
        paths = [name for name, _ in decoder.named_modules(remove_duplicate=False)]
        shared = len(paths) > len(list(decoder.named_modules()))
        raise LapeError(
            f"architecture {model_type!r}: "
            + ("its layers share modules, and " if shared else "")
            + "no layer has an FFN that is understood: projections of one tensor, an activation function, and a "
            "projection back to the hidden state"
        )
    return found


def _still_there(decoder: nn.Module, found: list[Found]) -> bool:
    """Whether the modules that a trace found are still in a decoder."""
    modules = dict(decoder.named_modules())
    return all(path in modules for one in found for path in one.modules if path)


def _layers_by_table(decoder: nn.Module, architecture: Architecture) -> nn.ModuleList | None:
    """The decoder layers, if all members of one module list have the modules of the table's entry.

    A layer with experts does not fit an entry without, and the other way round.
    """

    def fits(layer: nn.Module) -> bool:
        modules = dict(layer.named_modules())
        mixture = any(map(experts_of, modules.values()))
        return all(path in modules for path in architecture if path) and mixture == bool(architecture.experts)

    lists = [child for child in decoder.children() if isinstance(child, nn.ModuleList) and len(child)]
    found = [layers for layers in lists if all(map(fits, layers))]
    if len(found) != 1 or len({id(layer.get_submodule(architecture.activation)) for layer in found[0]}) < len(found[0]):
        return None
    return found[0]


def _by_table(layer: nn.Module, architecture: Architecture) -> Found:
    if architecture.experts:
        experts = layer.get_submodule(architecture.experts)
        return Found(architecture, None, experts.gate_up_proj.shape[1] // 2, len(experts.gate_up_proj))
    return Found(architecture, None, input_width(layer.get_submodule(architecture.down)))


def _by_layer(
    decoder: nn.Module, found: list[Found], model_type: str
) -> tuple[list[nn.Module], dict[int, list[Found]]]:
    """The decoder layers, and what was found in each, by paths within the layer."""
    lists, by_layer = set(), {}
    for one in found:
        within = re.match(r"(.*?)\.?\b(\d+)\.", one.modules.experts or one.modules.down)
        if within is None:
            raise LapeError(f"architecture {model_type!r}: the FFN {one.modules.down} is in no list of layers")
        prefix, number = within.groups()
        lists.add(prefix)
        start = f"{prefix}.{number}.".lstrip(".")
        paths = Architecture(*(path.removeprefix(start) for path in one.modules))
        product = one.product
        if product is not None:
            product = product._replace(module=product.module.removeprefix(start.rstrip(".")).lstrip("."))
        here = one._replace(modules=paths, product=product, reads=one.reads.removeprefix(start))
        by_layer.setdefault(int(number), []).append(here)
    if len(lists) > 1:
        raise LapeError(f"architecture {model_type!r}: FFNs in several lists of layers ({', '.join(sorted(lists))})")
    layers = list(decoder.get_submodule(lists.pop()))
    for number, group in by_layer.items():
        modules = dict(layers[number].named_modules())
        if any(path and path not in modules for one in group for path in one.modules):
            raise LapeError(
                f"architecture {model_type!r}: the FFN of {layer_label(number)} shares modules with another"
            )
    _check_alike(layers, by_layer, model_type)
    return layers, dict(sorted(by_layer.items()))


def _check_alike(layers: list[nn.Module], by_layer: dict[int, list[Found]], model_type: str) -> None:
    """Check that in layers of the same modules the same was found. A layer may be another's copy that does not run."""
    first: dict[tuple, tuple[int, set]] = {}
    for number, layer in enumerate(layers):
        modules = tuple((name, type(module)) for name, module in layer.named_modules())
        found = {one.modules for one in by_layer.get(number, ())}
        other, wanted = first.setdefault(modules, (number, found))
        if found != wanted:
            raise LapeError(
                f"architecture {model_type!r}: {layer_label(other)} and {layer_label(number)} have the same modules, "
                "and a trace found different FFNs in them; its FFN is not understood"
            )


def _assembled(
    decoder: nn.Module, layers: list[nn.Module], by_layer: Iterable[tuple[int, list[Found]]], model_type: str
) -> FFN:
    parts = []
    for number, group in by_layer:
        mixture, first = any(one.modules.experts for one in group), 0
        for one in group:
            paths = one.modules
            kind = "experts" if paths.experts else "shared" if mixture else "dense"
            spread = (1, 0)
            if not paths.experts:
                spread = ranks.of_input(decoder, paths.down, layers[number].get_submodule(paths.down))
            site, alone = Site(number, kind, one.experts, one.width), len(group) == 1
            details = one.product, one.reads, one.normed
            parts.append(ModelSite(site, layers[number], paths, first, alone, *details, *spread))
            first += site.neurons
    if len({(part.ranks, part.rank) for part in parts}) > 1:
        raise LapeError(f"architecture {model_type!r}: some layers alone are spread over ranks; use device_map: auto")
    return FFN(layers, tuple(parts))
