"""How often every FFN neuron fires on one language, and the sum of its activation (Eq. 4 of the paper).

Input: the language's train tokens and the model.
Output: exact sums [layers, neurons]. The folder {language}.shards beside the file holds the parts of the sums. It is no
output of the rule, because Snakemake would delete finished parts before a rerun. Where several jobs share a language's
shards (count), each job records the shards that it counted, and the last job adds all of them up.
"""


rule count:
    input:
        model=inputs.model("model.json"),
        chunks=inputs.counted(".npy"),
        tokens=inputs.counted(".json"),
    output:
        temp("<results>/statistics/{model}/{language}.{job}.json"),
    log:
        "<logs>/statistics/{model}/{language}.{job}.log",
    wildcard_constraints:
        model=names.model_or_variant(config),
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.statistics"),
        torchrun=flags.torchrun,
        architecture=architecture,
        flags=flags.counting,
        jobs=config["statistics"]["jobs"],
        sums=lambda wildcards, output: output[0].removesuffix(f".{wildcards.job}.json") + ".npz",
    shell:
        "{params.torchrun} lape statistics --log {log} --gpus {resources.gpu} --rule count --model {input.model} "
        "--tokens {input.tokens} {params.flags} --job {wildcards.job} --jobs {params.jobs} --threads {threads} "
        "--output {params.sums}"


rule statistics:
    input:
        model=inputs.model("model.json"),
        chunks=inputs.counted(".npy"),
        tokens=inputs.counted(".json"),
        counted=inputs.shares,
    output:
        sums="<results>/statistics/{model}/{language}.npz",
        header="<results>/statistics/{model}/{language}.json",
    log:
        "<logs>/statistics/{model}/{language}.log",
    wildcard_constraints:
        model=names.model_or_variant(config),
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=lambda wildcards: 0 if inputs.shares(wildcards) else gpus(wildcards),
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.statistics"),
        torchrun=lambda wildcards: "" if inputs.shares(wildcards) else flags.torchrun(wildcards),
        architecture=architecture,
        flags=flags.counting,
        counted=lambda wildcards, input: optional_list("--counted", input.counted),
    shell:
        "{params.torchrun} lape statistics --log {log} --gpus {resources.gpu} --rule statistics --model {input.model} "
        "--tokens {input.tokens} {params.flags} {params.counted} --threads {threads} --output {output.sums}"
