"""What travels in test_portability.py: the checkpoints, what must be in them, and the readers that open them.

Readers are processes of their own (`travel_reader.py`) that do many errands each: importing the host takes seconds.
"Hidden" readers cannot import hf_tfm, "importable" ones can.
"""

import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from transformers import Trainer, TrainingArguments

import hf_tfm
from hf_tfm.modeling import modeling_tfm
from hf_tfm.modeling.recipes import recipe_fields
from tests.grid import SIZES, TRUNKS, ids, make

FLOOR = Path(modeling_tfm.__file__).parent
REPOSITORY = FLOOR.parents[1]
READER = Path(__file__).with_name("travel_reader.py")
READER_SECONDS = 300  # a guard against a reader that hangs, not a measure of speed
AT_ONCE = 4
REMOTE = "transformers_modules."  # where the host puts the code of checkpoints
RECIPE = {"encoder": "bert", "decoder": "llama", "seq2seq": "t5"}
LENGTH = 7  # tokens in a row

# class name -> (architecture, class) of every head that an Auto class can give
HEADS = {
    reference.split(".")[1]: (architecture, getattr(hf_tfm, reference.split(".")[1]))
    for architecture, (_, some_head) in TRUNKS.items()
    for auto_class, reference in some_head._auto_map.items()
    if auto_class != "AutoConfig"
}
LANGUAGE_HEADS = [head.__name__ for _, head in TRUNKS.values()]
CAUSAL = TRUNKS["decoder"][1]


def own_openings(name):
    """The Auto classes that give the head `name`."""
    return [auto for auto, reference in HEADS[name][1]._auto_map.items() if reference.split(".")[1] == name]


OPENINGS = [(name, auto_class) for name in HEADS for auto_class in dict.fromkeys(["AutoModel", *own_openings(name)])]
# one Auto class that gives the head, and AutoModel
MAIN_OPENINGS = [(name, auto) for name, auto in OPENINGS if auto in ("AutoModel", own_openings(name)[-1])]
OF_LANGUAGE_HEADS = [(name, auto_class) for name, auto_class in MAIN_OPENINGS if name in LANGUAGE_HEADS]


def given_class(name, auto_class):
    """What `auto_class` gives for a checkpoint of the head `name`: the head itself or the trunk."""
    return HEADS[name][1]._auto_map[auto_class].split(".")[1]


def part_of(name, auto_class):
    return "head" if given_class(name, auto_class) == name else "trunk"


# What the writer leaves


def make_head(name):
    architecture, head = HEADS[name]
    config_class = TRUNKS[architecture][0]
    return make(architecture, head, **recipe_fields(RECIPE[architecture], config_class.model_type, SIZES))


def trunk_inputs(config):
    """Two rows that end with an end of sequence; the second one is padded."""
    words = ids(2, LENGTH)
    mask = torch.ones_like(words)
    mask[1, 5:] = 0
    words[0, -1] = words[1, 4] = config.eos_token_id
    words[1, 5:] = config.pad_token_id
    inputs = {"input_ids": words, "attention_mask": mask}
    return {**inputs, "decoder_input_ids": ids(2, LENGTH, seed=1)} if config.is_encoder_decoder else inputs


def head_inputs(model):
    """The trunk's inputs and the labels of the task: the loss travels too."""
    name, inputs = type(model).__name__, trunk_inputs(model.config)
    if name.endswith("EncoderModel"):
        inputs.pop("decoder_input_ids", None)
    if name.endswith("MultipleChoice"):
        inputs = {key: value[:, None].expand(-1, 3, -1).contiguous() for key, value in inputs.items()}
    labels = {
        "CausalLM": {"labels": inputs["input_ids"]},
        "MaskedLM": {"labels": inputs["input_ids"]},
        "ConditionalGeneration": {"labels": ids(2, LENGTH, seed=2)},
        "SequenceClassification": {"labels": torch.tensor([0, 1])},
        "TokenClassification": {"labels": torch.arange(2 * LENGTH).view(2, LENGTH) % 2},
        "MultipleChoice": {"labels": torch.tensor([2, 0])},
        "QuestionAnswering": {"start_positions": torch.tensor([1, 2]), "end_positions": torch.tensor([3, 4])},
    }
    return {**inputs, **labels.get(name.rpartition("For")[2], {})}


def note_outputs(model, path):
    """Leave inputs and outputs of the model and of its trunk where readers find them."""
    inputs, inside = head_inputs(model.eval()), trunk_inputs(model.config)
    with torch.no_grad():
        outputs = model(**inputs)
        if type(model).__name__ == "TfmSeq2SeqEncoderModel":  # AutoModel adds a decoder that was never saved
            trunk = {"encoder_last_hidden_state": outputs.last_hidden_state}
        else:
            trunk = {"last_hidden_state": model.base_model(**inside).last_hidden_state}
    tensors = {key: value for key, value in outputs.items() if torch.is_tensor(value)}
    parts = {"head": {"inputs": inputs, "outputs": tensors}, "trunk": {"inputs": inside, "outputs": trunk}}
    torch.save(parts, path)
    return path


def write_heads(place):
    """Class name -> (folder that its save_pretrained wrote, file of its outputs)."""
    written = {}
    for name in HEADS:
        model = make_head(name)
        folder = place / "written" / name
        model.save_pretrained(folder)
        # the writer too reads them from the file: kernels round by the alignment of weights in memory
        written[name] = folder, note_outputs(type(model).from_pretrained(folder), place / f"{name}.pt")
    return written


