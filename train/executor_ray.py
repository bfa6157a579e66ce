"""Run tasks on every machine of a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from bayeslaw.errors import BadInput
from bayeslaw.lab.train.executor_local import RETRIES, Outcome, Outcomes, Reply, attempt

ANSWER_SECONDS = 10.0
"""Time for a cluster to accept a connection, and again for its first words."""

GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What opens an HTTP/2 connection, as gRPC and so Ray speak it: preface, empty settings (RFC 9113, 3.4)."""

SETTINGS = 4
"""Kind of frame with which every HTTP/2 server answers first; the fourth byte of a frame."""


def run(work: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], address: str | None = None) -> Outcomes:
    """As ``train.executor_local.run``, one core a task on whatever cores the cluster has, now or later.

    Every node needs this project installed, and the sweep's folder and the corpus under the same path, on a
    shared file system. A task whose worker or node dies, or that raises anything but
    BadInput, is tried again, ``RETRIES`` times at most.

    Args:
        work: importable by name.
        tasks: arguments of the calls.
        address: address of a cluster; None for $RAY_ADDRESS, or for a new cluster on this machine.

    Raises:
        BadInput: Ray is not installed, or no cluster answers.
    """
    try:
        import ray
    except ImportError:
        raise BadInput(
            "executor ray: Ray is not installed; expected the package ray; pip install 'ray[default]', "
            "or leave --executor at local"
        ) from None
    _check_answer(address or os.environ.get("RAY_ADDRESS", ""))
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _no_cluster(address, error) from None
    remote = ray.remote(num_cpus=1, max_retries=0)(_call)  # we count the tries
    tries = [1] * len(tasks)
    running = {remote.remote(work, task, os.getcwd()): i for i, task in enumerate(tasks)}
    try:
        while running:
            (ref,), _ = ray.wait(list(running), num_returns=1)
            i = running.pop(ref)
            kind, value = _result(ray, ref)
            if kind == "failed" and tries[i] <= RETRIES:
                tries[i] += 1
                running[remote.remote(work, tasks[i], os.getcwd())] = i
            else:
                yield Outcome(i, kind, value)
    finally:
        for ref in running:
            with suppress(Exception):  # ended tasks, and tasks of a cluster that is gone, need no cancelling
                ray.cancel(ref, force=True)
        ray.shutdown()


def _check_answer(address: str) -> None:
    """Refuse an address where nothing listens, or something else than Ray, which itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):  # a word, such as auto, or what Ray refuses at once
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "0":
                connection.sendall(GREETING)
                answer = connection.recv(9)
                if len(answer) < 4 or answer[3] != SETTINGS:
                    raise ConnectionError("what listens there is not Ray")
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from None


def _no_cluster(address: str | None, error: Exception) -> BadInput:
    return BadInput(
        f"executor ray: no cluster at {address} ({str(error).splitlines()[0]}); expected the "
        "address of a running head node; start one with: ray start --head"
    )


def _call(work: Callable[..., Any], task: tuple[Any, ...], directory: str) -> Reply:
    """Run one task on its node, with relative paths resolved as on the calling machine."""
    with suppress(OSError):
        os.chdir(directory)
    return attempt(work, task)


def _result(ray: Any, ref: Any) -> Reply:
    try:
        return ray.get(ref)
    except ray.exceptions.RayError as error:  # its worker or node died
        return "failed", f"its worker died ({' '.join(str(error).split())[:300]})"
