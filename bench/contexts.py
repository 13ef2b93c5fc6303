"""Section 10: contexts of 1% of the neurons recorded while a text is read, beside the unhooked pass."""

import numpy as np
import torch

from bench.perplexity import random_neurons
from bench.report import Row
from bench.setting import Setting
from bench.timing import Spread, alternate
from lape.contexts.recording import bins, recording
from lape.statistics.feeding import record_statistics

_DOCUMENT = 512  # tokens


def context_rows(setting: Setting) -> list[Row]:
    """Tokens/s of a pass that records over those of one that does not, on every model of the passes."""
    rows = []
    for work in setting.passes:
        model, ids, chunks = work.model(setting.device), work.ids(setting.device), work.chunks()
        numbers = random_neurons(model).numbers()
        low, width = bins([record_statistics(model, [ids])], numbers)
        documents = np.arange(chunks.size).reshape(chunks.shape) // _DOCUMENT

        @torch.inference_mode()
        def base(model=model, ids=ids) -> None:
            model.get_decoder()(input_ids=ids, use_cache=False)

        recorded = work.model(setting.device)  # another copy, so that the bare pass stays bare
        with recording(recorded, numbers, low, width, np.unique(chunks)) as recorder:

            @torch.inference_mode()
            def record(model=recorded, ids=ids, chunks=chunks, documents=documents, recorder=recorder) -> None:
                recorder.begin(chunks, documents, 0)
                model.get_decoder()(input_ids=ids, use_cache=False)

            seconds = alternate({"base": base, "recorded": record}, setting.turns, setting.device)
        speed = {name: work.tokens / np.median(taken) for name, taken in seconds.items()}
        note = f"{speed['recorded']:,.0f} against {speed['base']:,.0f} tokens/s; {len(numbers)} neurons"
        ratio = Spread.of(seconds["base"] / seconds["recorded"])
        rows.append(Row(10, f"{work}", ratio, goal=("at least", 0.9), note=note))
    return rows
