"""What a finished run writes for a reader: the plot of its log, its model card and the summary on the screen.

It measures and trains nothing; every number comes from the run."""
