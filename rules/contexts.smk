"""What single neurons do: where they fire in the text of every language, and which words they write.

Input: a method's neurons, the model, every language's statistics, and its train tokens.
Output: JSON lines, one neuron a line. The file {language}.partial.npz beside the contexts holds what is recorded so far. It
is no output of the rule, because Snakemake would delete it before a rerun.
"""


rule contexts:
    input:
        model="<results>/models/{model}/model.json",
        neurons="<results>/neurons/{model}/{method}.json",
        table="<results>/neurons/{model}/{method}.tsv",
        headers=inputs.of_languages("<results>/statistics/{model}/{language}.json"),
        sums=inputs.of_languages("<results>/statistics/{model}/{language}.npz"),
        chunks="<results>/tokens/{model}/{language}/train.npy",
        documents="<results>/tokens/{model}/{language}/train.documents.npy",
        tokens="<results>/tokens/{model}/{language}/train.json",
    output:
        contexts="<results>/contexts/{model}/{method}/{language}.jsonl",
        header="<results>/contexts/{model}/{method}/{language}.json",
    log:
        "<logs>/contexts/{model}/{method}/{language}.log",
    wildcard_constraints:
        method="lape|lave|lap|ap",
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.contexts"),
        architecture=architecture,
        budget=optional("--budget", config["contexts"]["tokens"]),
        shards=config["statistics"]["shards"],
    shell:
        "lape contexts --log {log} --gpus {resources.gpu} --rule contexts --model {input.model} --neurons {input.neurons} "
        "--statistics {input.headers} --tokens {input.tokens} {params.budget} --shards {params.shards} "
        "--threads {threads} --output {output.contexts}"


rule vocabulary_effects:
    input:
        model="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
        neurons="<results>/neurons/{model}/{method}.json",
        table="<results>/neurons/{model}/{method}.tsv",
        tokens=inputs.of_languages("<results>/tokens/{model}/{language}/train.json"),
        chunks=inputs.of_languages("<results>/tokens/{model}/{language}/train.npy"),
    output:
        words="<results>/vocabulary_effects/{model}/{method}.jsonl",
        header="<results>/vocabulary_effects/{model}/{method}.json",
    log:
        "<logs>/vocabulary_effects/{model}/{method}.log",
    wildcard_constraints:
        method="lape|lave|lap|ap",
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.vocabulary_effects"),
        architecture=architecture,
    shell:
        "lape vocabulary_effects --log {log} --gpus {resources.gpu} --rule vocabulary_effects --model {input.model} "
        "--neurons {input.neurons} --tokens {input.tokens} --threads {threads} --output {output.words}"
