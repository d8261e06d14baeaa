"""Runs whose files were damaged after they were killed."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from tests.training.killed_runs import kill_at

from .commands import Command, one_line, write_data


@dataclass
class Killed:
    """A command, and the names of the files that it left when it was killed after step 5: `files` of its last
    checkpoint, `others` beside its checkpoints."""

    command: Command
    files: list[str]
    others: list[str]


def delete(path: Path, random: Random) -> None:
    path.unlink()


def cut(path: Path, random: Random) -> None:
    os.truncate(path, random.randrange(1, max(path.stat().st_size, 2)))


def empty(path: Path, random: Random) -> None:
    os.truncate(path, 0)


def flip(path: Path, random: Random) -> None:
    content = bytearray(path.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)


Damage = Callable[[Path, Random], None]
# what happens to a file -> the function that does it
DAMAGES: dict[str, Damage] = {"deleted": delete, "cut short": cut, "emptied": empty, "one bit flipped": flip}


def prepare(folder: Path) -> Killed:
    write_data(folder)
    command = Command(folder, {"ema_decay": 0.9}).measure()
    done = command.run("killed", partial(kill_at, 5))
    if done.code != -9:
        raise RuntimeError(f"ends with {done.code} instead of being killed:\n{done.stderr}")
    paths = [path for path in (folder / "killed/checkpoint-4").iterdir() if path.stat().st_size]
    # code last: there are many files of it, and no run reads them
    files = sorted(path.name for path in paths if path.suffix != ".py")
    code = sorted(path.name for path in paths if path.suffix == ".py")
    others = sorted(path.name for path in (folder / "killed").iterdir() if path.is_file() and path.stat().st_size)
    return Killed(command, files + code, others)


def damage_checkpoint(damage: str, killed: Killed, random: Random, output: str) -> str | None:
    """The run resumes from the checkpoint before, to the same end. Each trial damages the next file."""
    name = killed.files[int(output.rsplit("-", 1)[1]) % len(killed.files)]
    damaged_run(killed, Path("checkpoint-4", name), DAMAGES[damage], random, output)
    return at(f"{name} {damage}", killed.command.go_on(output))


def damage_other_file(killed: Killed, random: Random, output: str) -> str | None:
    """The run ends as if nothing had happened, or is refused in one sentence. Each trial damages the next file."""
    number = int(output.rsplit("-", 1)[1])
    damage, name = list(DAMAGES)[number % len(DAMAGES)], killed.others[number // len(DAMAGES) % len(killed.others)]
    damaged_run(killed, Path(name), DAMAGES[damage], random, output)
    done = killed.command.run(output)
    if one_line(done):
        return None
    lost = f"ends with {done.code}: {done.stderr[-2000:]}" if done.code else killed.command.difference(output)
    return at(f"{name} {damage}", lost)


def damaged_run(killed: Killed, path: Path, damage: Damage, random: Random, output: str) -> None:
    """Copy the killed run to `output`, and damage a file of it."""
    shutil.copytree(killed.command.folder / "killed", killed.command.folder / output)
    damage(killed.command.folder / output / path, random)


def at(place: str, lost: str | None) -> str | None:
    return lost and f"{place}: {lost}"
