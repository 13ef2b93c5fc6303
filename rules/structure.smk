"""Where languages meet: the similarity of aligned sentences by layer (Figure 6) and dominance (Figure 7).

Input: aligned sentences and the model; neurons, which Figure 6 counts beside the similarity.
Output: sentence embeddings behind every layer; the tables and the figures.
"""


rule embed:
    input:
        model="<results>/models/{model}/model.json",
        header="<results>/aligned/{language}.json",
        sentences="<results>/aligned/{language}.jsonl",
        code=code("lape.commands.embed"),
    output:
        embeddings="<results>/embeddings/{model}/{language}.npy",
        header="<results>/embeddings/{model}/{language}.json",
    log:
        "<logs>/embeddings/{model}/{language}.log",
    benchmark:
        "<benchmarks>/embeddings/{model}/{language}.tsv"
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        torchrun=torchrun,
        pooling=config["structure"]["pooling"],
        batch_size=config["structure"]["batch_size"],
    shell:
        "{params.torchrun} lape embed --log {log} --gpus {resources.gpu} --rule embed --model {input.model} "
        "--sentences {input.header} --pooling {params.pooling} "
        "--batch-size {params.batch_size} --threads {threads} --output {output.embeddings}"


rule figure6_table:
    input:
        headers=figure6_headers,
        data=beside(figure6_headers),
        code=repository_files(
            "lape/evaluation/similarity.py",
            "lape/evaluation/uncertainty.py",
            "lape/neurons/table.py",
            "lape/items/**/*.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/figure6.csv",
            caption="captions/figure6.rst",
            category="Tables",
            labels={"item": "Data of Figure 6: similarity of aligned sentences by layer"},
        ),
        texts=multiext("<results>/tables/figure6", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/figure6.log",
    benchmark:
        "<benchmarks>/tables/figure6.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape table --log {log} --rule figure6_table figure6 {input.headers} --output {output.csv}"


rule figure7_table:
    input:
        headers=figure7_headers,
        data=beside(figure7_headers),
        code=repository_files(
            "lape/evaluation/similarity.py",
            "lape/evaluation/uncertainty.py",
            "lape/neurons/table.py",
            "lape/items/**/*.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/figure7.csv",
            caption="captions/figure7.rst",
            category="Tables",
            labels={"item": "Data of Figure 7: dominance by layer"},
        ),
        texts=multiext("<results>/tables/figure7", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/figure7.log",
    benchmark:
        "<benchmarks>/tables/figure7.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape table --log {log} --rule figure7_table figure7 {input.headers} --output {output.csv}"


rule figure6:
    input:
        table="<results>/tables/figure6.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/figure6.svg",
            caption="captions/figure6.rst",
            category="Figures",
            labels={"item": "Figure 6: similarity of aligned sentences, and neurons, by layer"},
        ),
        pdf="<results>/figures/figure6.pdf",
        others=multiext("<results>/figures/figure6", ".png", ".json"),
    log:
        "<logs>/figures/figure6.log",
    benchmark:
        "<benchmarks>/figures/figure6.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule figure6 figure6 {input.table} --output {output.pdf}"


rule figure7:
    input:
        table="<results>/tables/figure7.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/figure7.svg",
            caption="captions/figure7.rst",
            category="Figures",
            labels={"item": "Figure 7: dominance by layer and target language"},
        ),
        pdf="<results>/figures/figure7.pdf",
        others=multiext("<results>/figures/figure7", ".png", ".json"),
    log:
        "<logs>/figures/figure7.log",
    benchmark:
        "<benchmarks>/figures/figure7.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule figure7 figure7 {input.table} --output {output.pdf}"
