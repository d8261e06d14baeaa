"""Train one Transformer and save a checkpoint that transformers loads.

`python train.py` needs no argument, no network and no file: it trains on text that comes with every Python, in less
than four minutes on two CPU cores, and so does every other `--task`. `--help` lists all options, `--train_file` reads
your own data, and the same command again resumes an interrupted run."""

import sys

try:
    from hf_tfm.errors import one_line_errors
except KeyboardInterrupt:
    # the import of transformers takes seconds
    print("\ntrain.py: interrupted", file=sys.stderr)
    sys.exit(130)

# What the run needs is imported after the options, so that --help and a mistyped option do not wait for the rest.


@one_line_errors(extra="train")
def main() -> None:
    from hf_tfm.training.cli.parser import parse_arguments

    run_args = parse_arguments()

    from hf_tfm.training.training_run import run_training

    run_training(run_args)


if __name__ == "__main__":
    main()
