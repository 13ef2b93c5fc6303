"""Perplexity of every language with neurons, parameters, expert units or a direction off: a row of the paper's Figure 2.

Input: every language's valid tokens (by their list of hashes), the model, and, except for the baseline, the neurons,
parameters, expert units or directions.
Output: the likelihood of every chunk, and in the header the measures by language and the proof that every hook fired.
Each row is a job, so that a cluster can run rows in parallel. Further draws of a control are measured on each language's
own text alone: `draws/{model}/{method}-{draws}/{deactivated}` has all draws but the first, which has a row of the matrix.
"""


rule baseline_perplexity:
    input:
        model=inputs.model("model.json"),
        tokens=inputs.evaluated_text,
    output:
        chunks="<results>/perplexity/{model}/none/baseline.tsv",
        header="<results>/perplexity/{model}/none/baseline.json",
    log:
        "<logs>/perplexity/{model}/none/baseline.log",
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
        code=code_hash("lape.commands.perplexity"),
        torchrun=flags.torchrun,
        architecture=architecture,
        tokens=inputs.valid_tokens,
        batch_size=config["perplexity"]["batch_size"],
        backend=config["perplexity"]["backend"],
    shell:
        "{params.torchrun} lape perplexity --log {log} --gpus {resources.gpu} --rule baseline_perplexity --model {input.model} "
        "--tokens {params.tokens} "
        "--batch-size {params.batch_size} --backend {params.backend} --threads {threads} "
        "--output {output.chunks}"


rule perplexity:
    input:
        model=inputs.model("model.json"),
        tokens=inputs.evaluated_text,
        neurons=inputs.neurons(".json"),
        table=inputs.neurons(".tsv"),
        means=inputs.means,
    output:
        chunks="<results>/perplexity/{model}/{method}/{deactivated}.tsv",
        header="<results>/perplexity/{model}/{method}/{deactivated}.json",
    log:
        "<logs>/perplexity/{model}/{method}/{deactivated}.log",
    wildcard_constraints:
        method=r"lape|lave|lap|random|(active|matched)_(lape|lave|lap|ap)|ap|sweep-[\d.e-]+",
        model=names.model_or_variant(config),
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.perplexity"),
        torchrun=flags.torchrun,
        architecture=architecture,
        tokens=inputs.valid_tokens,
        rule="perplexity",
        like=lambda wildcards, input: optional_list("--means", [path for path in input.means if path.endswith(".json")]),
        batch_size=config["perplexity"]["batch_size"],
        backend=config["perplexity"]["backend"],
    shell:
        "{params.torchrun} lape perplexity --log {log} --gpus {resources.gpu} --rule {params.rule} --model {input.model} "
        "--tokens {params.tokens} "
        "--neurons {input.neurons} --deactivate {wildcards.deactivated} {params.like} "
        "--batch-size {params.batch_size} --backend {params.backend} --threads {threads} --output {output.chunks}"


use rule perplexity as perplexity_parameters with:
    input:
        model="<results>/models/{model}/model.json",
        tokens="<results>/tokens/{model}/valid.sha256",
        neurons="<results>/parameters/{model}/{method}.json",
        table="<results>/parameters/{model}/{method}.safetensors",
    wildcard_constraints:
        method="pv|(active|matched)_pv|pv_after-[0-9]+",
    params:
        code=code_hash("lape.commands.perplexity"),
        torchrun=flags.torchrun,
        architecture=architecture,
        tokens=inputs.valid_tokens,
        rule="perplexity_parameters",
        like="",
        batch_size=config["perplexity"]["batch_size"],
        backend=config["perplexity"]["backend"],


