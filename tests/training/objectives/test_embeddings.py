"""Pairs and triplets become batches of anchors and candidates; the loss is that of in-batch negatives; the folder of a
run opens with AutoModel and has the files of sentence-transformers."""

import json
import sys

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

import train
from hf_tfm.modeling.modeling_tfm_encoder import TfmEncoderForMaskedLM, TfmEncoderForTextEmbedding
from hf_tfm.training.arguments.data_arguments import DataArguments
from hf_tfm.training.arguments.model_arguments import ModelArguments
from hf_tfm.training.arguments.task_arguments import TaskArguments
from hf_tfm.training.data.sources import load_data
from hf_tfm.training.loop.model_creation import make_model
from hf_tfm.training.objectives import OBJECTIVES
from tests.training.test_train import cli_arguments
from tests.training.tiny import ROWS, SIZES, make_tiny

pytestmark = pytest.mark.xdist_group("train")

PAIRS = [("a cat", "it purrs"), ("a dog", "it barks"), ("a puppy", "it barks"), ("a cow", "it moos")]
TRIPLETS = [
    {"anchor": anchor, "positive": positive, "negative": "it barks" if anchor == "a cow" else f"no {anchor}"}
    for anchor, positive in PAIRS
]


def embed(tiny, model, texts):
    encoded = tiny.tokenizer(texts, padding=True, return_token_type_ids=False, return_tensors="pt")
    return model(**encoded).pooler_output


@pytest.mark.parametrize("kind", ["tfm_encoder", "tfm_decoder"])
@pytest.mark.parametrize("has_negatives", [False, True])
def test_loss_is_the_cross_entropy_of_the_positive_among_the_different_texts_of_the_batch(kind, has_negatives):
    rows = TRIPLETS if has_negatives else [{name: row[name] for name in ("anchor", "positive")} for row in TRIPLETS]
    tiny = make_tiny("embeddings", rows, kind=kind, temperature=0.1)
    model = tiny.model(kind)
    positives = [row["positive"] for row in rows]
    # "it barks" is one candidate: the positive of two anchors, and the negative of a third one
    candidates = list(dict.fromkeys([*positives, *(row["negative"] for row in rows if has_negatives)]))
    assert len(candidates) == (6 if has_negatives else 3)
    scores = embed(tiny, model, [row["anchor"] for row in rows]) @ embed(tiny, model, candidates).T / 0.1
    expected = F.cross_entropy(scores, torch.tensor([candidates.index(text) for text in positives]))
    torch.testing.assert_close(model(**tiny.batch(model)).loss, expected)


def test_accumulated_steps_are_the_mean_over_anchors_of_their_own_micro_batches():
    tiny = make_tiny("embeddings")
    model = tiny.model()
    batches = [tiny.batch(model, rows=rows) for rows in (slice(0, 6), slice(6, 8))]
    accumulated = sum(model(**batch, num_items_in_batch=8).loss for batch in batches)
    six, two = (model(**batch).loss for batch in batches)
    torch.testing.assert_close(accumulated, (6 * six + 2 * two) / 8)


def test_a_model_that_knows_the_pairs_has_the_best_results(tmp_path):
    tiny = make_tiny("embeddings")
    model = tiny.model()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    batch = tiny.batch(model, rows=slice(0, 8))
    for _ in range(60):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    results = tiny.measure(tiny.kept(model), tmp_path)
    assert results == {"recall_at_10": 1, "recall_at_1": 1, "mrr": 1}
    inputs = tiny.objective.sample_inputs(tiny.data, tiny.tokenizer, None)
    assert [tiny.objective.predict_sample(model, tiny.tokenizer, item) for item in inputs] == [
        tiny.objective.reference(item) for item in inputs
    ]


@pytest.mark.parametrize("column", ["positive", "group"])
def test_rows_of_a_group_or_with_the_same_positive_stay_in_one_split(column, tmp_path):
    rows = [{"anchor": f"row {i}", "positive": f"text {i % 40}"} for i in range(120)]
    if column == "group":
        rows = [row | {"positive": row["anchor"], "group": f"group {i % 40}"} for i, row in enumerate(rows)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    objective = OBJECTIVES["embeddings"](TaskArguments())
    splits = load_data(objective, DataArguments(train_file=[str(file)])).splits
    found = {name: set(table[column]) for name, table in splits.items()}
    assert all(found.values())
    assert sum(map(len, found.values())) == len(set.union(*found.values())) == 40


def save(tiny, model, folder):
    model.save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_native_encoder_becomes_an_embedding_with_mean_pooling(tmp_path):
    tiny = make_tiny("embeddings")
    config = BertConfig(vocab_size=len(tiny.tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=16, max_position_embeddings=48, pad_token_id=0)  # fmt: skip
    native = BertModel(config).eval()
    model = make_model(
        ModelArguments(init_from=save(tiny, native, tmp_path / "bert")), tiny.objective, tiny.tokenizer
    ).eval()
    assert type(model) is TfmEncoderForTextEmbedding
    ids = torch.tensor([[5, 6, 7, 8]])
    expected = F.normalize(native(ids).last_hidden_state.mean(1), dim=-1)
    torch.testing.assert_close(model(ids).pooler_output, expected, rtol=1e-4, atol=1e-5)


def test_an_adapter_on_a_checkpoint_without_the_head_is_refused(tmp_path):
    tiny = make_tiny("masked-lm", block_size=48)
    source = save(tiny, tiny.model(), tmp_path / "base")
    assert type(tiny.model()) is TfmEncoderForMaskedLM
    embeddings = make_tiny("embeddings")
    with pytest.raises(ValueError, match="is a TfmEncoderForMaskedLM; add --merge_adapter"):
        make_model(ModelArguments(init_from=source, peft="lora"), embeddings.objective, tiny.tokenizer)
    merged = ModelArguments(init_from=source, peft="lora", merge_adapter=True)
    make_model(merged, embeddings.objective, tiny.tokenizer)


def test_a_run_leaves_what_auto_model_and_sentence_transformers_open(tmp_path, monkeypatch):
    file, folder = tmp_path / "rows.jsonl", tmp_path / "out"
    file.write_text("".join(json.dumps(ROWS["embeddings"](i)) + "\n" for i in range(60)))
    same = [f"--{name}_file={file}" for name in ("train", "validation", "test")]
    options = SIZES | {"task": "embeddings", "output_dir": folder, "max_steps": 2, "architecture": "decoder"}
    monkeypatch.setattr(sys, "argv", ["train.py", *cli_arguments(**options), *same, "--use_cpu", "--disable_tqdm=true"])
    state = torch.get_rng_state()
    train.main()
    torch.set_rng_state(state)
    results = json.loads((folder / "all_results.json").read_text())
    assert {"test_recall_at_10", "test_mrr", "eval_mrr", "test_loss"} <= results.keys()
    assert "TF-IDF of parts of words" in (folder / "README.md").read_text()
    assert [module["path"] for module in json.loads((folder / "modules.json").read_text())] == [""]
    text = json.loads((folder / "sentence_bert_config.json").read_text())["modality_config"]["text"]
    model, tokenizer = (auto.from_pretrained(folder) for auto in (AutoModel, AutoTokenizer))
    outputs = getattr(model, text["method"])(**tokenizer(["a", "b c"], padding=True, return_tensors="pt"))
    vectors = outputs[text["method_output_name"]]
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2))
