"""The tools for speed and memory from end to end, on models so small that their numbers mean nothing."""

import json

import pytest
import torch

from hf_tfm.benchmark.harness.model_pairs import ComparedModels
from hf_tfm.benchmark.harness.subprocesses import run_module_in_fresh_process
from hf_tfm.benchmark.harness.workloads import WORKLOADS, workloads_of_tool
from hf_tfm.benchmark.tools import generate, import_time, infer, memory, run_all, train
from hf_tfm.benchmark.tools.memory_worker import MemorySettings, measure_memory
from hf_tfm.errors import one_line_errors

# one process for these tests: each takes both cores for a moment
pytestmark = pytest.mark.xdist_group("speed")

SIZES = "--hidden_size 32 --layers 2 --heads 4 --vocab_size 100 --threads 1"
ROUNDS = "--rounds 2 --max_rounds 2 --warmup_rounds 1"
BATCH = "--length 16 --batch_size 4"


@pytest.fixture(autouse=True)
def quick_hardware_limits(monkeypatch):
    """Constants instead of measurements of the machine."""
    monkeypatch.setattr("hf_tfm.benchmark.harness.report.gemm_flops_per_second", lambda width, dtype, device: 1e9)
    monkeypatch.setattr("hf_tfm.benchmark.tools.generate.read_bytes_per_second", lambda device: 1e9)


def measure_memory_here(module, settings, description):
    """Instead of a fresh process."""
    return measure_memory(MemorySettings(**settings))


def run(main, options, tmp_path, capsys):
    """The report that a tool writes, and what it prints."""
    path = tmp_path / "new" / "report.json"
    main([*options.split(), "--json", str(path)])
    return json.loads(path.read_text()), capsys.readouterr().out


def error_of(main, options, capsys):
    with pytest.raises(SystemExit) as ended, one_line_errors("tool"):
        main(options.split())
    error = capsys.readouterr().err
    assert ended.value.code == (2 if error.startswith("usage:") else 1)
    return error


@pytest.mark.parametrize("workload", ["padded-384", "sorted-384"])
def test_infer(workload, tmp_path, capsys):
    options = f"--workload {workload} {SIZES} {BATCH} {ROUNDS} --batches 2 --png {tmp_path / 'x.png'}"
    report, output = run(infer.main, options, tmp_path, capsys)
    assert [(result["ours"], result["peer"]) for result in report["results"]] == [
        ("ours from bert", "bert"), ("ours from modernbert", "modernbert"),
    ]  # fmt: skip
    assert all(result["difference"] < 1e-4 for result in report["results"])
    assert all(result["target"] == WORKLOADS[workload].targets[""] for result in report["results"])
    assert "share of GEMM" in output
    assert "Written: " in output
    assert "Next: " in output
    assert (tmp_path / "x.png").stat().st_size > 1000


@pytest.mark.parametrize("task", ["causal-lm", "packed-lm", "masked-lm", "seq2seq"])
def test_train(task, tmp_path, capsys):
    options = f"--workload {task} {SIZES} {BATCH} {ROUNDS} --peers native"
    report, output = run(train.main, options, tmp_path, capsys)
    (result,) = report["results"]
    assert result["difference"] < 1e-4
    assert result["rounds"] == 2
    assert "| tokens/s |" in output
    losses = {model["model"]: model["columns"]["loss of the first batch"].split(" to ") for model in report["models"]}
    ours, peer = losses[result["ours"]], losses[result["peer"]]
    assert float(ours[1]) < float(ours[0])
    # both took the same steps, so that equal weights stay equal
    assert float(ours[1]) == pytest.approx(float(peer[1]), abs=0.01)


def test_train_with_a_recipe_in_bfloat16(tmp_path, capsys):
    options = f"--recipe gpt2 --peers native llama {SIZES} {BATCH} {ROUNDS} --dtype bf16"
    report, _ = run(train.main, options, tmp_path, capsys)
    assert [(result["peer"], result["difference"] is None) for result in report["results"]] == [
        ("native", False), ("llama", True),
    ]  # fmt: skip
    assert set(report["gemm"]) == {"fp32", "bf16"}


