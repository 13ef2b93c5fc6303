"""The tables of generation: settings by languages, examples side by side, and the data of their figures.

Input: scores of the settings that an item compares, and where a judge is configured its ratings; for the examples
also the answers themselves.
Output: one file an item, named as in the paper; one observation a row. The same resamples and seed give the same bytes.
"""


rule table1:
    input:
        headers=table1_headers,
        scores=beside(table1_headers),
        code=repository_files(
            "lape/paper/*.py",
            "lape/paper/*.csv",
            "lape/evaluation/uncertainty.py",
            "lape/text/identification.py",
            "lape/generation/answers.py",
            "lape/evaluation/judging/judge.py",
            "lape/items/**/*.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/table1.csv",
            caption="captions/table1.rst",
            category="Tables",
            labels={"item": "Table 1: answers with each language's neurons deactivated"},
        ),
        texts=multiext("<results>/tables/table1", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/table1.log",
    benchmark:
        "<benchmarks>/tables/table1.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        resamples=config["scores"]["resamples"],
        seed=config["scores"]["seed"],
    shell:
        "lape table --log {log} --rule table1 table1 {input.headers} --resamples {params.resamples} --seed {params.seed} --output {output.csv}"


rule table2:
    input:
        headers=table2_headers,
        scores=beside(table2_headers),
        answers=answers_of(table2_headers),
        code=repository_files(
            "lape/paper/*.py",
            "lape/paper/*.csv",
            "lape/evaluation/uncertainty.py",
            "lape/text/identification.py",
            "lape/generation/answers.py",
            "lape/evaluation/judging/judge.py",
            "lape/items/**/*.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/table2.csv",
            caption="captions/table2.rst",
            category="Tables",
            labels={"item": "Table 2: one question, normal and deactivated"},
        ),
        texts=multiext("<results>/tables/table2", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/table2.log",
    benchmark:
        "<benchmarks>/tables/table2.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        language=language_of("table2", "language", "zh", "en"),
    shell:
        "lape table --log {log} --rule table2 table2 {input.headers} --language {params.language} --output {output.csv}"


rule table4:
    input:
        headers=table4_headers,
        scores=beside(table4_headers),
        code=repository_files(
            "lape/paper/*.py",
            "lape/paper/*.csv",
            "lape/evaluation/uncertainty.py",
            "lape/text/identification.py",
            "lape/generation/answers.py",
            "lape/evaluation/judging/judge.py",
            "lape/items/**/*.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/table4.csv",
            caption="captions/table4.rst",
            category="Tables",
            labels={"item": "Table 4: answers, normal and steered"},
        ),
        texts=multiext("<results>/tables/table4", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/table4.log",
    benchmark:
        "<benchmarks>/tables/table4.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        resamples=config["scores"]["resamples"],
        seed=config["scores"]["seed"],
    shell:
        "lape table --log {log} --rule table4 table4 {input.headers} --resamples {params.resamples} --seed {params.seed} --output {output.csv}"


rule table5:
    input:
        headers=table5_headers,
        scores=beside(table5_headers),
        answers=answers_of(table5_headers),
        code=repository_files(
            "lape/paper/*.py",
            "lape/paper/*.csv",
            "lape/evaluation/uncertainty.py",
            "lape/text/identification.py",
            "lape/generation/answers.py",
            "lape/evaluation/judging/judge.py",
            "lape/items/**/*.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/table5.csv",
            caption="captions/table5.rst",
            category="Tables",
            labels={"item": "Table 5: one question, answered in another language"},
        ),
        texts=multiext("<results>/tables/table5", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/table5.log",
    benchmark:
        "<benchmarks>/tables/table5.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        source=table5_languages()[0],
        target=table5_languages()[1],
    shell:
        "lape table --log {log} --rule table5 table5 {input.headers} --source {params.source} --target {params.target} --output {output.csv}"


rule cross_lingual_table:
    input:
        headers=cross_lingual_headers,
        scores=beside(cross_lingual_headers),
        code=repository_files(
            "lape/paper/*.py",
            "lape/paper/*.csv",
            "lape/evaluation/uncertainty.py",
            "lape/text/identification.py",
            "lape/generation/answers.py",
            "lape/evaluation/judging/judge.py",
            "lape/items/**/*.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/cross_lingual.csv",
            caption="captions/cross_lingual.rst",
            category="Tables",
            labels={"item": "Cross-lingual steering: every pair of languages"},
        ),
        texts=multiext("<results>/tables/cross_lingual", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/cross_lingual.log",
    benchmark:
        "<benchmarks>/tables/cross_lingual.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        resamples=config["scores"]["resamples"],
        seed=config["scores"]["seed"],
    shell:
        "lape table --log {log} --rule cross_lingual_table cross_lingual {input.headers} --resamples {params.resamples} --seed {params.seed} --output {output.csv}"


rule dose_response_table:
    input:
        headers=dose_response_headers,
        scores=beside(dose_response_headers),
        code=repository_files(
            "lape/paper/*.py",
            "lape/paper/*.csv",
            "lape/evaluation/uncertainty.py",
            "lape/text/identification.py",
            "lape/generation/answers.py",
            "lape/evaluation/judging/judge.py",
            "lape/items/**/*.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/dose_response.csv",
            caption="captions/dose_response.rst",
            category="Tables",
            labels={"item": "Data of the dose-response: language accuracy against fluency"},
        ),
        texts=multiext("<results>/tables/dose_response", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/dose_response.log",
    benchmark:
        "<benchmarks>/tables/dose_response.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        resamples=config["scores"]["resamples"],
        seed=config["scores"]["seed"],
    shell:
        "lape table --log {log} --rule dose_response_table dose_response {input.headers} --resamples {params.resamples} --seed {params.seed} --output {output.csv}"


rule cross_lingual:
    input:
        table="<results>/tables/cross_lingual.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/cross_lingual.svg",
            caption="captions/cross_lingual.rst",
            category="Figures",
            labels={"item": "Cross-lingual steering: every pair of languages"},
        ),
        pdf="<results>/figures/cross_lingual.pdf",
        others=multiext("<results>/figures/cross_lingual", ".png", ".json"),
    log:
        "<logs>/figures/cross_lingual.log",
    benchmark:
        "<benchmarks>/figures/cross_lingual.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule cross_lingual cross_lingual {input.table} --output {output.pdf}"


rule dose_response:
    input:
        table="<results>/tables/dose_response.csv",
        code=repository_files("lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"),
    output:
        svg=report(
            "<results>/figures/dose_response.svg",
            caption="captions/dose_response.rst",
            category="Figures",
            labels={"item": "Dose-response: language accuracy against fluency"},
        ),
        pdf="<results>/figures/dose_response.pdf",
        others=multiext("<results>/figures/dose_response", ".png", ".json"),
    log:
        "<logs>/figures/dose_response.log",
    benchmark:
        "<benchmarks>/figures/dose_response.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule dose_response dose_response {input.table} --output {output.pdf}"
