"""Checkpoints with their own code: writes them, and checks which files they hold."""

import ast
import importlib
import json
import shutil
import sys
from pathlib import Path

import torch
from transformers import Trainer, TrainingArguments

import hf_tfm
from hf_tfm.modeling import modeling_tfm
from hf_tfm.modeling.recipes import recipe_fields
from tests.grid import LANGUAGE_MODELS, SIZES, ids, make

FLOOR = Path(modeling_tfm.__file__).parent
REPOSITORY = FLOOR.parents[1]
RECIPE = {"encoder": "bert", "decoder": "llama", "seq2seq": "t5"}
LENGTH = 7  # tokens in a row

# class name -> (architecture, class) of the heads that AutoModel loads, in place of the base model, only from their own
# checkpoints
EMBEDDING_HEADS = {
    "TfmEncoderForTextEmbedding": ("encoder", hf_tfm.TfmEncoderForTextEmbedding),
    "TfmDecoderForTextEmbedding": ("decoder", hf_tfm.TfmDecoderForTextEmbedding),
}
# the same of every model that an Auto class can load
HEADS = EMBEDDING_HEADS | {
    reference.split(".")[1]: (architecture, getattr(hf_tfm, reference.split(".")[1]))
    for architecture, (_, some_head) in LANGUAGE_MODELS.items()
    for auto_class, reference in some_head._auto_map.items()
    if auto_class != "AutoConfig"
}
# one model of each kind of head
KINDS = [*{name.rpartition("For")[2]: name for name in HEADS}.values()]
LANGUAGE_HEADS = [head.__name__ for _, head in LANGUAGE_MODELS.values()]
CAUSAL = LANGUAGE_MODELS["decoder"][1]


def auto_classes_of(name):
    """The Auto classes that load the model `name` as itself."""
    return [auto for auto, reference in HEADS[name][1]._auto_map.items() if reference.split(".")[1] == name]


# (class name, Auto class) pairs that can be loaded
LOADS = [(name, auto_class) for name in HEADS for auto_class in dict.fromkeys(["AutoModel", *auto_classes_of(name)])]
# for each model, AutoModel and one Auto class that loads it as itself
MAIN_LOADS = [(name, auto) for name, auto in LOADS if auto in ("AutoModel", auto_classes_of(name)[-1])]
LANGUAGE_MODEL_LOADS = [(name, auto_class) for name, auto_class in MAIN_LOADS if name in LANGUAGE_HEADS]


def loaded_class(name, auto_class):
    """Name of the class that `auto_class` loads from a checkpoint of the model `name`: itself or the base model."""
    return HEADS[name][1]._auto_map[auto_class].split(".")[1]


def loaded_part(name, auto_class):
    """Which of the saved outputs belong to the loaded model."""
    return "head" if loaded_class(name, auto_class) == name else "base_model"


# Writing checkpoints


def make_head(name):
    architecture, head = HEADS[name]
    config_class = LANGUAGE_MODELS[architecture][0]
    return make(architecture, head, **recipe_fields(RECIPE[architecture], config_class.model_type, SIZES))


def base_model_inputs(config):
    """Two rows that end with an end-of-sequence token; the second one is padded."""
    tokens = ids(2, LENGTH)
    mask = torch.ones_like(tokens)
    mask[1, 5:] = 0
    tokens[0, -1] = tokens[1, 4] = config.eos_token_id
    tokens[1, 5:] = config.pad_token_id
    inputs = {"input_ids": tokens, "attention_mask": mask}
    return {**inputs, "decoder_input_ids": ids(2, LENGTH, seed=1)} if config.is_encoder_decoder else inputs


def head_inputs(model):
    """The base model's inputs and the labels of the task, so that losses are compared too."""
    name, inputs = type(model).__name__, base_model_inputs(model.config)
    # heads that need no target read the source
    if name.endswith(("EncoderModel", "SequenceClassification", "QuestionAnswering")):
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


def save_expected_outputs(model, path):
    """Save inputs and outputs of the model and of its base model for the readers."""
    inputs, base_inputs = head_inputs(model.eval()), base_model_inputs(model.config)
    with torch.no_grad():
        outputs = model(**inputs)
        if type(model).__name__ == "TfmSeq2SeqEncoderModel":  # AutoModel adds a decoder that was never saved
            base_outputs = {"encoder_last_hidden_state": outputs.last_hidden_state}
        else:
            base_outputs = {"last_hidden_state": model.base_model(**base_inputs).last_hidden_state}
    tensors = {key: value for key, value in outputs.items() if torch.is_tensor(value)}
    expected = {
        "head": {"inputs": inputs, "outputs": tensors},
        "base_model": {"inputs": base_inputs, "outputs": base_outputs},
    }
    torch.save(expected, path)
    return path


def again(root, name):
    """Where the first readers save a model again. transformers imports the same code from folders of one name once."""
    return root / "again" / name / "checkpoint"


