"""Starts the processes of the distributed mixins, in gloo groups on the CPU."""

import os
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _get_distributed_device_type() -> str:
    return "cpu"


def _get_distributed_backend() -> str:
    return "gloo"


def _get_rank_device(rank: int) -> torch.device:
    return torch.device("cpu")


def _set_rank_device(rank: int) -> None:
    torch.set_num_threads(1)  # ranks share the cores


def _start_rank_processes(function: Callable, args: tuple, nprocs: int) -> None:
    """Run function(rank, *args) in `nprocs` fresh processes; raises the first error of any."""
    mp.start_processes(function, args=args, nprocs=nprocs, start_method="spawn")


def _run_in_group(rank: int, function: Callable, args: tuple, world_size: int, host: str, port: int) -> None:
    os.environ.update(
        WORLD_SIZE=str(world_size), RANK=str(rank), LOCAL_RANK=str(rank), MASTER_ADDR=host, MASTER_PORT=str(port)
    )
    _set_rank_device(rank)
    store = dist.TCPStore(host, port, world_size=None, is_master=False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
    try:
        function(rank, *args)
        dist.barrier()
    finally:
        dist.destroy_process_group()


def run_distributed(world_size: int) -> Callable[[Callable], Callable]:
    """Decorator: the function runs as function(rank, *args) in `world_size` processes of one group."""

    def distribute(function: Callable) -> Callable:
        def run(*args: Any) -> None:
            # the master holds the port until all ranks are up, so that no other process can take it
            store = dist.TCPStore("localhost", 0, world_size=None, is_master=True, wait_for_workers=False)
            _start_rank_processes(_run_in_group, (function, args, world_size, store.host, store.port), world_size)

        return run

    return distribute
