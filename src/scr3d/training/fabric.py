"""Device, precision and determinism of a run, and the processes that share it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from subprocess import Popen
from threading import Thread
from typing import Any, Literal

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy
from lightning_fabric.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from torch.nn import Module

from scr3d.cli import START_AGAIN
from scr3d.errors import ConfigError
from scr3d.offline import refuse_offline
from scr3d.processes import Group
from scr3d.training.config import MachineOptions, TrainConfig

SECONDS_TO_SAVE = 60.0
"""For the first process, when another has been lost."""


class Connected(DDPStrategy):
    """Processes that are connected, and nothing else: sums over them are taken in `scr3d.processes`.

    Fabric's own wrapper averages the gradients of processes, which is wrong for unequal parts of a batch and for losses
    that are no plain means, and it cannot be differentiated a second time.
    """

    def setup_module(self, module: Module) -> Module:  # type: ignore[override]
        """The module as it is."""
        return module

    def _setup_distributed(self) -> None:
        """Connect the processes.

        After a restart, torchrun's store still holds the addresses of processes that have gone, and PyTorch 2.13 reads
        them; so every attempt keeps its entries apart.
        """
        if not TorchElasticEnvironment.detect():
            super()._setup_distributed()
            return
        self._set_world_ranks()
        backend = self._process_group_backend = self._get_process_group_backend()
        store, rank, size = next(iter(dist.rendezvous("env://", self.global_rank, self.world_size)))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        device = self.root_device if self.root_device.type != "cpu" else None
        own = dist.PrefixStore(f"attempt_{attempt}", store)
        dist.init_process_group(backend, store=own, rank=rank, world_size=size, timeout=self._timeout, device_id=device)

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None  # Fabric has chosen it
        self._launcher = Starter(self.cluster_environment, self.num_processes, self.num_nodes)


class Starter(_SubprocessScriptLauncher):
    """Starts the processes of this machine; when one is lost, the first has time to save before all are ended.

    Fabric's own ends all within five seconds.
    """

    def _call_children_scripts(self) -> None:
        super()._call_children_scripts()
        Thread(target=end_all_after_a_loss, args=(self.procs,), name="watch", daemon=True).start()

    def launch(self, function: Callable, *args: Any, **kwargs: Any) -> Any:
        """Start the others, and call the function here."""
        environment = self.cluster_environment
        environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not environment.creates_processes_externally:
            self._call_children_scripts()
        return function(*args, **kwargs)


def end_all_after_a_loss(started: list[Popen]) -> None:
    """Wait until a process ends with an error; if this one is still there some time later, end them all.

    Over gloo the loss is noticed at once. A GPU that waits for another one does not notice.
    """
    while not any(one.poll() for one in started):
        if all(one.poll() == 0 for one in started):
            return
        time.sleep(1)
    time.sleep(SECONDS_TO_SAVE)
    for one in started:
        one.kill()
    os._exit(START_AGAIN)


def make_fabric(config: TrainConfig, options: MachineOptions | None = None) -> Fabric:
    """Device, precision and processes of a run; without `options`, this process alone.

    Raises:
        ConfigError: the device does not exist, or the processes are others than were started.
        OfflineError: several machines are asked for, and the network is forbidden.
    """
    fabric = connect(config.device, config.threads, options, config.precision)
    if config.deterministic:
        # cuBLAS reads this when it is first used; an error names what has no deterministic form.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    return fabric


def connect(
    device: str,
    threads: int,
    options: MachineOptions | None = None,
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
) -> Fabric:
    """Start processes, or find those that have been started, and connect them.

    Args:
        device: auto, cpu, cuda or cuda:N.
        threads: CPU threads of each; 0 shares the cores.
        options: how many; without them, this process alone.
        precision: of the networks.

    Raises:
        ConfigError: the device does not exist, or the processes are others than were started.
        OfflineError: several machines are asked for, and the network is forbidden.
    """
    name, _, index = device.partition(":")
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device must be auto, cpu, cuda or cuda:N; got {device!r}")
    count = torch.cuda.device_count()
    if name == "cuda" and int(index or 0) >= count:
        raise ConfigError(f"--device {device}: this machine has {count} CUDA devices; use cpu, or auto")
    accelerator = ("cuda" if count else "cpu") if name == "auto" else name
    here, nodes = (1, 1) if options is None else processes(options)
    devices: Any = [int(index)] if index else here
    strategy: dict[str, Any] = {}
    if here * nodes > 1:
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # each process would say that it is there
        if index:
            raise ConfigError(f"--device {device} is one device, {here * nodes} processes are asked for; use cuda")
        if nodes > 1:
            refuse_offline(f"training on {nodes} machines")
        if accelerator == "cuda" and here > count:
            raise ConfigError(f"{here} processes need a CUDA device each, this machine has {count}; start {count}")
        strategy = {"strategy": Connected(), "num_nodes": nodes}
    fabric = Fabric(accelerator=accelerator, devices=devices, precision=precision, **strategy)
    fabric.launch()
    if here > 1 and not threads and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // here))
    return fabric


def processes(options: MachineOptions) -> tuple[int, int]:
    """Processes on this machine, and machines.

    torchrun and Slurm start the processes themselves and say how many there are.

    Raises:
        ConfigError: the options say something else.
    """
    found = None
    if TorchElasticEnvironment.detect():
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        found, starter = (here, int(os.environ["WORLD_SIZE"]) // here), "torchrun"
    elif SLURMEnvironment.detect():
        nodes = int(os.environ.get("SLURM_NNODES", 1))
        found, starter = (int(os.environ["SLURM_NTASKS"]) // nodes, nodes), "Slurm"
    if found is None:
        return max(1, options.devices), options.nodes
    if (options.devices, options.nodes) not in ((0, 1), found):
        raise ConfigError(
            f"{starter} has started {found[0]} processes on each of {found[1]} machines, --devices {options.devices} "
            f"--nodes {options.nodes} say otherwise; leave both out"
        )
    return found


def group_of(fabric: Fabric) -> Group:
    """The processes that Fabric has connected."""
    return Group(fabric.global_rank, fabric.world_size, fabric.device)
