"""What a running model is measured by: perplexity, scores of answers, similarity of sentences; how sure each is."""
