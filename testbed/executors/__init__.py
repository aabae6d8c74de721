"""Where jobs run: in this process, or in local worker processes."""

from testbed.executors.base import Executor, WorkerDied
from testbed.executors.processes import Processes
from testbed.executors.serial import Serial

__all__ = ["Executor", "Processes", "Serial", "WorkerDied"]