# As many expert units are deactivated as LAPE has neurons.
use rule perplexity as perplexity_units with:
    input:
        model="<results>/models/{model}/model.json",
        tokens="<results>/tokens/{model}/valid.sha256",
        neurons=lambda wildcards: f"<results>/expert_units/{wildcards.model}/{wildcards.method.replace('expert_units', 'units')}.json",
        table=lambda wildcards: f"<results>/expert_units/{wildcards.model}/{wildcards.method.replace('expert_units', 'units')}.tsv",
        like="<results>/neurons/{model}/lape.json",
        counts="<results>/neurons/{model}/lape.tsv",
    wildcard_constraints:
        method="(active_)?expert_units",
    params:
        code=code_hash("lape.commands.perplexity"),
        torchrun=flags.torchrun,
        architecture=architecture,
        tokens=inputs.valid_tokens,
        rule="perplexity_units",
        like=lambda wildcards, input: f"--like {shlex.quote(input.like)}",
        batch_size=config["perplexity"]["batch_size"],
        backend=config["perplexity"]["backend"],


use rule perplexity as perplexity_directions with:
    input:
        model="<results>/models/{model}/model.json",
        tokens="<results>/tokens/{model}/valid.sha256",
        neurons="<results>/directions/{model}.json",
        table="<results>/directions/{model}.npz",
    wildcard_constraints:
        method="diffmean",
    params:
        code=code_hash("lape.commands.perplexity"),
        torchrun=flags.torchrun,
        architecture=architecture,
        tokens=inputs.valid_tokens,
        rule="perplexity_directions",
        like="",
        batch_size=config["perplexity"]["batch_size"],
        backend=config["perplexity"]["backend"],


rule draws:
    input:
        model="<results>/models/{model}/model.json",
        tokens=multiext("<results>/tokens/{model}/{deactivated}/valid", ".npy", ".bytes.npy"),
        text="<results>/tokens/{model}/{deactivated}/valid.json",
        neurons="<results>/neurons/{model}/{method}.json",
        table="<results>/neurons/{model}/{method}.tsv",
        statistics="<results>/statistics/{model}/{deactivated}.json",
        sums="<results>/statistics/{model}/{deactivated}.npz",
    output:
        chunks="<results>/draws/{model}/{method}-{draws}/{deactivated}.tsv",
        header="<results>/draws/{model}/{method}-{draws}/{deactivated}.json",
    log:
        "<logs>/draws/{model}/{method}-{draws}/{deactivated}.log",
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
        code=code_hash("lape.commands.draws"),
        torchrun=flags.torchrun,
        architecture=architecture,
        rule="draws",
        matched_by=lambda wildcards, input: f"--statistics {shlex.quote(input.statistics)}",
        nearest=config["neurons"]["control_nearest"],
        draws=lambda wildcards: int(wildcards.draws) - 1,
        seed=config["neurons"]["control_seed"] + 1,
        batch_size=config["perplexity"]["batch_size"],
        backend=config["perplexity"]["backend"],
    shell:
        "{params.torchrun} lape draws --log {log} --gpus {resources.gpu} --rule {params.rule} --model {input.model} "
        "--tokens {input.text} --selected {input.neurons} {params.matched_by} --nearest {params.nearest} "
        "--draws {params.draws} --seed {params.seed} "
        "--batch-size {params.batch_size} --backend {params.backend} --threads {threads} --output {output.chunks}"


use rule draws as draws_parameters with:
    input:
        model="<results>/models/{model}/model.json",
        tokens=multiext("<results>/tokens/{model}/{deactivated}/valid", ".npy", ".bytes.npy"),
        text="<results>/tokens/{model}/{deactivated}/valid.json",
        neurons="<results>/parameters/{model}/{method}.json",
        table="<results>/parameters/{model}/{method}.safetensors",
        finetuned="<results>/parameters/{model}/finetuned/{deactivated}.json",
        weights="<results>/parameters/{model}/finetuned/{deactivated}.safetensors",
    wildcard_constraints:
        method="pv",
    params:
        code=code_hash("lape.commands.draws"),
        torchrun=flags.torchrun,
        architecture=architecture,
        rule="draws_parameters",
        matched_by=lambda wildcards, input: f"--finetuned {shlex.quote(input.finetuned)}",
        nearest=config["neurons"]["control_nearest"],
        draws=lambda wildcards: int(wildcards.draws) - 1,
        seed=config["neurons"]["control_seed"] + 1,
        batch_size=config["perplexity"]["batch_size"],
        backend=config["perplexity"]["backend"],
