"""`hf-tfm compare` as a user runs it: one line on an own text file, killed, changed, extended, and printed again."""

import csv
import json
import os
import shlex
import shutil
import signal
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from hf_tfm import cli
from hf_tfm.comparison.compare_command import main
from hf_tfm.comparison.workers import CONTEXT, Workers
from hf_tfm.training.cli.parser import parse_arguments
from hf_tfm.training.training_run import run_training

# in one pytest worker, because every worker would run the comparison of the fixture again
pytestmark = pytest.mark.xdist_group("train")

SIZES = "--hidden_size 16 --num_hidden_layers 1 --num_attention_heads 2 --vocab_size 300 --block_size 16".split()
SHORT = "--max_steps 6 --warmup_steps 1 --eval_steps 3 --save_steps 2 --most_rates 3 --seeds 2".split()
PROBED = ["--probes", "length,induction"]
COMMAND = [
    "--vary",
    "position_type=rotary,alibi",
    "--train_file",
    "own.txt",
    *SIZES,
    *SHORT,
    *PROBED,
    "--output_dir",
    "out",
]
TABLES = ("compare.md", "compare.csv")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a text."""
    write_text(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_text(folder):
    lines = [f"The {i}th line of a little text, which says {'no' * (i % 7)}thing." for i in range(120)]
    (folder / "own.txt").write_text("\n\n".join(lines))
    turns = [
        {"messages": [{"role": "user", "content": line}, {"role": "assistant", "content": "Yes."}]} for line in lines
    ]
    (folder / "chat.jsonl").write_text("\n".join(map(json.dumps, turns)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished comparison."""
    folder = tmp_path_factory.mktemp("finished")
    write_text(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(COMMAND)
    return folder


def tables(folder):
    """What was found, without the time that it took."""
    rows = list(csv.DictReader((folder / "out/compare.csv").open()))
    text = (folder / "out/compare.md").read_text().partition("## Time and memory")[0]
    return text, [{**row, "seconds": "", "peak_memory": ""} for row in rows]


def refused(arguments, capsys):
    """The message of a command that is refused."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["compare", *arguments])
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_a_comparison_of_an_own_text_is_complete(finished):
    text, rows = tables(finished)
    assert len(rows) == 10
    assert {(row["arm"], row["kind"], row["state"]) for row in rows} == {
        (f"position_type={word}", kind, "finished") for word in ("rotary", "alibi") for kind in ("rate", "seed")
    }  # fmt: skip
    assert "| position_type=alibi " in text
    assert "standard deviation" in text
    assert (finished / "out/compare.png").stat().st_size > 10_000
    found = json.loads((finished / "out/compare.json").read_text())
    assert [item["best_rate"] is not None for item in found["arms"]] == [True, True]
    # six steps learn more at every higher rate, so the limit ends the sweep at its edge
    assert found["arms"][1]["verdict"] == "the baseline's best rate at the edge" or found["arms"][1]["at_edge"]
    model = AutoModelForCausalLM.from_pretrained(finished / "out/runs/position_type=alibi/seed-1")
    assert model.config.position_type == "alibi"
    assert all(float(row["peak_memory"]) > 1e8 for row in csv.DictReader((finished / "out/compare.csv").open()))


def test_probes_are_measured_for_every_seed_and_stand_in_all_files(finished):
    text, rows = tables(finished)
    for row in rows:
        # on the same text and rows as the evaluation of the run
        assert row["length_1x"] == "" or float(row["length_1x"]) == pytest.approx(float(row["bits_per_byte"]))
        assert (row["length_4x"] != "") == (row["induction"] != "") == (row["kind"] == "seed")
    found = json.loads((finished / "out/compare.json").read_text())["probes"]
    [base, arm] = [item for item in found if item["measure"] == "length_4x_rise"]
    assert base["difference"] is None
    assert arm["difference"]["mean"] == pytest.approx(arm["mean"] - base["mean"])
    assert f"| length_4x_rise | position_type=alibi  | {arm['mean']:.4f}" in text


def test_the_planned_evaluations_are_those_of_a_run(finished):
    """The estimate of the time counts them."""
    for planned in json.loads((finished / "out/plan.json").read_text())["arms"]:
        run = finished / "out/runs" / planned["arm"]["name"] / "seed-1"
        history = json.loads((run / "trainer_state.json").read_text())["log_history"]
        assert planned["evaluations"] == sum("eval_loss" in row or "test_loss" in row for row in history)
        assert min(planned[name] for name in ("evaluation_seconds", "start_seconds", "probe_seconds")) > 0


def test_the_winners_command_writes_the_card_that_runs_leave_out(finished, monkeypatch):
    monkeypatch.chdir(finished)
    text, _ = tables(finished)
    [command] = [line for line in text.splitlines() if line.startswith("python train.py")]
    run_training(parse_arguments(shlex.split(command)[2:]))
    [run] = [line.split()[2] for line in text.splitlines() if line.startswith("hf-tfm inspect")]
    beside = {path.name for path in Path("runs/my-model").iterdir()} - {path.name for path in Path(run).iterdir()}
    assert beside == {"README.md", "training.png", "inspect.html", "samples.jsonl"}
    assert Path(run, "model.safetensors").read_bytes() == Path("runs/my-model/model.safetensors").read_bytes()


def test_runs_of_a_seed_see_the_same_data(finished):
    states = [
        json.loads((finished / f"out/runs/position_type={word}/seed-2/run.json").read_text())
        for word in ("rotary", "alibi")
    ]
    assert states[0]["data"] == states[1]["data"]
    differing = {name for name in states[0]["options"] if states[0]["options"][name] != states[1]["options"][name]}
    assert differing <= {"config_overrides", "learning_rate", "muon_learning_rate"}


def test_a_finished_comparison_is_printed_again_and_nothing_runs(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    before = tables(finished)
    monkeypatch.setattr(Workers, "start_waiting", None)
    main(["out"])
    assert before[0] in capsys.readouterr().out
    assert tables(finished) == before


def kill_after_one_run(folder):
    """In a new process: a comparison that is killed when a run has ended, and another one trains."""
    os.chdir(folder)
    Workers.outcome = lambda self, run, code: os.kill(os.getpid(), signal.SIGKILL)
    main([*COMMAND, "--jobs", "2"])


def test_the_same_command_goes_on_after_a_kill_to_the_same_table(finished, folder):
    """The arm that is compared is still to be run; so are a seed of the baseline, and the probes of its other seed."""
    shutil.copytree(finished / "out", folder / "out")
    shutil.rmtree(folder / "out/runs/position_type=alibi")
    shutil.rmtree(folder / "out/runs/position_type=rotary/seed-2")
    for path in (folder / "out/runs/position_type=rotary/seed-1").glob("probe_*.json"):
        path.unlink()
    process = CONTEXT.Process(target=kill_after_one_run, args=(folder,))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    # the run that trained when the command was killed may still write
    runs = list((folder / "out/runs").glob("*/*/run.json"))
    ended = [path for path in runs if json.loads(path.read_text())["finished"]]
    assert 5 <= len(ended) <= 6
    times = {path: path.stat().st_mtime_ns for path in ended}
    main(COMMAND)
    assert tables(folder) == tables(finished)
    assert {path: path.stat().st_mtime_ns for path in times} == times, "a finished run was repeated"


def test_a_changed_plan_is_refused_and_the_difference_named(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    others = {
        "--seeds 3": "seeds (2 there, 3 now)",
        "--block_size 8": "options (",
        "--rate_factor 3": "rate_factor (2.0",
    }
    for option, words in others.items():
        assert words in refused([*COMMAND, *option.split()], capsys)
    text = refused([*COMMAND[2:], "--vary", "position_type=rotary,none"], capsys)
    assert "arm position_type=alibi (only there); arm position_type=none (only now)" in text
    assert "--add" in text
    assert "baseline" in refused([*COMMAND[2:], "--vary", "position_type=alibi,rotary", "--add"], capsys)


def test_a_comparison_is_extended_by_an_arm_that_the_baseline_is_kept_for(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    started = []

    def start_nothing(self, outcomes):
        started.append((self.plan, dict(outcomes)))
        return False

    monkeypatch.setattr(Workers, "start_waiting", start_nothing)
    before = (finished / "out/plan.json").read_text()
    try:
        main([*COMMAND, "--arm", "none: position_type=none", "--add", "--seeds", "3"])
    finally:
        (finished / "out/plan.json").write_text(before)
    [(plan, outcomes)] = started
    assert [item.arm.name for item in plan.arms] == ["position_type=rotary", "position_type=alibi", "none"]
    assert len(outcomes) == 10
    assert len(plan.seeds) == 3
    text = capsys.readouterr().out
    assert "| none " in text
    assert "seeds not finished" in text
    assert "extended 1 time(s)" in text


def test_all_illegal_arms_are_refused_at_once_before_anything_runs(folder, capsys):
    arms = {
        "base": "", "word": "position_type=rotarie", "sizes": "num_attention_heads=3", "name": "positon_type=alibi",
        "option": "optimizer=sgd", "own": "seed=3", "solved": "hidden_size=128",
    }  # fmt: skip
    given = [item for name, settings in arms.items() for item in ("--arm", f"{name}: {settings}")]
    message = refused([*given, *COMMAND[2:]], capsys)
    assert "'rotarie' is not one of ['none', 'learned'" in message
    assert "arm sizes: " in message
    assert "did you mean position_type?" in message
    assert "invalid choice: 'sgd'" in message
    assert "seed is set by the comparison itself" in message
    assert message.count("arm ") >= 5
    assert not (folder / "out").exists()
    message = refused(["--arm", "base:", "--arm", "wide: hidden_size=128", *COMMAND[2:]], capsys)
    assert "the closest is intermediate_size" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arm", "one:"], "nothing to compare"),
        (["--vary", "qk_norm=none,head", "--seeds", "1"], "at least 2"),
        (["--vary", "qk_norm=none,head", "--rates", "1"], "at least 3 rates"),
        (["--vary", "qk_norm=none,head", "--budget", "soon"], "--budget soon must be"),
        (["--vary", "qk_norm=none,head", "--budget", "1e9", "--max_steps", "3"], "both decide"),
        (
            ["--vary", "qk_norm=none,head", "--num_train_epochs", "3", "--train_file", "own.txt"],
            "set by the comparison itself",
        ),
        (["--vary", "qk_norm=none,head", "--train_file", "nowhere.txt"], "nowhere.txt"),
        (["--vary", "qk_norm=none,head", "--add"], "there is none in runs/compare"),
        (
            ["--vary", "qk_norm=none,head", "--probes", "colour"],
            "colour is unknown; known are recall, induction, length",
        ),
        (
            ["--vary", "qk_norm=none,head", "--task", "masked-lm", "--probes", "all", "--train_file", "own.txt"],
            "--probes length measures causal decoders, and this is a tfm_encoder; leave it out",
        ),
        (
            ["--vary", "qk_norm=none,head", "--task", "chat", "--probes", "length", "--train_file", "chat.jsonl"],
            "--probes length measures --task causal-lm, not chat; leave it out",
        ),
        (["nowhere"], "holds no comparison"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_compared_is_refused(folder, capsys, arguments, words):
    assert words in refused(arguments, capsys)
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("budget", "solve", "expected"),
    [
        (["--budget", "flops"], [], {"solved": "intermediate_size"}),
        (["--budget", "3e9"], ["--solve", "steps"], {"solved": ""}),
        (["--budget", "40k-tokens"], [], {"solved": ""}),
        (["--budget", "parameters"], ["--solve", "width"], {"solved": "hidden_size"}),
    ],
    ids=["flops", "steps", "tokens", "parameters"],
)
def test_the_plan_shows_equal_costs(folder, capsys, budget, solve, expected):
    sizes = [item for item in COMMAND[2:] if not budget[1][0].isdigit() or item not in ("--max_steps", "6")]
    main(["--arm", "base:", "--arm", "plain: mlp_type=plain", *sizes, *budget, *solve, "--plan"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    header, base, arm = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    base, arm = dict(zip(header, base, strict=True)), dict(zip(header, arm, strict=True))
    assert arm["solved"].startswith(expected["solved"])
    assert bool(arm["solved"]) == bool(expected["solved"])
    equal = {"flops": "FLOPs", "3e9": "FLOPs", "40k-tokens": "steps", "parameters": "parameters"}[budget[1]]
    values = [float(row[equal].replace(",", "")) for row in (base, arm)]
    assert values[0] == pytest.approx(values[1], rel=0.015)
    assert not (folder / "out").exists()
