"""The resources that jobs ask the machine or the cluster for."""

import shutil
from collections.abc import Callable

from lape.config import model_of
from lape.errors import LapeError


class Booking:
    """The resources that the jobs of a configuration book.

    Args:
        config: the checked configuration.
        gpu_limit: gives the number of GPUs that all jobs may take together; None for no limit. It is called for each
            job, because Snakemake does not know yet whether a run is a dry run while it reads the rules.
    """

    def __init__(self, config: dict, gpu_limit: Callable[[], int | None] = lambda: None):
        self._config, self._gpu_limit = config, gpu_limit

    def gpus(self, wildcards) -> int:
        """The number of GPUs that a job of the wildcard's model takes.

        It is one per rank where the device is CUDA or may turn out to be CUDA. It is 0 where the device names a card by
        its number, as such a card is shared.

        Raises:
            LapeError: the job needs more GPUs than the limit. Snakemake would book the limit without an error, and the
                job would find fewer cards than its model needs.
        """
        model = self._config["catalogue"][model_of(wildcards.model)]
        device = model.get("device", "auto")
        used = device == "cuda" or (device == "auto" and bool(shutil.which("nvidia-smi")))
        wanted = self._booked(wildcards, "gpu", model.get("tensor_parallel", 1)) if used else 0
        limit = self._gpu_limit()
        if limit is not None and wanted > limit:
            raise LapeError(
                f"config catalogue.{model_of(wildcards.model)}: wants {wanted} GPUs, the limit is {limit}; "
                f"raise it: --resources gpu={wanted}"
            )
        return wanted

    def mem_mb(self, wildcards, attempt: int) -> int:
        """Memory to ask for, in MB; a job that failed asks for more."""
        return self._booked(wildcards, "mem_mb", self._config["resources"]["mem_mb"]) * attempt

    def runtime(self, wildcards, attempt: int) -> int:
        """Minutes to ask for; a job that failed asks for more."""
        return self._booked(wildcards, "runtime", self._config["resources"]["runtime"]) * attempt

    def _booked(self, wildcards, key: str, default: int) -> int:
        """The amount that the catalogue's entry of the wildcard's model asks for; `default` where it asks for none."""
        model = self._config["catalogue"].get(model_of(getattr(wildcards, "model", "")), {})
        return model.get("resources", {}).get(key, default)
