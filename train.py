"""Train one Transformer and leave a checkpoint that Hugging Face loads.

`python train.py` needs no argument, no network and no file: it learns from text that every Python carries, in under
four minutes on two CPU cores; so does every other `--task`. `--help` lists every choice, `--train_file` takes your own
data, and the same command again goes on where it was interrupted."""

from hf_tfm.training.cli.parser import parse_options


def main() -> None:
    # Choices
    options = parse_options()
    # Imported here, so that --help and a mistyped option are answered at once.
    from transformers import set_seed

    from hf_tfm.training.data.sources import load_data
    from hf_tfm.training.loop.adapters import merge
    from hf_tfm.training.loop.model_creation import make_model, model_type_of, prepare_model
    from hf_tfm.training.loop.output_dir import check_space, left_empty_if_refused, open_folder
    from hf_tfm.training.loop.sample_callback import Showing
    from hf_tfm.training.loop.tokenizer_creation import make_tokenizer
    from hf_tfm.training.loop.trainer import TfmTrainer
    from hf_tfm.training.objectives import OBJECTIVES
    from hf_tfm.training.report.run_report import Report
    from hf_tfm.training.utils.errors import one_line_errors
    from hf_tfm.training.utils.printing import say

    settings = options.train
    with one_line_errors(), left_empty_if_refused(settings.output_dir):
        # Data
        objective = OBJECTIVES[settings.task](options.task, settings.seed)
        model_type = model_type_of(options.model, objective)
        folder = open_folder(options)
        data = load_data(objective, options.data, settings.seed, settings.max_eval_samples)
        say(f"Data: {data.summary()}")
        folder.claim(data.fingerprint)
        tokenizer = make_tokenizer(options, objective, data, model_type, folder)
        examples = objective.examples(data.splits, tokenizer, options.data.preprocessing_num_workers)

        # Model
        set_seed(settings.seed)
        model = make_model(options.model, objective, tokenizer)
        check_space(folder.path, model.num_parameters(), settings.save_total_limit)
        say(f"Model: {model_type}, {model.num_parameters():,} parameters, vocabulary {len(tokenizer):,}")
        model = prepare_model(model, options, folder.path)

        # Trainer
        trainer = TfmTrainer(model, settings, data, examples, tokenizer)
        showing = Showing(trainer, objective.asked(data, tokenizer, settings.prompt))
        trainer.add_callback(showing)
        # Saved once before training, so that a push on the way finds the code files in place.
        trainer.save_model()
    trainer.train(resume_from_checkpoint=folder.resume_from)

    # Checkpoint
    if options.model.merge_adapter:
        with trainer.averaged():
            merge(trainer)
    trainer.save_model()
    results = trainer.measure_all()
    trainer.save_state()

    # Card
    samples = showing.samples()
    if trainer.is_world_process_zero():
        home = (settings.push_to_hub and settings.hub_model_id) or str(folder.path)
        report = Report(trainer, options, results, samples, objective.usage(home, showing.asked[0]))
        report.write()
        print(report.text())
    if settings.push_to_hub:
        trainer.push_to_hub()


if __name__ == "__main__":
    main()
