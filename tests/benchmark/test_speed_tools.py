"""Every tool of speed and memory from end to end, on models so small that its numbers mean nothing."""

import json

import pytest
import torch

from hf_tfm.benchmark import everything, generate, import_time, infer, memory, memory_point, train
from hf_tfm.benchmark.contenders import Field, field_of
from hf_tfm.benchmark.peers import Sizes, native
from hf_tfm.benchmark.resident import in_fresh_process
from hf_tfm.benchmark.works import WORKS, works_of

pytestmark = pytest.mark.xdist_group("speed")

SIZES = "--hidden_size 32 --layers 2 --heads 4 --vocab_size 100 --threads 1"
ROUNDS = "--rounds 2 --most_rounds 2 --warmup_rounds 1"
ROWS = "--length 16 --batch_size 4"
TINY = Sizes(hidden_size=32, layers=2, heads=4, vocab_size=100, length=16)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Machine rates in no time."""
    monkeypatch.setattr("hf_tfm.benchmark.report.gemm_rate", lambda width, dtype, device: 1e9)
    monkeypatch.setattr("hf_tfm.benchmark.generate.read_rate", lambda device: 1e9)


def run(main, words, tmp_path, capsys):
    """What a tool wrote, and what it said."""
    path = tmp_path / "new" / "report.json"
    main([*words.split(), "--json", str(path)])
    return json.loads(path.read_text()), capsys.readouterr().out


def refused(main, words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("work", ["padded-384", "sorted-384"])
def test_infer(work, tmp_path, capsys):
    words = f"--work {work} {SIZES} {ROWS} {ROUNDS} --batches 2 --png {tmp_path / 'x.png'}"
    report, said = run(infer.main, words, tmp_path, capsys)
    assert [(one["ours"], one["theirs"]) for one in report["results"]] == [
        ("ours as bert", "bert"), ("ours as modernbert", "modernbert"),
    ]  # fmt: skip
    assert all(one["difference"] < 1e-4 for one in report["results"])
    assert all(one["target"] == WORKS[work].targets[""] for one in report["results"])
    assert "of the matrix product" in said
    assert "Written: " in said
    assert "Next: " in said
    assert (tmp_path / "x.png").stat().st_size > 1000


@pytest.mark.parametrize("task", ["causal-lm", "packed-lm", "masked-lm", "seq2seq"])
def test_train(task, tmp_path, capsys):
    report, said = run(train.main, f"--work {task} {SIZES} {ROWS} {ROUNDS} --against native", tmp_path, capsys)
    (result,) = report["results"]
    assert result["difference"] < 1e-4
    assert result["rounds"] == 2
    assert "| tokens/s |" in said
    ours, theirs = (row["loss of the first batch"].split(" to ") for row in reversed(report["contenders"]))
    assert float(ours[1]) < float(ours[0])
    # both took the same steps: equal weights have become equal weights
    assert float(ours[1]) == pytest.approx(float(theirs[1]), abs=0.01)


def test_train_by_a_recipe_in_half_precision(tmp_path, capsys):
    words = f"--recipe gpt2 --against native llama {SIZES} {ROWS} {ROUNDS} --dtype bf16"
    report, _ = run(train.main, words, tmp_path, capsys)
    assert [(one["theirs"], one["difference"] is None) for one in report["results"]] == [
        ("native", False), ("llama", True),
    ]  # fmt: skip
    assert set(report["gemm"]) == {"fp32", "bf16"}


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (train.main, "--against llama"),
        (infer.main, "--against bert --batches 1"),
        (generate.main, "--against llama --batch_sizes 1 2 --new_tokens 2"),
        (memory.main, "--against llama --rounds 1 --part loss"),
    ],
)
def test_weights_in_half_precision(main, words, tmp_path, capsys, monkeypatch):
    """The answers are compared before, in single precision."""
    monkeypatch.setattr(memory, "in_fresh_process", lambda module, point, _: memory_point.measure(made(point)))
    halve, halved = Field.halve, []

    def watched(self, dtype):
        halve(self, dtype)
        halved.extend(weight.dtype for model in self.models.values() for weight in model.parameters())

    monkeypatch.setattr(Field, "halve", watched)
    words = f"{words} {SIZES} --dtype bf16-weights"
    words += "" if main is memory.main else f" {ROUNDS}"
    words += "" if main is generate.main else f" {ROWS}"
    report, _ = run(main, words, tmp_path, capsys)
    assert set(halved) == {torch.bfloat16}
    for result in report["results"]:
        assert result["difference"] < (2e-2 if main is memory.main else 1e-4)


def test_halving_rounds_weights_and_no_buffers():
    found = field_of("causal-lm", ["llama"], TINY, None, True, {})
    found.halve("bf16")
    assert all(weight.dtype == torch.float32 for model in found.models.values() for weight in model.parameters())
    found.halve("bf16-weights")
    for model in found.models.values():
        assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
        assert {values.dtype for name, values in model.named_buffers() if "inv_freq" in name} == {torch.float32}
        assert model.lm_head.weight is model.get_input_embeddings().weight


def test_generate(tmp_path, capsys):
    words = f"--work generate {SIZES} {ROUNDS} --batch_sizes 1 2 --new_tokens 4"
    report, said = run(generate.main, words, tmp_path, capsys)
    assert [one["target"] for one in report["results"]] == [1.0, None, 1.0, None]
    assert "ours and llama chose 100.0% of the tokens alike" in said
    assert "bound, ms" in said
    assert report["contenders"][0]["units"] == 4


@pytest.mark.parametrize("part", ["loss", "step"])
def test_memory(part, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory, "in_fresh_process", lambda module, point, _: memory_point.measure(made(point)))
    words = f"--work {part}-memory {SIZES} {ROWS} --rounds 1"
    report, said = run(memory.main, words, tmp_path, capsys)
    assert report["results"][0]["difference"] < 1e-4
    assert report["results"][0]["unit"] == "bytes"
    assert "above the idle process" in said


def made(point):
    return memory_point.Point(**point)


def test_a_point_of_memory_has_a_process_of_its_own():
    point = {"hidden_size": 32, "layers": 1, "heads": 4, "vocab_size": 20000, "length": 16, "part": "loss"}
    found = in_fresh_process("hf_tfm.benchmark.memory_point", point, "it")
    assert found["growth_bytes"] > 0
    assert found["same_weights"]


def test_import(tmp_path, capsys):
    report, said = run(import_time.main, "--work import --rounds 1 --warmup_rounds 0", tmp_path, capsys)
    assert 0 < report["results"][0]["ratio"] < 60
    assert "at most 0.15" in said


def test_all_writes_one_table(tmp_path, capsys, monkeypatch):
    row = {"what": "x", "ours": "ours", "theirs": "bert", "ratio": 2.0, "target": 1.0, "met": True}
    answers = {"masked-lm": {"results": [row], "seconds": 1.0}, "causal-lm": {"error": "no peer", "seconds": 1.0}}
    monkeypatch.setattr(everything, "run_row", lambda name, args: answers[name])
    paths = {name: tmp_path / f"all.{name}" for name in ("json", "png")}
    words = ["--only", *answers, *(word for name, path in paths.items() for word in (f"--{name}", str(path)))]
    everything.main(words)
    said = capsys.readouterr().out
    assert "1 of 1 targets met" in said
    assert "causal-lm could not be run: no peer" in said
    assert json.loads(paths["json"].read_text()) == answers
    assert paths["png"].stat().st_size > 1000
    everything.main(["--list"])
    assert "sorted-768" in capsys.readouterr().out
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    rows = {device: everything.parse(["--device", device], "prog").only for device in ("cpu", "cuda")}
    assert sorted(rows["cpu"] + rows["cuda"]) == sorted(WORKS)
    assert all(name.startswith("gpu-") for name in rows["cuda"])


@pytest.mark.parametrize("tool", ["infer", "train", "generate", "memory"])
def test_works_set_defaults_that_options_override(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    module = {"infer": infer, "train": train, "generate": generate, "memory": memory}[tool]
    for name in works_of(tool):
        args = module.parse(["--work", name, "--layers", "1"], "prog")
        assert args.layers == 1
        wrong = {key for key, value in WORKS[name].options.items() if key != "layers" and getattr(args, key) != value}
        assert not wrong
        assert args.json.name == f"{name}.json"


@pytest.mark.parametrize("saved", ["native", "ours"])
def test_a_checkpoint_is_met_with_its_own_weights(saved, tmp_path):
    first = field_of("causal-lm", ["llama"], TINY, None, True, {})
    first.models[{"native": "llama", "ours": "ours"}[saved]].save_pretrained(tmp_path)
    found = field_of("causal-lm", [str(tmp_path)], TINY, None, True, {"lean_loss": True})
    ours, theirs = found.models["ours"], found.models[str(tmp_path)]
    assert ours.config.model_type == "tfm_decoder"
    assert ours.config.lean_loss
    assert theirs.config.model_type == "llama"
    table = first.models["llama"].get_input_embeddings().weight
    for model in (ours, theirs):
        assert model.get_input_embeddings().weight.equal(table)


def test_peers_without_weights_to_share_meet_the_first_of_ours(monkeypatch):
    monkeypatch.setitem(
        field_of.__globals__["OTHERS"], "x-transformers", lambda head, size, seed: native("llama", head, size)
    )
    monkeypatch.setattr("hf_tfm.benchmark.contenders.convertible", lambda peer: peer.config.model_type == "gpt2")
    found = field_of("causal-lm", ["gpt2", "x-transformers"], TINY, None, True, {})
    assert [(match.ours, match.theirs, match.same_weights) for match in found.matches] == [
        ("ours as gpt2", "gpt2", True), ("ours as gpt2", "x-transformers", False),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="name a native family first"):
        field_of("causal-lm", ["x-transformers"], TINY, None, True, {})


@pytest.mark.parametrize(
    ("main", "words", "said"),
    [
        (train.main, f"--recipe original {SIZES} {ROWS}", "No native family can say"),
        (train.main, f"--recipe bert {SIZES} {ROWS}", 'No recipe "bert"'),
        (train.main, f"--task masked-lm --against x-transformers {SIZES}", "causal language model only"),
        (train.main, "--hidden_size 30 --layers 1 --heads 4 --vocab_size 50", "heads"),
        (infer.main, f"--against no/such-folder {SIZES}", "no/such-folder is none of native, llama"),
        (infer.main, f"--against t5 {SIZES}", "pairs of stacks"),
        (generate.main, f"--compile {SIZES}", "--cache static"),
        (generate.main, f"--against llama x-transformers {SIZES}", "hf-tfm bench train"),
        (memory.main, f"--part loss --task seq2seq {SIZES} {ROWS} --rounds 1", "no pairs of stacks"),
        (train.main, f"--device cuda {SIZES}", "torch sees no GPU"),
        (everything.main, "--device cuda", "torch sees no GPU"),
        (infer.main, f"--onednn --dtype bf16-weights {SIZES}", "--onednn is for --dtype fp32 on a CPU"),
    ],
)
def test_what_cannot_be_compared_is_refused(main, words, said, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(memory, "in_fresh_process", lambda module, point, _: memory_point.measure(made(point)))
    assert said in refused(main, words, capsys)
