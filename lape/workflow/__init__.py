"""What the Snakefile asks for: the inputs of rules, their flags, what they book, and the files of each target."""