def write_heads(root, names=tuple(HEADS)):
    """Class name -> (folder written by save_pretrained, file of expected outputs)."""
    written = {}
    for name in names:
        model = make_head(name)
        folder = root / "written" / name / "checkpoint"
        model.save_pretrained(folder)
        # load the weights here too: rounding depends on their alignment in memory
        written[name] = folder, save_expected_outputs(type(model).from_pretrained(folder), root / f"{name}.pt")
    return written


def write_with_trainer(root):
    """Class name of a language model -> (folders written by Trainer, file of the trained model's outputs)."""
    written = {}
    for name in LANGUAGE_HEADS:
        model, output = make_head(name), root / "trained" / name
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
        written[name] = folders, save_expected_outputs(model, root / f"trained_{name}.pt")
    return written


USER_FILE = '''"""A user's own head."""

import torch
from transformers import initialization as init

from hf_tfm import TfmDecoderForCausalLM


class {name}(TfmDecoderForCausalLM):
    def __init__(self, config):
        super().__init__(config)
        self.gain = torch.nn.Parameter(torch.empty(1))
        self.post_init()

    def reset_parameters(self):
        init.constant_(self.gain, 2.0)

    def compute_logits(self, hidden_states):
        return super().compute_logits(hidden_states) * self.gain
'''
REGISTRATION = '\n\n{name}.register_for_auto_class("AutoModelForCausalLM")\n'
# kind -> (class name, source of its file)
USER_HEADS = {
    "registered": ("RegisteredHead", USER_FILE + REGISTRATION),
    "unregistered": ("UnregisteredHead", USER_FILE),
}


def write_user_heads(root, source):
    """Kind -> (class that a user derived from the causal head, folder, file of expected outputs). The weights come from
    the checkpoint `source` of ours, whose auto_map names our classes."""
    user_code, written = root / "user", {}
    user_code.mkdir()
    sys.path.insert(0, str(user_code))
    for kind, (name, text) in USER_HEADS.items():
        (user_code / f"user_{kind}.py").write_text(text.format(name=name), encoding="utf-8")
        user_class = getattr(importlib.import_module(f"user_{kind}"), name)
        model = user_class.from_pretrained(source)
        model.save_pretrained(root / "written_by_user" / kind)
        written[kind] = (
            user_class,
            root / "written_by_user" / kind,
            save_expected_outputs(model, root / f"user_{kind}.pt"),
        )
    sys.path.remove(str(user_code))
    return written


def write_own_file(root, ours, user_folder):
    """A checkpoint of ours with a user's head beside its code, from whose files it imports."""
    folder = root / "own_file"
    shutil.copytree(user_folder, folder)
    for file in ours.glob("*.py"):
        shutil.copy(file, folder)
    file = folder / "user_registered.py"
    file.write_text(file.read_text(encoding="utf-8").replace("from hf_tfm import", "from .modeling_tfm_decoder import"))
    return folder


def write_revisions(root, folder):
    """Folders of two revisions of the checkpoint of a user's head; `code` of the class tells them apart."""
    for revision in ("first", "second"):
        shutil.copytree(folder, root / revision)
        (file,) = (root / revision).glob("user_*.py")
        text = file.read_text(encoding="utf-8")
        file.write_text(
            text.replace("    def __init__", f'    code = "{revision}"\n\n    def __init__', 1), encoding="utf-8"
        )
    return root / "first", root / "second"


# Files of a checkpoint


def imported_siblings(path):
    """Names of the modules that a file imports from its own folder."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level}


def code_needed(head):
    """Names of the files that the Auto classes of the head's architecture need."""
    needed, new = set(), {reference.split(".")[0] for reference in head._auto_map.values()}
    while new:
        needed |= new
        new = set().union(*(imported_siblings(FLOOR / f"{name}.py") for name in new)) - needed
    return {f"{name}.py" for name in needed}


def auto_map_of(folder):
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))["auto_map"]


def assert_complete(folder, head):
    """The folder holds exactly the code of the architecture, and its auto_map names every Auto class."""
    found, needed = {path.name for path in folder.glob("*.py")}, code_needed(head)
    assert found == needed, (
        f"{folder}: missing {sorted(needed - found)}, not needed {sorted(found - needed)}; save_pretrained has to "
        "copy the file of every class in _auto_map, and the files that it imports"
    )
    altered = [name for name in sorted(needed) if (folder / name).read_bytes() != (FLOOR / name).read_bytes()]
    assert not altered, f"{folder}: {altered} differ from the files in hf_tfm/modeling"
    found_map = auto_map_of(folder)
    assert found_map == head._auto_map, f"{folder}: auto_map is {found_map}, not {head._auto_map}"


def assert_nothing_stale(folder):
    """The folder holds the file of every class in its auto_map, and the files that it imports."""
    for auto_class, reference in auto_map_of(folder).items():
        path = folder / f"{reference.split('.')[0]}.py"
        assert path.exists(), f"{auto_class} is {reference}, but the folder has no {path.name}: the entry is stale"
        missing = [name for name in imported_siblings(path) if not (folder / f"{name}.py").exists()]
        assert not missing, f"{path.name} needs {missing}, which the folder lacks"
