"""Train one Transformer and save a checkpoint that transformers loads.

`python train.py` needs no argument, no network and no file: it trains on text that comes with every Python, in less
than four minutes on two CPU cores, and so does every other `--task`. `--help` lists all options, `--train_file` reads
your own data, and the same command again resumes an interrupted run."""

import sys

try:
    from hf_tfm.training.__main__ import main
except KeyboardInterrupt:
    # the import of transformers takes seconds
    print("\ntrain.py: interrupted", file=sys.stderr)
    sys.exit(130)

if __name__ == "__main__":
    main()
