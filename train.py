"""Train one Transformer from scratch and leave a checkpoint that Hugging Face loads.

`python train.py` needs no argument, no network and no file: it learns from the documentation that Python carries, in
under four minutes on two CPU cores. `python train.py --help` lists every choice; `--train_file` takes your own text."""

from hf_tfm.training.arguments import parse_settings


def main() -> None:
    # Settings
    model_args, data_args, settings = parse_settings()
    # Imported here, so that --help and a mistyped option are answered at once.
    from transformers import set_seed

    from hf_tfm.cards import Sample
    from hf_tfm.training.checkpoint import prepare_output_dir, resume_point
    from hf_tfm.training.data import load_documents
    from hf_tfm.training.objectives import get_objective
    from hf_tfm.training.report import Report
    from hf_tfm.training.samples import continue_prompts, default_prompts
    from hf_tfm.training.tokenizer import make_tokenizer
    from hf_tfm.training.trainer import TfmTrainer

    objective = get_objective(settings.task)
    prepare_output_dir(settings)
    set_seed(settings.seed)

    # Data
    documents = load_documents(data_args)
    print(f"Text: {documents.summary()}")
    block_size = data_args.block_size
    longest = model_args.max_position_embeddings or block_size
    tokenizer = make_tokenizer(data_args.tokenizer_name, documents.texts("train"), data_args.vocab_size, longest)
    examples = objective.examples(documents.splits, tokenizer, block_size, data_args.preprocessing_num_workers)

    # Model
    model = objective.build(model_args, tokenizer, block_size)
    print(f"Model: {model_args.recipe} recipe, {model.num_parameters():,} parameters, vocabulary {len(tokenizer):,}")

    # Trainer
    trainer = TfmTrainer(model, settings, objective, documents, examples, tokenizer)
    # Saved once before training, so that a push on the way finds the code files in place.
    trainer.save_model()
    prompts = settings.prompt or default_prompts(documents, tokenizer)
    before = continue_prompts(model, tokenizer, prompts, settings.seed)
    trainer.train(resume_from_checkpoint=resume_point(settings))
    after = continue_prompts(model, tokenizer, prompts, settings.seed)

    # Checkpoint
    trainer.save_model()
    results = trainer.measure_all()
    trainer.save_state()

    # Card
    if trainer.is_world_process_zero():
        samples = [Sample(*texts) for texts in zip(prompts, before, after, strict=True)]
        report = Report(trainer, results, samples, data_args.dataset_name)
        report.write()
        print(report.text())
    if settings.push_to_hub:
        trainer.push_to_hub()


if __name__ == "__main__":
    main()
