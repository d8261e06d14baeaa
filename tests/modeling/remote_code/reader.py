"""Loads checkpoints in a separate process: does the jobs of a JSON file and prints the results as JSON.

`python reader.py jobs.json`. With `"package": "hidden"` hf_tfm cannot be imported. Each worker is a forked
process that has only imported transformers. Each result is a dictionary; that of a failed job has the one key "error",
the traceback.
"""

import json
import multiprocessing
import os
import pickle
import random
import sys
import traceback
from pathlib import Path
from typing import Any

SPEC: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))


class HidePackage:
    """An import hook that makes hf_tfm unavailable, wherever it is installed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] == "hf_tfm":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if SPEC["package"] == "hidden":
    sys.meta_path.insert(0, HidePackage())
    try:
        import hf_tfm
    except ModuleNotFoundError:
        pass
    else:
        raise AssertionError(f"hf_tfm should be hidden, but was imported from {hf_tfm.__file__}")

import torch  # noqa: E402  after the hook
import transformers  # noqa: E402
from transformers import PreTrainedModel, dynamic_module_utils  # noqa: E402, F401  seconds, once for all workers
from transformers.models.auto import modeling_auto  # noqa: E402

torch.set_num_threads(1)


def import_package() -> dict[str, str]:
    """Import hf_tfm, as a user's program would."""
    import hf_tfm

    return {"file": str(hf_tfm.__file__)}


def difference(found: torch.Tensor, wanted: torch.Tensor) -> str | None:
    """None if both are equal bit for bit, otherwise the largest difference and its index."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return f"{found.dtype}{tuple(found.shape)} instead of {wanted.dtype}{tuple(wanted.shape)}"
    if torch.equal(found, wanted):
        return None
    gap = (found.double() - wanted.double()).abs()
    where = tuple(int(i) for i in torch.unravel_index(gap.argmax(), gap.shape))
    return f"largest difference {gap.max().item():.3e} at {where}"


def differences(model: Any, expected: str, part: str) -> dict[str, str]:
    """Output name -> how it differs from the expected output of this part of the model."""
    saved = torch.load(expected, weights_only=True)[part]
    with torch.no_grad():
        outputs = model.eval()(**saved["inputs"])
    gaps = {}
    for name, wanted in saved["outputs"].items():
        found = outputs.get(name)
        gap = "missing" if found is None else difference(found, wanted)
        if gap is not None:
            gaps[name] = gap
    return gaps


def describe(loaded: Any) -> dict[str, str]:
    return {"class": type(loaded).__name__, "module": type(loaded).__module__}


def load_config(folder: str) -> dict[str, Any]:
    """Load with AutoConfig."""
    return describe(transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True))


def load_model(
    folder: str,
    auto_class: str,
    expected: str | None = None,
    part: str = "head",
    from_working_directory: bool = False,
    save_to: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Load with an Auto class, if `from_working_directory` as "." from inside the folder, with the `options` of
    from_pretrained; compare its outputs with those of the file `expected`; save it to `save_to`."""
    start = os.getcwd()
    path = "." if from_working_directory else folder
    if from_working_directory:
        os.chdir(folder)
    try:
        options = {"trust_remote_code": True, **options}
        model = getattr(transformers, auto_class).from_pretrained(path, **options)
    finally:
        os.chdir(start)
    result: dict[str, Any] = describe(model)
    result["differences"] = differences(model, expected, part) if expected else {}
    result["tables"] = [
        name
        for name, table in vars(modeling_auto).items()
        if name.endswith("_MAPPING_NAMES") and has_name(table, model)
    ]
    if save_to:
        model.save_pretrained(save_to)
    result["code"] = getattr(model, "code", None)
    result["config"] = type(pickle.loads(pickle.dumps(model.config))).__name__
    return result


def run_lines(code: str, expected: str, part: str = "head", offline: bool = False) -> dict[str, Any]:
    """Run Python that loads a model under the name `model`, without a connection if `offline`, and compare its
    outputs."""
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = offline
    names: dict[str, Any] = {}
    exec(code, names)
    return describe(names["model"]) | {"differences": differences(names["model"], expected, part)}


def interrupted_load(folder: str, auto_class: str) -> dict[str, Any]:
    """Load in a process that the server kills: it finds the process in the token."""
    process = os.fork()
    if process == 0:
        try:
            getattr(transformers, auto_class).from_pretrained(
                folder, trust_remote_code=True, token=f"pid {os.getpid()}"
            )
        finally:
            os._exit(1)
    return {"signal": os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])}


def has_name(table: Any, model: Any) -> bool:
    return isinstance(table, dict) and type(model).__name__ in table.values()


def smoothed_step(folder: str, auto_class: str, batch: str, output_dir: str) -> dict[str, float]:
    """The loss of one training step of Trainer with label smoothing."""
    rows = torch.load(batch, weights_only=True)
    model = getattr(transformers, auto_class).from_pretrained(folder, trust_remote_code=True)
    settings = transformers.TrainingArguments(
        output_dir=output_dir,
        max_steps=1,
        per_device_train_batch_size=len(rows["input_ids"]),
        label_smoothing_factor=0.1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    examples = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
    trainer = transformers.Trainer(model=model, args=settings, train_dataset=examples)
    return {"loss": trainer.train().training_loss}


def save_sharded(folder: str, class_name: str, save_to: str) -> dict[str, str]:
    """Shard a model of the package with FSDP2 over this one process, and save it."""
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    import hf_tfm

    model = getattr(hf_tfm, class_name).from_pretrained(folder)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        weights = {name: weight.full_tensor() for name, weight in model.state_dict().items()}
        sharded = describe(model)
        model.save_pretrained(save_to, state_dict=weights)
    finally:
        distributed.destroy_process_group()
    return sharded


def wait_for_workers(seconds: float = 120.0) -> dict[str, int]:
    """Wait until every worker calls this function."""
    return {"order": barrier.wait(seconds)}


FUNCTIONS = {
    f.__name__: f
    for f in (
        import_package, interrupted_load, load_config, load_model, run_lines, save_sharded, smoothed_step,
        wait_for_workers,
    )
}  # fmt: skip


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    try:
        return FUNCTIONS[job["function"]](**job["arguments"])
    except Exception:
        return {"error": traceback.format_exc()}


def run_jobs(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [run_job(job) for job in jobs]


def prepare_worker(shared: Any) -> None:
    global barrier
    barrier = shared
    # transformers copies files in the order of a set, which differs between processes, but not between forked ones
    names_imported, order = dynamic_module_utils.get_relative_imports, random.Random(os.getpid())
    dynamic_module_utils.get_relative_imports = lambda file: sorted(names_imported(file), key=lambda _: order.random())


def main() -> None:
    workers = SPEC["workers"]
    # forked workers need not import transformers again; forking is safe because no thread was started
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with context.Pool(len(workers), prepare_worker, (context.Barrier(len(workers)),)) as pool:
        print("RESULTS " + json.dumps(pool.map(run_jobs, workers, chunksize=1)))


if __name__ == "__main__":
    main()