@pytest.mark.parametrize(
    ("main", "options"),
    [
        (train.main, "--peers llama"),
        (infer.main, "--peers bert --batches 1"),
        (generate.main, "--peers llama --batch_sizes 1 2 --new_tokens 2"),
        (memory.main, "--peers llama --rounds 1 --part loss"),
    ],
)
def test_bfloat16_weights(main, options, tmp_path, capsys, monkeypatch):
    """Outputs are compared before, in float32."""
    monkeypatch.setattr(memory, "run_module_in_fresh_process", measure_memory_here)
    cast_weights, dtypes = ComparedModels.cast_weights, []

    def recorded_cast(self, dtype):
        cast_weights(self, dtype)
        dtypes.extend(weight.dtype for model in self.models.values() for weight in model.parameters())

    monkeypatch.setattr(ComparedModels, "cast_weights", recorded_cast)
    options = f"{options} {SIZES} --dtype bf16-weights"
    options += "" if main is memory.main else f" {ROUNDS}"
    options += "" if main is generate.main else f" {BATCH}"
    report, _ = run(main, options, tmp_path, capsys)
    assert set(dtypes) == {torch.bfloat16}
    for result in report["results"]:
        assert result["difference"] < (2e-2 if main is memory.main else 1e-4)


def test_generate(tmp_path, capsys):
    options = f"--workload generate {SIZES} {ROUNDS} --batch_sizes 1 2 --new_tokens 4"
    report, output = run(generate.main, options, tmp_path, capsys)
    assert [result["target"] for result in report["results"]] == [1.0, None, 1.0, None]
    assert "100.0% of the tokens of ours and llama are equal" in output
    assert "limit, ms" in output
    assert report["models"][0]["units"] == 4


@pytest.mark.parametrize("part", ["loss", "step"])
def test_memory(part, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory, "run_module_in_fresh_process", measure_memory_here)
    options = f"--workload {part}-memory {SIZES} {BATCH} --rounds 1"
    report, output = run(memory.main, options, tmp_path, capsys)
    assert report["results"][0]["difference"] < 1e-4
    assert report["results"][0]["unit"] == "bytes"
    assert "more than the process with imports, model and batches" in output


def test_memory_is_measured_in_a_fresh_process():
    settings = {"hidden_size": 32, "layers": 1, "heads": 4, "vocab_size": 20000, "length": 16, "part": "loss"}
    measured = run_module_in_fresh_process("hf_tfm.benchmark.tools.memory_worker", settings, "it")
    assert measured["growth_bytes"] > 0
    assert measured["same_weights"]


def test_import(tmp_path, capsys):
    report, output = run(import_time.main, "--workload import --rounds 1 --warmup_rounds 0", tmp_path, capsys)
    assert 0 < report["results"][0]["ratio"] < 60
    assert "at most 0.15" in output


@pytest.mark.parametrize("tool", ["infer", "train", "generate", "memory"])
def test_options_override_the_defaults_of_a_workload(tool, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    module = {"infer": infer, "train": train, "generate": generate, "memory": memory}[tool]
    for name in workloads_of_tool(tool):
        args = module.parse(["--workload", name, "--layers", "1"], "prog")
        assert args.layers == 1
        options = WORKLOADS[name].options
        assert not {key for key, value in options.items() if key != "layers" and getattr(args, key) != value}
        assert args.json.name == f"{name}.json"


def test_flags_of_a_workload_can_be_turned_off():
    assert train.parse(["--workload", "causal-lm-bf16"], "prog").compile
    assert not train.parse(["--workload", "causal-lm-bf16", "--no_compile"], "prog").compile


@pytest.mark.parametrize(
    ("main", "options", "message"),
    [
        (train.main, f"--recipe original {SIZES} {BATCH}", "No native family can represent"),
        (train.main, f"--recipe bert {SIZES} {BATCH}", 'No recipe "bert"'),
        (train.main, f"--task masked-lm --peers x-transformers {SIZES}", "causal language model only"),
        (train.main, "--hidden_size 30 --layers 1 --heads 4 --vocab_size 50", "heads"),
        (infer.main, f"--peers no/such-folder {SIZES}", "no/such-folder is not a peer: give native, llama"),
        (infer.main, f"--peers t5 {SIZES}", "an encoder-decoder"),
        (generate.main, f"--compile {SIZES}", "--cache static"),
        (generate.main, f"--peers llama x-transformers {SIZES}", "hf-tfm bench train"),
        (memory.main, f"--part loss --task seq2seq {SIZES} {BATCH} --rounds 1", "does not measure encoder-decoders"),
        (train.main, f"--device cuda {SIZES}", "torch finds no GPU"),
        (run_all.main, "--device cuda", "torch finds no GPU"),
        (infer.main, f"--onednn --dtype bf16-weights {SIZES}", "--onednn needs --dtype fp32 and --device cpu"),
    ],
)
def test_impossible_comparisons_are_refused(main, options, message, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(memory, "run_module_in_fresh_process", measure_memory_here)
    assert message in error_of(main, options, capsys)
