"""Python code in processes of their own."""

import sys

from hf_tfm.benchmark.harness.subprocesses import run_and_forward_stderr, run_python


def test_run_python_reads_the_last_line():
    assert run_python(["-S", "-c", "import os; print(1); print(os.environ['NAME'])"], "it", {"NAME": "[2]"}) == [2]


def test_error_messages_of_a_command_are_forwarded(capsys):
    script = "import sys; print('half\\n3/4', file=sys.stderr, end=''); sys.exit(3)"
    assert run_and_forward_stderr([sys.executable, "-S", "-c", script]) == (3, "3/4")
    assert "half" in capsys.readouterr().err
