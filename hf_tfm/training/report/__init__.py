"""The report of a finished run: the plot of its log, its model card, and the printed summary.

This package measures and trains nothing; every number comes from the run."""
