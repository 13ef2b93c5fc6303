"""How often every FFN neuron fires on one language, and the sum of its activation (Eq. 4 of the paper).

Input: the language's train tokens and the model.
Output: exact sums [layers, neurons]. The folder {language}.shards beside it holds the parts
that add up to them; it is no output of the rule, as Snakemake would delete finished parts before a rerun.
"""


rule statistics:
    input:
        model="<results>/models/{model}/model.json",
        chunks="<results>/tokens/{model}/{language}/train.npy",
        tokens="<results>/tokens/{model}/{language}/train.json",
        code=code(
            "lape/statistics.py",
            "lape/recording.py",
            "lape/fused.py",
            "lape/ffn.py",
            "lape/ranks.py",
            "lape/probe.py",
            "lape/batches.py",
            "lape/memory.py",
            "lape/ops.py",
            "lape/reference.py",
            "lape/model.py",
            "lape/commands/statistics.py",
            "csrc/*",
        ),
    output:
        sums="<results>/statistics/{model}/{language}.npz",
        header="<results>/statistics/{model}/{language}.json",
    log:
        "<logs>/statistics/{model}/{language}.log",
    benchmark:
        "<benchmarks>/statistics/{model}/{language}.tsv"
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
    params:
        torchrun=torchrun,
        batch_size=config["statistics"]["batch_size"],
        memory=optional("--memory", config["statistics"]["memory"]),
        skip_first=config["statistics"]["skip_first"],
        thresholds=json.dumps(config["statistics"]["thresholds"]),
        shards=config["statistics"]["shards"],
        backend=config["statistics"]["backend"],
    shell:
        "{params.torchrun} lape statistics --log {log} --rule statistics --model {input.model} "
        "--tokens {input.tokens} "
        "--batch-size {params.batch_size} {params.memory} --skip-first {params.skip_first} "
        "--thresholds {params.thresholds:q} --shards {params.shards} --backend {params.backend} "
        "--threads {threads} --output {output.sums}"
