"""Language-specific neurons by LAPE, LAVE or LAP, and random controls of them.

Input: every language's statistics of one model (select, sweep); the selected neurons (random, matched).
Output: a table of neurons with layer, index, languages, and what they were selected by. A control has a set as large
as the language's own for every language: drawn from all layers alike (random), or layer by layer (matched).
"""


rule select:
    input:
        headers=of_languages("<results>/statistics/{model}/{language}.json"),
        sums=of_languages("<results>/statistics/{model}/{language}.npz"),
        code=code("lape.commands.select"),
    output:
        neurons="<results>/neurons/{model}/{method}.tsv",
        header="<results>/neurons/{model}/{method}.json",
    log:
        "<logs>/neurons/{model}/{method}.log",
    benchmark:
        "<benchmarks>/neurons/{model}/{method}.tsv"
    wildcard_constraints:
        method="lape|lave|lap",
    conda:
        "../envs/lape.yaml"
    params:
        ratio=config["neurons"]["ratio"],
        flags=selection_flags,
    shell:
        "lape select --log {log} --rule select --statistics {input.headers} --method {wildcards.method} "
        "--ratio {params.ratio} {params.flags} --output {output.neurons}"


rule sweep:
    input:
        headers=of_languages("<results>/statistics/{model}/{language}.json"),
        sums=of_languages("<results>/statistics/{model}/{language}.npz"),
        code=code("lape.commands.select"),
    output:
        neurons="<results>/neurons/{model}/sweep-{ratio}.tsv",
        header="<results>/neurons/{model}/sweep-{ratio}.json",
    log:
        "<logs>/neurons/{model}/sweep-{ratio}.log",
    benchmark:
        "<benchmarks>/neurons/{model}/sweep-{ratio}.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        flags=selection_flags,
    shell:
        "lape select --log {log} --rule sweep --statistics {input.headers} --method lape "
        "--ratio {wildcards.ratio} {params.flags} --output {output.neurons}"


rule random:
    input:
        neurons="<results>/neurons/{model}/lape.tsv",
        header="<results>/neurons/{model}/lape.json",
        code=code("lape.commands.control"),
    output:
        neurons="<results>/neurons/{model}/random.tsv",
        header="<results>/neurons/{model}/random.json",
    log:
        "<logs>/neurons/{model}/random.log",
    benchmark:
        "<benchmarks>/neurons/{model}/random.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        seed=config["neurons"]["control_seed"],
    shell:
        "lape control --log {log} --rule random --neurons {input.header} --seed {params.seed} --output {output.neurons}"


rule matched:
    input:
        neurons="<results>/neurons/{model}/{method}.tsv",
        header="<results>/neurons/{model}/{method}.json",
        code=code("lape.commands.control"),
    output:
        neurons="<results>/neurons/{model}/matched_{method}.tsv",
        header="<results>/neurons/{model}/matched_{method}.json",
    log:
        "<logs>/neurons/{model}/matched_{method}.log",
    benchmark:
        "<benchmarks>/neurons/{model}/matched_{method}.tsv"
    wildcard_constraints:
        method="lape|lave|lap",
    conda:
        "../envs/lape.yaml"
    params:
        seed=config["neurons"]["control_seed"],
    shell:
        "lape control --log {log} --rule matched --neurons {input.header} --layer-matched --seed {params.seed} "
        "--output {output.neurons}"
