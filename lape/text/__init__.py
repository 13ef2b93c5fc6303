"""From text to tokens: documents, sentences, questions, pairs, instructions, their language, and chunks of tokens."""
