"""Tasks: questions with choices, and the accuracy of a model on them with one language's neurons deactivated or steered.

Input: the run's own text, a downloaded file or files of a task; the model, and, except for the baseline, the neurons,
parameters or steering values.
Output: JSON lines of questions, the same under the same id in all languages; and by question and choice the choice's
log-likelihood. The header has the accuracy by language and the proof that every hook fired. Each row of the matrix is a
job.
"""


rule task:
    input:
        rows=inputs.task,
    output:
        questions="<results>/tasks/{task}/{language}.jsonl",
        header="<results>/tasks/{task}/{language}.json",
    log:
        "<logs>/tasks/{task}/{language}.log",
    conda:
        "../envs/lape.yaml"
    params:
        code=code_hash("lape.commands.task"),
        origin=lambda wildcards: config["tasks"][wildcards.task]["source"],
        settings=lambda wildcards: json.dumps(inputs.task_settings(wildcards)),
        number=lambda wildcards: optional("--number", config["tasks"][wildcards.task].get("number")),
    shell:
        "lape task --log {log} --rule task --task {wildcards.task} --language {wildcards.language} "
        "--source {params.origin} --settings {params.settings:q} {params.number} --output {output.questions}"


rule baseline_accuracy:
    input:
        model="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
        task=inputs.task_headers,
        rows=lambda wildcards: [f"{path.removesuffix('.json')}.jsonl" for path in inputs.task_headers(wildcards)],
    output:
        choices="<results>/accuracy/{model}/{task}/none/baseline.tsv",
        header="<results>/accuracy/{model}/{task}/none/baseline.json",
    log:
        "<logs>/accuracy/{model}/{task}/none/baseline.log",
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.accuracy"),
        torchrun=flags.torchrun,
        architecture=architecture,
        rule="baseline_accuracy",
        off="",
        scoring=flags.accuracy,
    shell:
        "{params.torchrun} lape accuracy --log {log} --gpus {resources.gpu} --rule {params.rule} --model {input.model} "
        "--task {input.task} {params.off} {params.scoring} --threads {threads} --output {output.choices}"


use rule baseline_accuracy as accuracy with:
    input:
        model="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
        task=inputs.task_headers,
        rows=lambda wildcards: [f"{path.removesuffix('.json')}.jsonl" for path in inputs.task_headers(wildcards)],
        neurons="<results>/neurons/{model}/{method}.json",
        table="<results>/neurons/{model}/{method}.tsv",
    output:
        choices="<results>/accuracy/{model}/{task}/{method}/{deactivated}.tsv",
        header="<results>/accuracy/{model}/{task}/{method}/{deactivated}.json",
    log:
        "<logs>/accuracy/{model}/{task}/{method}/{deactivated}.log",
    wildcard_constraints:
        method=r"(active_)?(lape|lave|lap)",
    params:
        code=code_hash("lape.commands.accuracy"),
        torchrun=flags.torchrun,
        architecture=architecture,
        rule="accuracy",
        off=lambda wildcards, input: f"--neurons {shlex.quote(input.neurons)} --deactivate {wildcards.deactivated}",
        scoring=flags.accuracy,


use rule accuracy as accuracy_parameters with:
    input:
        model="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
        task=inputs.task_headers,
        rows=lambda wildcards: [f"{path.removesuffix('.json')}.jsonl" for path in inputs.task_headers(wildcards)],
        neurons="<results>/parameters/{model}/{method}.json",
        table="<results>/parameters/{model}/{method}.safetensors",
    wildcard_constraints:
        method="(active_)?pv",
    params:
        code=code_hash("lape.commands.accuracy"),
        torchrun=flags.torchrun,
        architecture=architecture,
        rule="accuracy_parameters",
        off=lambda wildcards, input: f"--neurons {shlex.quote(input.neurons)} --deactivate {wildcards.deactivated}",
        scoring=flags.accuracy,


use rule accuracy as accuracy_steered with:
    input:
        model="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
        task=inputs.task_headers,
        rows=lambda wildcards: [f"{path.removesuffix('.json')}.jsonl" for path in inputs.task_headers(wildcards)],
        values="<results>/steering/{model}/{method}.json",
        table="<results>/steering/{model}/{method}.tsv",
    output:
        choices="<results>/accuracy/{model}/{task}/steered_{method}/{steered}.tsv",
        header="<results>/accuracy/{model}/{task}/steered_{method}/{steered}.json",
    log:
        "<logs>/accuracy/{model}/{task}/steered_{method}/{steered}.log",
    wildcard_constraints:
        method="lape|ap",
    params:
        code=code_hash("lape.commands.accuracy"),
        torchrun=flags.torchrun,
        architecture=architecture,
        rule="accuracy_steered",
        off=lambda wildcards, input: f"--values {shlex.quote(input.values)} --steer {wildcards.steered}",
        # Snakemake takes no parameter for changed that is made of the input, so the dose is here.
        scoring=lambda wildcards: f"{flags.accuracy(wildcards)} {optional('--dose', config['steering']['dose'])}",
