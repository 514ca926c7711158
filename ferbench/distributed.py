"""The few collective operations that the rules, losses and metrics need; plain identities in a single process.

Batch rows are laid out so that rank r holds rows [r*b, (r+1)*b) of the global batch: concatenating over ranks restores
the order of a single process, which is what makes results independent of the number of processes.
"""

from __future__ import annotations

import logging
import os
import sys

import torch
import torch.distributed as dist
from torch import Tensor

from ferbench.core.process import ignore_ending_signals


def world_size() -> int:
    """Number of training processes (1 when not distributed)."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process' place among them (0 when not distributed)."""
    return dist.get_rank() if world_size() > 1 else 0


@torch.no_grad()
def gather_rows(local: Tensor) -> Tensor:
    """Concatenate equally sized local batches over ranks: [b, ...] -> [world * b, ...], without gradient."""
    if world_size() == 1:
        return local.detach()
    parts = [torch.empty_like(local) for _ in range(world_size())]
    dist.all_gather(parts, local.detach().contiguous())
    return torch.cat(parts)


class _GatherRows(torch.autograd.Function):
    """`gather_rows` whose backward sums over ranks the gradient that reaches each row."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, local: Tensor) -> Tensor:
        return gather_rows(local)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return local_rows(grad)


def gather_rows_with_grad(local: Tensor) -> Tensor:
    """As `gather_rows`, with gradient.

    Every rank computes the same global loss from the gathered rows; DDP then averages parameter gradients over ranks,
    which cancels the factor ``world`` that the summed backward brings in.
    """
    return local if world_size() == 1 else _GatherRows.apply(local)


def local_rows(gathered: Tensor) -> Tensor:
    """This rank's rows of a gathered batch: [world * b, ...] -> [b, ...]."""
    size = gathered.shape[0] // world_size()
    return gathered[rank() * size : (rank() + 1) * size]


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum in place over ranks and return it."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def device() -> torch.device:
    """Where this process computes: its GPU, or the CPU where there is none, or where the processes talk by gloo."""
    on_cpu = not torch.cuda.is_available() or (world_size() > 1 and dist.get_backend() == "gloo")
    return torch.device("cpu") if on_cpu else torch.device("cuda", torch.cuda.current_device())


def store() -> dist.Store:
    """The key-value store of the process group, by which processes exchange messages without waiting for each other."""
    return dist.distributed_c10d._get_default_store()


def barrier() -> None:
    """Wait for the other processes."""
    if world_size() > 1:
        dist.barrier()


def leave(status: int = 0) -> None:
    """End this process well, if it is one of several; else return. For the end of a program.

    The interpreter is not taken down step by step: gloo's threads, which live on with a DDP module, touch Python objects
    after a collective operation, and one that does so meanwhile aborts the process.

    Args:
        status: exit status.
    """
    if world_size() == 1:
        return
    ignore_ending_signals()  # a launcher sends them when the first of its processes has ended
    barrier()  # the first to go would break the connections of the others
    dist.destroy_process_group()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
