"""`python -m hf_tfm.training`: what train.py does, for torchrun and for those who have only the package.

What a run needs is imported after the options, so that --help and a mistyped option do not wait for the rest."""

from hf_tfm.errors import one_line_errors

__all__ = ["main"]


@one_line_errors("train.py", extra="train")
def main() -> None:
    from hf_tfm.training.cli.parser import parse_arguments

    run_args = parse_arguments()

    from hf_tfm.training.training_run import run_training

    run_training(run_args)


if __name__ == "__main__":
    main()
