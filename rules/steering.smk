"""What to steer with: the mean activation of every language's neurons, and of their control's, on that language.

Input: neurons, and the statistics of every language.
Output: one row a language and neuron, with the value and the entropy that ranks it.
"""


rule steering:
    input:
        neurons="<results>/neurons/{model}/{method}.json",
        table="<results>/neurons/{model}/{method}.tsv",
        headers=of_languages("<results>/statistics/{model}/{language}.json"),
        sums=of_languages("<results>/statistics/{model}/{language}.npz"),
        code=code("lape.commands.steering"),
    output:
        values="<results>/steering/{model}/{method}.tsv",
        header="<results>/steering/{model}/{method}.json",
    log:
        "<logs>/steering/{model}/{method}.log",
    benchmark:
        "<benchmarks>/steering/{model}/{method}.tsv"
    wildcard_constraints:
        method="lape|matched_lape|ap",
    conda:
        "../envs/lape.yaml"
    shell:
        "lape steering --log {log} --rule steering --neurons {input.neurons} --statistics {input.headers} "
        "--output {output.values}"
