"""`hf-tfm bench all`: its list, its table and its choice of workloads."""

import json

import torch

from hf_tfm.benchmark.harness.report import Result
from hf_tfm.benchmark.harness.workloads import WORKLOADS
from hf_tfm.benchmark.tools import run_all


def test_table_includes_failed_workloads():
    results = [
        Result("infer", "ours", "bert", 2.7, 0.05, 5, difference=3e-7, target=2.6),
        Result("train", "ours", "gpt2", 0.9, 0.02, 5, target=1.0),
        Result("loss", "ours", "llama", 0.2, unit="bytes", target=0.25, higher_is_better=False),
    ]
    written = [vars(result) | {"met": result.met} for result in results]
    outcomes = {"padded-384": {"results": written, "seconds": 3.0}, "causal-lm": {"error": "pip i", "seconds": 1.0}}
    table = run_all.outcome_table(outcomes)
    assert "padded-384: infer" in table
    assert "2 of 3 targets met" in table
    assert "causal-lm failed: pip i" in table


def test_every_workload_is_listed_with_its_command():
    table = run_all.workload_table()
    for name, workload in WORKLOADS.items():
        assert f"`hf-tfm bench {workload.tool} --workload {name}`" in table
        # ratios on GPUs have no target
        assert bool(workload.targets) == (workload.options.get("device") != "cuda")


def test_workloads_run_as_the_listed_command(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(run_all, "run_and_forward_stderr", lambda command: commands.append(command) or (3, "no peer"))
    args = run_all.parse(["--output_dir", str(tmp_path), "--rounds", "2", "--threads", "1"], "prog")
    assert run_all.run_workload("causal-lm", args)["error"] == "no peer"
    path = str(tmp_path / "causal-lm.json")
    assert commands[0][1:] == [
        "-m", "hf_tfm.cli", "bench", "train", "--workload", "causal-lm", "--json", path, "--threads", "1",
        "--rounds", "2",
    ]  # fmt: skip


def test_all_results_are_written_and_plotted(tmp_path, capsys, monkeypatch):
    result = {"case": "x", "ours": "ours", "peer": "bert", "ratio": 2.0, "target": 1.0, "met": True}
    outcomes = {"masked-lm": {"results": [result], "seconds": 1.0}, "causal-lm": {"error": "no peer", "seconds": 1.0}}
    monkeypatch.setattr(run_all, "run_workload", lambda name, args: outcomes[name])
    json_path, png_path = tmp_path / "all.json", tmp_path / "all.png"
    run_all.main(["--only", *outcomes, "--json", str(json_path), "--png", str(png_path)])
    output = capsys.readouterr().out
    assert "1 of 1 targets met" in output
    assert "causal-lm failed: no peer" in output
    assert json.loads(json_path.read_text()) == outcomes
    assert png_path.stat().st_size > 1000


def test_list_and_device_choose_workloads(capsys, monkeypatch):
    run_all.main(["--list"])
    assert "sorted-768" in capsys.readouterr().out
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    chosen = {device: run_all.parse(["--device", device], "prog").only for device in ("cpu", "cuda")}
    assert sorted(chosen["cpu"] + chosen["cuda"]) == sorted(WORKLOADS)
    assert all(name.startswith("gpu-") for name in chosen["cuda"])