def write_with_trainer(place):
    """Class name of a language head -> (folders that Trainer wrote, file of the trained model's outputs)."""
    written = {}
    for name in LANGUAGE_HEADS:
        model, output = make_head(name), place / "trained" / name
        inputs = head_inputs(model)
        rows = [dict(zip(inputs, row, strict=True)) for row in zip(*inputs.values(), strict=True)]
        settings = TrainingArguments(
            output_dir=str(output),
            max_steps=1,
            per_device_train_batch_size=2,
            save_strategy="steps",
            save_steps=1,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = Trainer(model=model, args=settings, train_dataset=rows)
        trainer.train()
        trainer.save_model()
        folders = {"checkpoint-1": output / "checkpoint-1", "final": output}
        written[name] = folders, note_outputs(model, place / f"trained_{name}.pt")
    return written


USER_FILE = '''"""A user's own head."""

import torch

from hf_tfm import TfmDecoderForCausalLM


class {name}(TfmDecoderForCausalLM):
    def __init__(self, config):
        super().__init__(config)
        self.gain = torch.nn.Parameter(torch.full((1,), 2.0))
        self.post_init()

    def compute_logits(self, hidden_states):
        return super().compute_logits(hidden_states) * self.gain
'''
REGISTRATION = '\n\n{name}.register_for_auto_class("AutoModelForCausalLM")\n'
# kind -> (class name, the text of its file)
USERS = {"registered": ("RegisteredHead", USER_FILE + REGISTRATION), "unregistered": ("UnregisteredHead", USER_FILE)}


def write_as_user(place, source):
    """Kind -> (class that a user derived from the causal head, folder, file of outputs). The weights come from a
    checkpoint of ours, and with them an auto_map that names our classes."""
    home, written = place / "user", {}
    home.mkdir()
    sys.path.insert(0, str(home))
    for kind, (name, text) in USERS.items():
        (home / f"user_{kind}.py").write_text(text.format(name=name), encoding="utf-8")
        user_class = getattr(importlib.import_module(f"user_{kind}"), name)
        model = user_class.from_pretrained(source)
        model.save_pretrained(place / "written_by_user" / kind)
        written[kind] = user_class, place / "written_by_user" / kind, note_outputs(model, place / f"user_{kind}.pt")
    sys.path.remove(str(home))
    return written


# What a folder must hold


def imported_siblings(path):
    """Names of the modules that a file imports from its own folder, read off its syntax tree."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level}


def code_needed(head):
    """File names of the code that the Auto classes of the head's architecture run."""
    needed, new = set(), {reference.split(".")[0] for reference in head._auto_map.values()}
    while new:
        needed |= new
        new = set().union(*(imported_siblings(FLOOR / f"{name}.py") for name in new)) - needed
    return {f"{name}.py" for name in needed}


def auto_map_of(folder):
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))["auto_map"]


def assert_complete(folder, head):
    """The folder holds the code of the architecture, all of it and no other, and names every Auto class."""
    found, needed = {path.name for path in folder.glob("*.py")}, code_needed(head)
    assert found == needed, (
        f"{folder}: lacks {sorted(needed - found)}, does not need {sorted(found - needed)}; save_pretrained has to "
        "copy the file of every class in _auto_map, and what it imports"
    )
    altered = [name for name in sorted(needed) if (folder / name).read_bytes() != (FLOOR / name).read_bytes()]
    assert not altered, f"{folder}: {altered} are not the floor's files"
    found_map = auto_map_of(folder)
    assert found_map == head._auto_map, f"{folder}: auto_map is {found_map}, not {head._auto_map}"


def assert_nothing_stale(folder):
    """Every class that the folder names is in the folder, with what its file imports."""
    for auto_class, reference in auto_map_of(folder).items():
        path = folder / f"{reference.split('.')[0]}.py"
        assert path.exists(), f"{auto_class} is {reference}, but the folder has no {path.name}: a stale entry"
        missing = [name for name in imported_siblings(path) if not (folder / f"{name}.py").exists()]
        assert not missing, f"{path.name} needs {missing}, which the folder lacks"


# Readers


class Traveller:
    """Errands under keys, done one after the other in a process of their own."""

    def __init__(self):
        self.errands = {}

    def errand(self, *key, do, **arguments):
        self.errands[key] = {"do": do, "with": arguments}

    def open(self, *key, **arguments):
        self.errand(*key, do="open_model", **arguments)


class Reader:
    """A process that has imported the host, and the travellers that set out from it side by side."""

    def __init__(self, place, package, travellers):
        self.package, self.travellers = package, travellers
        (place / "elsewhere").mkdir(parents=True)
        spec = place / "errands.json"
        errands = [[*traveller.errands.values()] for traveller in travellers]
        spec.write_text(json.dumps({"package": package, "travellers": errands}, default=str), encoding="utf-8")
        settings = {
            "PYTHONPATH": str(REPOSITORY) if package == "importable" else "",
            "HF_HOME": str(place / "home"),
            "HF_MODULES_CACHE": str(place / "modules"),
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            "OMP_NUM_THREADS": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(READER), str(spec)],
            cwd=place / "elsewhere",
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self):
        """Errand key -> result."""
        try:
            said, complaints = self.process.communicate(timeout=READER_SECONDS)
        finally:
            self.process.kill()
        lines = [line for line in said.splitlines() if line.startswith("RESULTS ")]
        assert len(lines) == 1, f"the {self.package} reader gave no results:\n{said}\n{complaints}"
        assert "[y/N]" not in said, f"the {self.package} reader was asked a question:\n{said}"
        results = json.loads(lines[0].removeprefix("RESULTS "))
        return {
            key: result
            for traveller, found in zip(self.travellers, results, strict=True)
            for key, result in zip(traveller.errands, found, strict=True)
        }
