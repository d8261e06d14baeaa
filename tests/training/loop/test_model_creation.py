"""The model of a run: where it comes from, which options fit together, and what is kept of a checkpoint."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_tfm.modeling.recipes import RECIPES
from hf_tfm.training.arguments.model_arguments import ModelArguments
from hf_tfm.training.data.tokenizer import train_tokenizer
from hf_tfm.training.loop.model_creation import choose_model_type, make_model
from tests.training.tiny import ROWS, SIZES, make_tiny


def refused(tiny, tokenizer=None, **options):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        make_model(ModelArguments(**options), tiny.objective, tokenizer or tiny.tokenizer)
    return str(caught.value)


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """The checkpoint of a masked language model, its task and the model."""
    tiny = make_tiny("masked-lm")
    folder = tmp_path_factory.mktemp("masked")
    model = tiny.model(num_hidden_layers=2)
    model.save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return folder, tiny, model


def test_the_configuration_follows_tokenizer_lengths_and_labels():
    tiny = make_tiny("sequence-classification")
    config = tiny.model().config
    assert config.vocab_size == len(tiny.tokenizer)
    assert config.max_position_embeddings == tiny.objective.max_row_length()
    assert config.id2label == {0: "blue", 1: "green", 2: "yellow"}
    assert config.problem_type == "single_label_classification"


def test_overrides_reach_the_configuration():
    model = make_tiny("causal-lm").model(config_overrides='{"residual_type": "sandwich"}')
    assert model.config.residual_type == "sandwich"


def test_overrides_that_the_head_does_not_read_are_refused():
    message = refused(make_tiny("sequence-classification"), config_overrides='{"z_loss_coef": 1e-4}')
    assert "has z_loss_coef, which only language models read, and --task sequence-classification trains" in message
    assert make_tiny("causal-lm").model(config_overrides='{"z_loss_coef": 1e-4}').z_loss_coef == 1e-4


def test_a_checkpoint_keeps_its_base_model_and_its_new_head_is_printed(masked, capsys):
    folder, pretraining, old = masked
    rows = [ROWS["sequence-classification"](i) for i in range(8)]
    tiny = make_tiny("sequence-classification", rows, max_length=16)
    torch.manual_seed(1)
    model = make_model(ModelArguments(init_from=str(folder)), tiny.objective, pretraining.tokenizer)
    weights, old_weights = model.model.state_dict(), old.model.state_dict()
    assert weights.keys() == old_weights.keys() != set()
    assert all(torch.equal(weight, old_weights[name]) for name, weight in weights.items())
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("New weights")]
    assert "classifier.weight" in line
    assert "model." not in line
    assert model.config.id2label == {0: "blue", 1: "green", 2: "yellow"}


def test_a_checkpoint_of_the_same_task_gets_no_new_weights(masked, capsys):
    folder, tiny, old = masked
    model = make_model(ModelArguments(init_from=str(folder)), tiny.objective, tiny.tokenizer)
    assert "New weights" not in capsys.readouterr().out
    assert all(torch.equal(weight, old.state_dict()[name]) for name, weight in model.state_dict().items())


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(masked):
    folder, tiny, _ = masked
    larger = train_tokenizer(["Some other text, and more of it."] * 9, 320, 16, "pair")
    larger.add_tokens([f"word{i}" for i in range(100)])
    assert "--tokenizer_name" in refused(tiny, larger, init_from=str(folder))


def test_rows_with_more_tokens_than_positions_are_refused(masked):
    folder, _, _ = masked
    assert "--block_size 16" in refused(make_tiny("masked-lm", block_size=32), init_from=str(folder))
    assert "--max_length 8" in refused(make_tiny("sequence-classification"), max_position_embeddings=8, **SIZES)


def labelled(task, names):
    """Rows of a classification task with these labels, in this order."""
    if task == "token-classification":
        return [{"tokens": [f"word {name}"], "tags": [name]} for name in names]
    return [{"text": f"text {name}", "label": name} for name in names]


def classifier(task, folder, names, id2label=None):
    """Save a checkpoint with a head for the labels `names`, whose ids have the order of `id2label`."""
    tiny = make_tiny(task, labelled(task, names))
    model = tiny.model()
    order = dict(enumerate(id2label or names))
    model.config.update({"id2label": order, "label2id": {name: number for number, name in order.items()}})
    model.save_pretrained(folder)
    return tiny, model


def fine_tune(task, folder, names, pretraining):
    """A task with the labels `names`, and its model from a checkpoint."""
    tiny = make_tiny(task, labelled(task, names), init_from=str(folder))
    torch.manual_seed(1)
    return tiny, make_model(ModelArguments(init_from=str(folder)), tiny.objective, pretraining.tokenizer)


CLASSIFIERS = ("sequence-classification", "token-classification")


@pytest.mark.parametrize("task", CLASSIFIERS)
def test_labels_with_the_same_names_keep_the_ids_of_the_checkpoint(task, tmp_path, capsys):
    """The head was once kept while the names got another order."""
    pretraining, old = classifier(task, tmp_path, ["a", "b", "c"], id2label=["c", "a", "b"])
    tiny, model = fine_tune(task, tmp_path, ["b", "c", "a"], pretraining)
    assert model.config.id2label == {0: "c", 1: "a", 2: "b"}
    assert torch.equal(model.classifier.weight, old.classifier.weight)
    labels = tiny.examples["train"]["labels"][:]
    ids = [max(row) for row in labels] if task == "token-classification" else labels
    assert ids == [2, 0, 1]
    assert "A new head" not in capsys.readouterr().out


@pytest.mark.parametrize("names", [["x", "y", "z"], ["a", "b"]])
@pytest.mark.parametrize("task", CLASSIFIERS)
def test_labels_with_other_names_get_a_new_head_and_are_printed(task, names, tmp_path, capsys):
    pretraining, old = classifier(task, tmp_path, ["a", "b", "c"])
    _, model = fine_tune(task, tmp_path, names, pretraining)
    assert model.config.id2label == dict(enumerate(names))
    assert model.classifier.out_features == len(names)
    assert not torch.equal(model.classifier.weight[:2], old.classifier.weight[:2])
    assert model.classifier.weight.std() < 0.1
    old_weights = old.model.state_dict()
    assert all(torch.equal(weight, old_weights[name]) for name, weight in model.model.state_dict().items())
    assert f"A new head: {tmp_path} has other labels than the data (a, b, c)." in capsys.readouterr().out


@pytest.mark.parametrize("task", CLASSIFIERS)
def test_a_checkpoint_without_label_names_gets_those_of_the_data(task, tmp_path, capsys):
    pretraining, old = classifier(task, tmp_path, ["a", "b", "c"], id2label=["LABEL_0", "LABEL_1", "LABEL_2"])
    _, model = fine_tune(task, tmp_path, ["x", "y", "z"], pretraining)
    assert model.config.id2label == {0: "x", 1: "y", 2: "z"}
    assert torch.equal(model.classifier.weight, old.classifier.weight)
    assert "A new head" not in capsys.readouterr().out


def test_a_head_without_label_names_of_another_size_is_refused(tmp_path):
    pretraining, _ = classifier(CLASSIFIERS[0], tmp_path, ["a", "b", "c"], id2label=["LABEL_0", "LABEL_1", "LABEL_2"])
    other = make_tiny(CLASSIFIERS[0], labelled(CLASSIFIERS[0], ["x", "y"]))
    assert "it has 3, the data 2" in refused(other, pretraining.tokenizer, init_from=str(tmp_path))


def test_architectures_and_recipes_that_do_not_fit_the_task_are_refused(masked):
    causal = make_tiny("causal-lm")
    assert "--recipe bert does not fit --task causal-lm" in refused(causal, recipe="bert")
    assert "--architecture seq2seq does not fit" in refused(causal, architecture="seq2seq")
    assert "(tfm_encoder) does not fit" in refused(causal, init_from=str(masked[0]))
    assert "known recipes" in refused(causal, recipe="nonsense")
    tiny = make_tiny("sequence-classification")
    assert 'No recipe "bert" for tfm_decoder' in refused(tiny, architecture="decoder", recipe="bert", **SIZES)


def test_a_recipe_decides_the_architecture():
    objective = make_tiny("sequence-classification").objective
    for name, kind in (("bert", "tfm_encoder"), ("gpt2", "tfm_decoder"), ("bart", "tfm_seq2seq")):
        assert choose_model_type(ModelArguments(recipe=name), objective) == kind


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_configuration_file_gives_a_new_model(masked, is_folder):
    folder, tiny, old = masked
    source = str(folder if is_folder else folder / "config.json")
    torch.manual_seed(1)
    model = make_model(ModelArguments(config_file=source), tiny.objective, tiny.tokenizer)
    first, second = old.config.to_dict(), model.config.to_dict()
    assert {key for key in first if first[key] != second.get(key)} <= {
        "architectures",
        "dtype",
        "auto_map",
        "_name_or_path",
    }
    assert not torch.equal(model.get_input_embeddings().weight, old.get_input_embeddings().weight)


def test_a_configuration_file_gets_the_labels_of_the_data(masked):
    tiny = make_tiny("sequence-classification", max_length=16)
    model = make_model(ModelArguments(config_file=str(masked[0])), tiny.objective, tiny.tokenizer)
    assert model.config.id2label == {0: "blue", 1: "green", 2: "yellow"}
    assert torch.isfinite(model(**tiny.batch(model)).loss)


def test_other_configurations_are_refused(masked, tmp_path):
    tiny = masked[1]
    assert "No configuration could be read" in refused(tiny, init_from=str(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    assert "is a vit" in refused(tiny, config_file=str(tmp_path / "config.json"))


@pytest.mark.parametrize("recipe", [None, *(name for name, (kinds, _) in RECIPES.items() if "tfm_seq2seq" in kinds)])
@pytest.mark.parametrize("task", ["seq2seq", "denoising"])
def test_the_decoder_starts_with_a_special_token(task, recipe):
    """The ids in a recipe belong to another tokenizer: BART's 2 was the character "!" of ours."""
    tiny = make_tiny(task)
    model = tiny.model(recipe=recipe)
    assert model.config.decoder_start_token_id in tiny.tokenizer.all_special_ids
    assert tiny.tokenizer.decode([model.config.decoder_start_token_id], skip_special_tokens=True) == ""


def test_generated_texts_may_have_the_length_of_the_longest_target():
    tiny = make_tiny("seq2seq")
    assert tiny.model().generation_config.max_length == tiny.objective.args.max_target_length


def test_a_checkpoint_that_lacks_more_than_its_head_is_refused(masked, tmp_path):
    folder, tiny, _ = masked
    shutil.copytree(folder, tmp_path / "damaged")
    tensors = load_file(folder / "model.safetensors")
    incomplete = {name: tensor for name, tensor in tensors.items() if ".mlp." not in name}
    save_file(incomplete, tmp_path / "damaged" / "model.safetensors", metadata={"format": "pt"})
    assert "lacks weights of the base model" in refused(tiny, init_from=str(tmp_path / "damaged"))
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"")
    assert "model.safetensors (0 bytes) is cut short" in refused(tiny, init_from=str(tmp_path / "damaged"))
