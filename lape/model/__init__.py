"""A checkpoint, and where its activations are: loading, tokenizer, FFN table, linear layers, batches, embeddings."""
