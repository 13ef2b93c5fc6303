# Artifacts in the order in which data flow: path, rule, content. <results> is results/<run>. Every data file has a JSON
# header beside it.
#
#   results/downloads/{download}/{file}          download    pinned files of the package index, shared by runs
#   <results>/config.json                        config      the configuration of the run, complete
#   <results>/corpus/{language}.parquet          corpus      documents: id, text
#   <results>/models/{model}/model.json          model       the checkpoint and its shape; tokenizer.json, weights/
#   <results>/tokens/{model}/{language}/
#             {split}.npy, .bytes.npy,
#             .documents.npy                     tokens      int32 [chunks, length]; split is train or valid
#   <results>/tokens/{model}/valid.sha256        valid_tokens  hashes of all languages' valid headers
#   <results>/statistics/{model}/{language}.npz  statistics  exact sums [layers, neurons]; {language}.shards/
#   <results>/neurons/{model}/
#             {method}.tsv                       select      language-specific neurons: lape, lave, lap
#             sweep-{ratio}.tsv                  sweep       LAPE's neurons at another ratio
#             random.tsv, matched_{method}.tsv   random_control, matched_control  random controls
#             active_{method}.tsv                active_control  controls that are as active in the language
#   <results>/{...}/{model}@{variant}/...                    the same of a variant of the run (item robustness)
#   <results>/contexts/{model}/{method}/
#             {language}.jsonl                   contexts    where each neuron fires: contexts, histogram
#   <results>/vocabulary_effects/{model}/
#             {method}.jsonl                     vocabulary_effects  which words each neuron writes
#   <results>/stability/{model}.json             measure_stability  stability of the neurons, from shards of statistics
#   <results>/instructions/{language}.jsonl      instructions  texts that PV trains on
#   <results>/parameters/{model}/
#             finetuned/{language}.safetensors   finetune    a copy of the model trained on one language;
#                                                            finetuned/after-{step}/ after fewer steps
#             pv.safetensors                     select_parameters  language-specific parameters
#             pv_after-{step}.safetensors        select_parameters_after  the same, after fewer steps of the training
#             active_pv.safetensors              magnitude_control  their control: as large and as changed
#             matched_pv.safetensors             control_parameters  random control of them
#   <results>/steering/{model}/{method}.tsv      steering    mean activations to steer with
#   <results>/directions/{model}.npz             directions  directions of languages in the hidden states (DiffMean)
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
#             average_precision-{half}.npy       average_precision_half  by half of the sentences of each language
#             units.tsv                          select_units  the best, the worst and random units, with their medians
#             active_units.tsv                   active_units  control of the best units: as active in the language
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
#   <results>/tasks/{task}/{language}.jsonl      task        questions with choices; aligned by id
#   <results>/accuracy/{model}/{task}/{method}/
#             {deactivated}.tsv                  accuracy    likelihood of every choice, as perplexity's rows
#   <results>/tables/{item}.csv, .md, .html,
#             {item}.latex/                      table       one per item of the registry, lape/items/
#   <results>/figures/{item}.pdf, .svg, .png     figure
#   <results>/manifest.json                      manifest    every artifact of the default target: hash and provenance
#   <results>/report.html, summary.rst           report      the default target's tables and figures with captions
#   <results>/index.html                         explorer    findings, neurons, answers and tables of the default target;
#                                                            beyond 20 MB with index.data/ beside it
#   <results>/paper/                             paper       manifest.json, report.html, summary.rst and index.html of
#                                                            `paper`; expert_units/ has its own
#   <logs>                                       logs/ of the run: what each job said (.log) and took (.tsv)


configfile: f"{workflow.current_basedir}/config/config.yaml"


include: "rules/common.smk"


pathvars:
    results=f"results/{config['run']}",
    logs=f"results/{config['run']}/logs",


# The first page of the report. The rule of a report names the page of its target.
report: os.path.abspath(os.environ.get("LAPE_SUMMARY", f"results/{config['run']}/summary.rst"))


rule all:
    default_target: True
    input:
        "<results>/manifest.json",
        "<results>/report.html",
        "<results>/index.html",
    localrule: True


rule paper:
    input:
        "<results>/paper/manifest.json",
        "<results>/paper/report.html",
        "<results>/paper/index.html",
    localrule: True


rule expert_units:
    input:
        "<results>/expert_units/manifest.json",
        "<results>/expert_units/report.html",
        "<results>/expert_units/index.html",
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
include: "rules/contexts.smk"
include: "rules/parameters.smk"
include: "rules/expert_units.smk"
include: "rules/generation.smk"
include: "rules/scores.smk"
include: "rules/perplexity.smk"
include: "rules/tasks.smk"
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
