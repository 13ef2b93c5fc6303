"""The playground: what a model of a finished run answers with languages switched off and on, beside what it answers.

Everything but `page` works without a browser and without gradio.
"""
