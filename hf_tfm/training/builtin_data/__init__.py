"""Datasets without downloads: from the documentation and source code of the running Python, and dates made by rules.

They are plain lists of rows. The code that is read is never imported. No task, tokenizer or model is known here."""
