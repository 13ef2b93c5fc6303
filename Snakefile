# Artifacts in the order in which data flow: path, rule, content. <results> is results/<run>. Every data file has a JSON
# header beside it.
#
#   results/downloads/{download}/{file}          download    pinned files of the package index, shared by runs
#   <results>/config.json                        config      the configuration of the run, complete
#   <results>/corpus/{language}.parquet          corpus      documents: id, text
#   <results>/models/{model}/model.json          model       the checkpoint and its shape; tokenizer.json, weights/
#   <results>/tokens/{model}/{language}/
#             {split}.npy, {split}.bytes.npy     tokens      int32 [chunks, length]; split is train or valid
#   <results>/tokens/{model}/valid.sha256        valid_tokens  hashes of all languages' valid headers
#   <results>/statistics/{model}/{language}.npz  statistics  exact sums [layers, neurons]; {language}.shards/
#   <results>/neurons/{model}/
#             {method}.tsv                       select      language-specific neurons: lape, lave, lap
#             sweep-{ratio}.tsv                  sweep       LAPE's neurons at another ratio
#             random.tsv, matched_{method}.tsv   random_control, matched_control  random controls
#             active_{method}.tsv                active_control  controls that are as active in the language
#   <results>/stability/{model}.json             measure_stability  stability of the neurons, from shards of statistics
#   <results>/instructions/{language}.jsonl      instructions  texts that PV trains on
#   <results>/parameters/{model}/
#             finetuned/{language}.safetensors   finetune    a copy of the model trained on one language
#             pv.safetensors                     select_parameters  language-specific parameters
#             matched_pv.safetensors             control_parameters  random control of them
#   <results>/steering/{model}/{method}.tsv      steering    mean activations to steer with
#   <results>/questions/{language}.jsonl         questions   questions to the model; aligned/ for Figures 6 and 7
#   <results>/generations/{model}/{prompt}/
#             {setting}.jsonl                    generate    answers: normal, deactivated, steered, cross-lingual
#   <results>/scores/{model}/{prompt}/
#             {setting}.tsv                      score       language, fluency and repetition of each answer
#   <results>/judgements/{model}/{prompt}/
#             {setting}.tsv                      judge       content quality of each answer, where a judge is configured
#   <results>/sentences/{language}.jsonl         sentences   labelled sentences: scored, and held out
#   <results>/expert_units/{model}/
#             responses.json, .tsv, .blocks/     responses   mean output of every unit of every linear layer
#             average_precision.npy              average_precision  of every unit as a detector of every language
#             units.tsv                          select_units  the best, the worst and random units, with their medians
#   <results>/neurons/{model}/ap.tsv             select_ap   FFN neurons by average precision, as many as LAPE's
#   <results>/pairs/{corpus}/{language}.jsonl    pairs       sentences to translate, and their reference translations
#   <results>/generations/{model}/
#             unconditional/{selection}.jsonl    sample      texts from BOS alone, expert units overwritten
#             translation-{corpus}/{selection}.jsonl  translate  translations with expert units overwritten
#   <results>/embeddings/{model}/{language}.npy  embed       embeddings of the aligned sentences after every layer
#   <results>/perplexity/{model}/{method}/
#             {deactivated}.tsv                  perplexity  one row of the matrix, by chunk
#   <results>/draws/{model}/{method}-{draws}/
#             {deactivated}.tsv                  draws       further draws of the control, by draw and chunk
#   <results>/tables/{item}.csv, .md, .latex/     table       one per item of the registry, lape/items/
#   <results>/figures/{item}.pdf, .svg, .png     figure
#   <results>/manifest.json                      manifest    every artifact of the default target: hash and provenance
#   <results>/report.html                        report      the default target's tables and figures with captions
#   <results>/paper/manifest.json, report.html   paper       manifest and report of `paper`; expert_units/ has its own
#   <logs>                                       logs/ of the run: what each job said (.log) and took (.tsv)


configfile: f"{workflow.current_basedir}/config/config.yaml"


include: "rules/common.smk"


pathvars:
    results=f"results/{config['run']}",
    logs=f"results/{config['run']}/logs",


rule all:
    default_target: True
    input:
        "<results>/manifest.json",
        "<results>/report.html",
    localrule: True


rule paper:
    input:
        "<results>/paper/manifest.json",
        "<results>/paper/report.html",
    localrule: True


rule expert_units:
    input:
        "<results>/expert_units/manifest.json",
        "<results>/expert_units/report.html",
    localrule: True


rule comparison:
    input:
        in_one_line(lambda wildcards: targets.comparison(config)),
    localrule: True


rule tables:
    input:
        targets.tables(targets.items(config, "paper")),
    localrule: True


rule figures:
    input:
        targets.figures(targets.items(config, "paper")),
    localrule: True


include: "rules/download.smk"
include: "rules/text.smk"
include: "rules/model.smk"
include: "rules/statistics.smk"
include: "rules/neurons.smk"
include: "rules/parameters.smk"
include: "rules/expert_units.smk"
include: "rules/generation.smk"
include: "rules/scores.smk"
include: "rules/perplexity.smk"
include: "rules/structure.smk"
include: "rules/items.smk"
include: "rules/report.smk"


onstart:
    lift_rate_limit()
    say_what_runs()
    start_warm()


onsuccess:
    end_run()
    say_what_to_open()


onerror:
    end_run()
