"""Measures of a running model: perplexity, scores of answers, similarity of sentences; and how sure each measure is."""
