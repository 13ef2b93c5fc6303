"""What jobs ask the machine or the cluster for."""

import shutil
from collections.abc import Callable

from lape.errors import LapeError


class Booking:
    """What the jobs of a configuration book.

    Args:
        config: the checked configuration.
        gpu_limit: tells the GPUs that all jobs may take together, None for no limit. It is asked for each job, as
            Snakemake does not know while it reads the rules whether the run is a dry one.
    """

    def __init__(self, config: dict, gpu_limit: Callable[[], int | None] = lambda: None):
        self._config, self._gpu_limit = config, gpu_limit

    def gpus(self, wildcards) -> int:
        """GPUs that a job of the wildcard's model takes where its device is, or may be, CUDA: one for each rank.

        None where the device is a card by its number: whoever names one shares it.

        Raises:
            LapeError: more than the limit. Snakemake would book no more than that, and the job see fewer cards than its
                model needs.
        """
        model = self._config["catalogue"][wildcards.model]
        device = model.get("device", "auto")
        used = device == "cuda" or (device == "auto" and bool(shutil.which("nvidia-smi")))
        wanted = self._booked(wildcards, "gpu", model.get("tensor_parallel", 1)) if used else 0
        limit = self._gpu_limit()
        if limit is not None and wanted > limit:
            raise LapeError(
                f"config catalogue.{wildcards.model}: wants {wanted} GPUs, the limit is {limit}; "
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
        """What the entry of the wildcard's model asks for, if the job has a model and the entry asks."""
        model = self._config["catalogue"].get(getattr(wildcards, "model", None), {})
        return model.get("resources", {}).get(key, default)
