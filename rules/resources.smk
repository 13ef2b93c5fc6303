"""What jobs ask the machine or the cluster for."""

import shutil


def booked(wildcards, key, default):
    """What a job of the wildcard's model asks for, or of none."""
    model = config["catalogue"].get(getattr(wildcards, "model", None), {})
    return model.get("resources", {}).get(key, default)


def gpus(wildcards):
    """GPUs that a job of the wildcard's model takes where its device is, or may be, CUDA: one, or one for each rank.

    None where the device is a card by its number: whoever names one shares it.
    """
    model = config["catalogue"][wildcards.model]
    device = model.get("device", "auto")
    used = device == "cuda" or (device == "auto" and bool(shutil.which("nvidia-smi")))
    wanted = booked(wildcards, "gpu", model.get("tensor_parallel", 1)) if used else 0
    limit = workflow.global_resources["gpu"].value if "gpu" in workflow.global_resources else wanted
    # Snakemake would book no more than the limit, and the job see fewer cards than its model needs.
    if wanted > limit and not workflow.dryrun:
        raise WorkflowError(
            f"config catalogue.{wildcards.model}: wants {wanted} GPUs, the limit is {limit}; raise it: --resources gpu={wanted}"
        )
    return wanted


def mem_mb(wildcards, attempt):
    """Memory to ask for, in MB; a job that failed asks for more."""
    return booked(wildcards, "mem_mb", config["resources"]["mem_mb"]) * attempt


def runtime(wildcards, attempt):
    """Minutes to ask for; a job that failed asks for more."""
    return booked(wildcards, "runtime", config["resources"]["runtime"]) * attempt
