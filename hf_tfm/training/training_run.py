"""One run of train.py from its options to its card: settings -> data -> model -> Trainer -> checkpoint -> results.

`train.py` calls it with the options of the command line, `hf-tfm compare` with those of each of its runs. It parses
nothing."""

from contextlib import closing
from typing import Any

__all__ = ["create_model", "prepare_data", "run_training"]

# Every function imports what it needs, so that an option that is refused does not wait for the rest.


def run_training(run_args: Any) -> Any:
    """Train as the options say, or resume; write the checkpoint, the results and the card into --output_dir. Returns
    the Trainer, which holds model and data."""
    from .loop.hub_pushes import check_pushes
    from .loop.output_dir import full_disk_errors, open_output_dir
    from .loop.signals import end_on_signal

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
    return trainer


def prepare_data(run_args: Any, output_dir: Any) -> tuple[Any, Any, Any]:
    """Rows, tokenizer and tokenized examples."""
    from .data.sources import load_data
    from .loop.example_creation import make_examples
    from .loop.model_creation import choose_model_type
    from .loop.tokenizer_creation import make_tokenizer
    from .loop.training_length import fit_length_to_data
    from .objectives import OBJECTIVES
    from .utils.printing import print_on_main_process

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

    from .loop.model_creation import make_model, prepare_model
    from .loop.output_dir import check_disk_space
    from .utils.printing import print_on_main_process

    set_seed(run_args.training.seed)
    model = make_model(run_args.model, data.objective, tokenizer)
    check_disk_space(output_dir.path, model, run_args.training)
    sizes = f"{model.num_parameters():,} parameters, vocabulary {len(tokenizer):,}"
    print_on_main_process(f"Model: {model.config.model_type}, {sizes}")
    return prepare_model(model, data.objective, run_args, output_dir.path)


def make_trainer(run_args: Any, data: Any, tokenizer: Any, examples: Any, model: Any) -> tuple[Any, Any]:
    """The Trainer, and the callback that writes outputs for the same inputs before, during and after training; None
    without a report."""
    from .loop.sample_callback import SampleCallback
    from .loop.trainer import TfmTrainer

    args = run_args.training
    trainer = TfmTrainer(model, args, data, examples, tokenizer)
    sample_callback = None
    if args.report:
        sample_callback = SampleCallback(trainer, data.objective.sample_inputs(data, tokenizer, args.prompt))
        trainer.add_callback(sample_callback)
    if args.push_to_hub:
        trainer.pushes.push_card()
    return trainer, sample_callback


def save_results(run_args: Any, trainer: Any, sample_callback: Any) -> None:
    """The checkpoint, the results on all splits, and the card."""
    from .loop.adapters import merge_adapter
    from .report.run_report import RunReport, write_model_files

    if run_args.model.merge_adapter:
        with trainer.ema_weights():
            merge_adapter(trainer)
    trainer.save_model()
    results = trainer.evaluate_all_splits()
    trainer.save_state()
    if trainer.is_world_process_zero():
        write_model_files(trainer, run_args)
    if sample_callback is not None:
        # in every process
        samples = sample_callback.samples()
        if trainer.is_world_process_zero():
            report = RunReport(trainer, run_args, results, samples, sample_callback.inputs[0])
            report.write()
            print(report.summary())
    if run_args.training.push_to_hub:
        trainer.pushes.push_result()
