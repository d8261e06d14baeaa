"""Data sets made from the Python that runs: its documentation, its source code, and dates made by rules.

It returns plain lists of rows. It never downloads, imports what it reads, or knows a task, a tokenizer or a model."""
