"""The pure core: an example and k give prompts, replies give a verdict. Standard library alone."""
