"""`hf-tfm compare`: which design is better for given data, at equal compute, and how sure that is.

Every run is an ordinary run of train.py; this room plans the runs, starts them, and compares their results on the
validation split. It has no training loop, no layers and no data of its own, and reads no test split."""
