"""One language's documents as chunks of a model's tokens, for the statistics (train) or for perplexity (valid).

Input: the corpus, the model's tokenizer and its shape.
Output: int32 chunks, the bytes that their predicted tokens cover, and the exact numbers of tokens and
documents. The two splits share no document, and neither depends on the other's budget. A list of the hashes of all
languages' valid tokens stands for them where every job reads all: of a hundred languages' matrix, half a million inputs
would take Snakemake minutes.
"""


rule tokens:
    input:
        corpus="<results>/corpus/{language}.parquet",
        corpus_header="<results>/corpus/{language}.json",
        model="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
        code=code("lape.commands.tokens"),
    output:
        chunks="<results>/tokens/{model}/{language}/{split}.npy",
        bytes="<results>/tokens/{model}/{language}/{split}.bytes.npy",
        header="<results>/tokens/{model}/{language}/{split}.json",
    log:
        "<logs>/tokens/{model}/{language}/{split}.log",
    benchmark:
        "<benchmarks>/tokens/{model}/{language}/{split}.tsv"
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        budget=lambda wildcards: config["tokens"][wildcards.split],
        chunk_length=chunk_length,
        bos="--bos" if config["tokens"]["bos"] else "",
        seed=config["tokens"]["seed"],
        valid_share=config["tokens"]["valid_share"],
        allow_fewer="--allow-fewer" if config["tokens"]["allow_fewer"] else "",
        excerpts=lambda wildcards: "--excerpts" if wildcards.split == "valid" and config["tokens"]["excerpts"] else "",
    shell:
        "lape tokens --log {log} --rule tokens --corpus {input.corpus} --model {input.model} --split {wildcards.split} "
        "--budget {params.budget} --chunk-length {params.chunk_length} {params.bos} --seed {params.seed} "
        "--valid-share {params.valid_share} {params.allow_fewer} {params.excerpts} --threads {threads} --output {output.chunks}"


rule valid_tokens:
    input:
        headers=of_languages("<results>/tokens/{model}/{language}/valid.json"),
        chunks=of_languages("<results>/tokens/{model}/{language}/valid.npy"),
        bytes=of_languages("<results>/tokens/{model}/{language}/valid.bytes.npy"),
    output:
        "<results>/tokens/{model}/valid.sha256",
    log:
        "<logs>/tokens/{model}/valid.log",
    conda:
        "../envs/lape.yaml"
    shell:
        "sha256sum {input.headers} > {output}.partial 2> {log} && mv {output}.partial {output}"
