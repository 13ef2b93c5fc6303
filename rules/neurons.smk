"""Language-specific neurons: their selection, random controls, their stability, and the values to steer with.

Input: every language's statistics of one model; for select_ap the average precision of the units that are neurons.
Output: a table of neurons with layer, index, languages, and the numbers by which they were selected. A control has a
set as large as each language's own: random from all layers alike (random), random layer by layer (matched), or of the
neurons of the same layer that are as active in the language (active). The stability compares selections from random groups of the statistics' shards, from resamples of the shards, and without
one language. It repeats no forward pass. Steering values are the mean activations of each language's neurons on text
in that language. Directions are the baseline of steering: differences of mean hidden states, from train tokens.
"""


rule select:
    input:
        headers=inputs.statistics(".json"),
        sums=inputs.statistics(".npz"),
    output:
        neurons="<results>/neurons/{model}/{method}.tsv",
        header="<results>/neurons/{model}/{method}.json",
    log:
        "<logs>/neurons/{model}/{method}.log",
    wildcard_constraints:
        method="lape|lave|lap",
        model=names.model_or_variant(config),
    conda:
        "../envs/lape.yaml"
    params:
        code=code_hash("lape.commands.select"),
        flags=flags.selection,
    shell:
        "lape select --log {log} --rule select --statistics {input.headers} --method {wildcards.method} {params.flags} "
        "--output {output.neurons}"


rule sweep:
    input:
        headers=inputs.of_languages("<results>/statistics/{model}/{language}.json"),
        sums=inputs.of_languages("<results>/statistics/{model}/{language}.npz"),
    output:
        neurons="<results>/neurons/{model}/sweep-{ratio}.tsv",
        header="<results>/neurons/{model}/sweep-{ratio}.json",
    log:
        "<logs>/neurons/{model}/sweep-{ratio}.log",
    conda:
        "../envs/lape.yaml"
    params:
        code=code_hash("lape.commands.select"),
        flags=flags.selection,
    shell:
        "lape select --log {log} --rule sweep --statistics {input.headers} --method lape "
        "--ratio {wildcards.ratio} {params.flags} --output {output.neurons}"


rule select_ap:
    input:
        header="<results>/expert_units/{model}/average_precision.json",
        values="<results>/expert_units/{model}/average_precision.npy",
        neurons="<results>/neurons/{model}/lape.json",
        table="<results>/neurons/{model}/lape.tsv",
    output:
        neurons="<results>/neurons/{model}/ap.tsv",
        header="<results>/neurons/{model}/ap.json",
    log:
        "<logs>/neurons/{model}/ap.log",
    conda:
        "../envs/lape.yaml"
    params:
        code=code_hash("lape.commands.select_ap"),
    shell:
        "lape select_ap --log {log} --rule select_ap --average-precision {input.header} --neurons {input.neurons} "
        "--output {output.neurons}"


rule random_control:
    input:
        neurons="<results>/neurons/{model}/lape.tsv",
        header="<results>/neurons/{model}/lape.json",
    output:
        neurons="<results>/neurons/{model}/random.tsv",
        header="<results>/neurons/{model}/random.json",
    log:
        "<logs>/neurons/{model}/random.log",
    conda:
        "../envs/lape.yaml"
    params:
        code=code_hash("lape.commands.control"),
        seed=config["neurons"]["control_seed"],
    shell:
        "lape control --log {log} --rule random_control --neurons {input.header} --seed {params.seed} --output {output.neurons}"


rule matched_control:
    input:
        neurons="<results>/neurons/{model}/{method}.tsv",
        header="<results>/neurons/{model}/{method}.json",
    output:
        neurons="<results>/neurons/{model}/matched_{method}.tsv",
        header="<results>/neurons/{model}/matched_{method}.json",
    log:
        "<logs>/neurons/{model}/matched_{method}.log",
    wildcard_constraints:
        method="lape|lave|lap|ap",
    conda:
        "../envs/lape.yaml"
    params:
        code=code_hash("lape.commands.control"),
        seed=config["neurons"]["control_seed"],
    shell:
        "lape control --log {log} --rule matched_control --neurons {input.header} --layer-matched --seed {params.seed} "
        "--output {output.neurons}"


rule active_control:
    input:
        neurons="<results>/neurons/{model}/{method}.tsv",
        header="<results>/neurons/{model}/{method}.json",
        statistics=inputs.of_languages("<results>/statistics/{model}/{language}.json"),
        sums=inputs.of_languages("<results>/statistics/{model}/{language}.npz"),
    output:
        neurons="<results>/neurons/{model}/active_{method}.tsv",
        header="<results>/neurons/{model}/active_{method}.json",
    log:
        "<logs>/neurons/{model}/active_{method}.log",
    wildcard_constraints:
        method="lape|lave|lap|ap",
    conda:
        "../envs/lape.yaml"
    params:
        code=code_hash("lape.commands.control"),
        seed=config["neurons"]["control_seed"],
        nearest=config["neurons"]["control_nearest"],
    shell:
        "lape control --log {log} --rule active_control --neurons {input.header} --statistics {input.statistics} "
        "--nearest {params.nearest} --seed {params.seed} --output {output.neurons}"


rule measure_stability:
    input:
        statistics=inputs.of_languages("<results>/statistics/{model}/{language}.json"),
        neurons="<results>/neurons/{model}/lape.tsv",
        header="<results>/neurons/{model}/lape.json",
    output:
        header="<results>/stability/{model}.json",
        parts=multiext(
            "<results>/stability/{model}", ".splits.tsv", ".resamples.tsv", ".frequency.tsv", ".left_out.tsv"
        ),
    log:
        "<logs>/stability/{model}.log",
    conda:
        "../envs/lape.yaml"
    params:
        code=code_hash("lape.commands.stability"),
        resamples=config["stability"]["resamples"],
        seed=config["stability"]["seed"],
    shell:
        "lape stability --log {log} --rule measure_stability --statistics {input.statistics} --neurons {input.header} "
        "--resamples {params.resamples} --seed {params.seed} --output {output.header}"


rule steering:
    input:
        neurons="<results>/neurons/{model}/{method}.json",
        table="<results>/neurons/{model}/{method}.tsv",
        headers=inputs.of_languages("<results>/statistics/{model}/{language}.json"),
        sums=inputs.of_languages("<results>/statistics/{model}/{language}.npz"),
    output:
        values="<results>/steering/{model}/{method}.tsv",
        header="<results>/steering/{model}/{method}.json",
    log:
        "<logs>/steering/{model}/{method}.log",
    wildcard_constraints:
        method="lape|active_lape|ap",
    conda:
        "../envs/lape.yaml"
    params:
        code=code_hash("lape.commands.steering"),
    shell:
        "lape steering --log {log} --rule steering --neurons {input.neurons} --statistics {input.headers} "
        "--output {output.values}"


rule directions:
    input:
        model="<results>/models/{model}/model.json",
        tokens=inputs.of_languages("<results>/tokens/{model}/{language}/train.json"),
        chunks=inputs.of_languages("<results>/tokens/{model}/{language}/train.npy"),
    output:
        directions="<results>/directions/{model}.npz",
        header="<results>/directions/{model}.json",
    log:
        "<logs>/directions/{model}.log",
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.directions"),
        torchrun=flags.torchrun,
        architecture=architecture,
        budget=optional("--budget", config["steering"]["directions"]),
    shell:
        "{params.torchrun} lape directions --log {log} --gpus {resources.gpu} --rule directions --model {input.model} "
        "--tokens {input.tokens} {params.budget} --threads {threads} --output {output.directions}"
