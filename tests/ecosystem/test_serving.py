"""`hf-tfm serve` and `hf-tfm chat`: what OpenAI's client gets is what `generate` writes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_tfm.serving.chat_command import is_up

openai = pytest.importorskip("openai")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

REPOSITORY = Path(__file__).parents[2]
NEEDS_PACKAGE = "needs hf_tfm: the server reads no auto_map"
row = partial(pytest.mark.compatibility, tool="openai", statuses={"remote": NEEDS_PACKAGE})
MESSAGES = [{"role": "user", "content": "the quick brown fox"}]
PROMPT, LENGTH = "the quick", 8
COMMAND = [sys.executable, "-m", "hf_tfm.cli"]
SETTINGS = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"}
START, ANSWER = 120, 300  # seconds; only stop what hangs


@contextlib.contextmanager
def serving(folder, log, *options):
    """A client of a server of a checkpoint, which Ctrl-C ends."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    command = [*COMMAND, "serve", str(folder), "--port", port, "--device", "cpu", *options]
    with log.open("w") as output:
        server = subprocess.Popen(command, env=SETTINGS, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            last = time.monotonic() + START
            while not is_up(f"http://localhost:{port}/health"):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < last, log.read_text()
                time.sleep(0.2)
            yield openai.OpenAI(base_url=f"http://localhost:{port}/v1", api_key="none", timeout=START)
            server.send_signal(signal.SIGINT)
            server.wait(START)
        finally:
            server.kill()
    assert "Application shutdown complete" in log.read_text()


def generate(folder, inputs):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    given = tokenizer(inputs, return_tensors="pt").input_ids if isinstance(inputs, str) else None
    if given is None:
        given = tokenizer.apply_chat_template(inputs, add_generation_prompt=True, return_tensors="pt").input_ids
    with torch.no_grad():
        tokens = model.generate(given, max_new_tokens=LENGTH, do_sample=False)
    return tokenizer.decode(tokens[0, given.shape[1] :], skip_special_tokens=True)


def assert_serves_what_generate_writes(folder, log, *options):
    with serving(folder, log, *options) as client:
        ask = partial(client.chat.completions.create, model=str(folder), messages=MESSAGES, max_tokens=LENGTH)
        answer = ask(temperature=0).choices[0].message.content
        parts = [part.choices[0].delta.content for part in ask(temperature=0, stream=True) if part.choices]
        text = client.completions.create(model=str(folder), prompt=PROMPT, max_tokens=LENGTH, temperature=0)
    assert len(parts) > 2
    assert answer == "".join(part or "" for part in parts) == generate(folder, MESSAGES)
    assert text.choices[0].text == generate(folder, PROMPT)


@row(what="hf-tfm serve: chat, streamed or not, and completions equal generate")
def test_served_text_is_what_generate_writes(checkpoints, tmp_path):
    assert_serves_what_generate_writes(checkpoints / "ours" / "llama", tmp_path / "log")


@pytest.mark.ecosystem
@row(what="hf-tfm serve --continuous-batching: the same")
def test_continuous_batching_serves_what_generate_writes(checkpoints, tmp_path):
    # of native models, too, which hf-tfm serve takes as transformers does
    for name in ("ours", "native"):
        folder = checkpoints / name / "llama"
        assert_serves_what_generate_writes(folder, tmp_path / name, "--continuous-batching")


@pytest.mark.ecosystem
def test_server_refuses_at_once_what_continuous_batching_would_drop(checkpoints):
    command = [*COMMAND, "serve", str(checkpoints / "ours" / "alibi"), "--continuous-batching", "--device", "cpu"]
    ended = subprocess.run(command, env=SETTINGS, capture_output=True, text=True, check=False, timeout=ANSWER)
    assert ended.returncode == 1
    assert 'does not support position_type="alibi", a score bias' in ended.stderr.strip().splitlines()[-1]


@pytest.mark.ecosystem
@row(what="hf-tfm chat, with a server of its own")
def test_chat(checkpoints):
    folder = checkpoints / "ours" / "llama"
    command = [*COMMAND, "chat", str(folder), f"max_new_tokens={LENGTH}", "do_sample=False"]
    given = f"{PROMPT}\nn\n!exit\n"  # no, not on beyond the limit
    # huggingface_hub's client asks no server at all in offline mode
    settings = {**SETTINGS, "HF_HUB_OFFLINE": "0"}
    ended = subprocess.run(
        command, env=settings, input=given, capture_output=True, text=True, check=False, timeout=ANSWER
    )
    assert ended.returncode == 0, ended.stderr
    assert f"{LENGTH} tokens in" in ended.stdout
