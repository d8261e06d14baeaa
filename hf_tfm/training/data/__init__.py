"""From files, the Hub or Python itself to the three splits of a run, and the tokenizer that is trained on them.

It calls the objective to check rows and fit labels. It builds no model, and never shuffles or batches for training."""
