"""Train one Transformer and save a checkpoint that transformers loads.

`python train.py` needs no argument, no network and no file: it trains on text that comes with every Python, in less
than four minutes on two CPU cores, and so does every other `--task`. `--help` lists all options, `--train_file` reads
your own data, and the same command again resumes an interrupted run."""

import sys
from contextlib import closing
from typing import Any

try:
    from hf_tfm.errors import one_line_errors
except KeyboardInterrupt:
    # the import of transformers takes seconds
    print("\ntrain.py: interrupted", file=sys.stderr)
    sys.exit(130)

# Every function imports what it needs, so that --help and a mistyped option do not wait for the rest.


@one_line_errors(extra="train")
def main() -> None:
    from hf_tfm.training.cli.parser import parse_arguments

    run_args = parse_arguments()

    from hf_tfm.training.loop.hub_pushes import check_pushes
    from hf_tfm.training.loop.output_dir import full_disk_errors, open_output_dir
    from hf_tfm.training.loop.signals import end_on_signal

    folder = run_args.training.output_dir
    with (
        end_on_signal(folder) as signals,
        full_disk_errors(folder),
        closing(open_output_dir(run_args)) as output_dir,
    ):
        with output_dir.remove_new_files_on_error():
            if run_args.training.push_to_hub:
                check_pushes(run_args.training)
            data, tokenizer, examples = prepare_data(run_args, output_dir)
            model = create_model(run_args, data, tokenizer, output_dir)
            trainer, sample_callback = make_trainer(run_args, data, tokenizer, examples, model)
            trainer.add_callback(signals)
        trainer.train(resume_from_checkpoint=output_dir.resume_from)
        save_results(run_args, trainer, sample_callback)
        output_dir.finish_run()


def prepare_data(run_args: Any, output_dir: Any) -> tuple[Any, Any, Any]:
    """Rows, tokenizer and tokenized examples."""
    from hf_tfm.training.data.sources import load_data
    from hf_tfm.training.loop.example_creation import make_examples
    from hf_tfm.training.loop.model_creation import choose_model_type
    from hf_tfm.training.loop.tokenizer_creation import make_tokenizer
    from hf_tfm.training.loop.training_length import fit_length_to_data
    from hf_tfm.training.objectives import OBJECTIVES
    from hf_tfm.training.utils.printing import print_on_main_process

    args = run_args.training
    objective = OBJECTIVES[args.task](run_args.task, args.seed)
    model_type = choose_model_type(run_args.model, objective)
    data = load_data(objective, run_args.data, args.seed, args.max_eval_samples)
    print_on_main_process(f"Data: {data.summary()}")
    output_dir.begin_run(data.fingerprint)
    tokenizer = make_tokenizer(run_args, objective, data, model_type, output_dir)
    data, examples = make_examples(run_args, data, tokenizer, output_dir)
    fit_length_to_data(args, data, examples["train"])
    return data, tokenizer, examples


def create_model(run_args: Any, data: Any, tokenizer: Any, output_dir: Any) -> Any:
    """A new model, or that of a checkpoint, with an adapter or distributed if options say so."""
    from transformers import set_seed

    from hf_tfm.training.loop.model_creation import make_model, prepare_model
    from hf_tfm.training.loop.output_dir import check_disk_space
    from hf_tfm.training.utils.printing import print_on_main_process

    set_seed(run_args.training.seed)
    model = make_model(run_args.model, data.objective, tokenizer)
    check_disk_space(output_dir.path, model, run_args.training)
    sizes = f"{model.num_parameters():,} parameters, vocabulary {len(tokenizer):,}"
    print_on_main_process(f"Model: {model.config.model_type}, {sizes}")
    return prepare_model(model, data.objective, run_args, output_dir.path)


def make_trainer(run_args: Any, data: Any, tokenizer: Any, examples: Any, model: Any) -> tuple[Any, Any]:
    """The Trainer, and the callback that writes outputs for the same inputs before, during and after training."""
    from hf_tfm.training.loop.sample_callback import SampleCallback
    from hf_tfm.training.loop.trainer import TfmTrainer

    args = run_args.training
    trainer = TfmTrainer(model, args, data, examples, tokenizer)
    sample_callback = SampleCallback(trainer, data.objective.sample_inputs(data, tokenizer, args.prompt))
    trainer.add_callback(sample_callback)
    if args.push_to_hub:
        trainer.pushes.push_card()
    return trainer, sample_callback


def save_results(run_args: Any, trainer: Any, sample_callback: Any) -> None:
    """The checkpoint, the results on all splits, and the card."""
    from hf_tfm.training.loop.adapters import merge_adapter
    from hf_tfm.training.report.run_report import RunReport

    if run_args.model.merge_adapter:
        with trainer.ema_weights():
            merge_adapter(trainer)
    trainer.save_model()
    results = trainer.evaluate_all_splits()
    trainer.save_state()
    samples = sample_callback.samples()
    if trainer.is_world_process_zero():
        report = RunReport(trainer, run_args, results, samples, sample_callback.inputs[0])
        report.write()
        print(report.summary())
    if run_args.training.push_to_hub:
        trainer.pushes.push_result()


if __name__ == "__main__":
    main()
