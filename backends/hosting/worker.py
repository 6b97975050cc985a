"""The process that hosts one backend: answers the parent's requests, one at a time, and does nothing in between.

Run as a script by the backend's own interpreter, with the number of an inherited socket as its only argument, or in the
ways of ``hosting.replicas``. A request is one JSON object; a reply is one JSON object followed by as many ``.npy``
images as its ``arrays`` says. Where it says ``more``, another reply to the same request follows: of training, the
parent learns when it begins and when it is done, and nothing else goes over the channel in between.
Nothing but the standard library, NumPy and safetensors is imported before the backend's own file.
"""

from __future__ import annotations

import importlib.util
import inspect
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1]

if "backends" not in sys.modules:
    # Only this one package: the parent's own site-packages must not leak into the backend's environment.
    _spec = importlib.util.spec_from_file_location(
        "backends", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    sys.modules["backends"] = importlib.util.module_from_spec(_spec)  # type: ignore[arg-type]

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from backends import contract  # noqa: E402
from backends.hosting import forking, replicas  # noqa: E402

Reply = tuple[dict[str, Any], list[NDArray[Any]]]

MORE: Reply = {"more": True}, []
"""A reply after which another one to the same request comes."""


class Worker:
    """One backend, the data sets that were put on its device, and the order of its batches."""

    def __init__(self) -> None:
        """Start with nothing loaded."""
        self.backend: contract.Backend
        self.data: dict[str, list[Any]] = {}
        self.batches: NDArray[np.int64]
        self.last_batches: NDArray[np.int64]
        self.rates: NDArray[np.float32] | None = None
        self.last_rates: NDArray[np.float32]
        self.holding: contract.Parameters

    def import_(self, file: str) -> Reply:
        """Import the backend's file, and with it the framework; tell how many threads there are now."""
        self.backend = load_backend(Path(file))
        return {"threads": forking.threads()}, []

    def load(self, job: dict[str, Any], parameters: str) -> Reply:
        """Build what the job says, from exactly the parameters in a safetensors file."""
        from safetensors.numpy import load_file

        self.backend.load(contract.job_from_json(job, load_file(parameters)))
        return {}, []

    def describe(self) -> Reply:
        """Report versions, effective settings and where the process may run."""
        return {"settings": self.backend.describe(), "affinity": replicas.affinity()}, []

    def put(self, name: str, features: str, labels: str, chunk: int) -> Reply:
        """Put a data set on the device in pieces of ``chunk`` samples."""
        arrays = [np.load(path, mmap_mode="r", allow_pickle=False) for path in (features, labels)]
        pieces = range(0, len(arrays[0]), chunk)
        self.data[name] = [self.backend.put(*(array[i : i + chunk] for array in arrays)) for i in pieces]
        return {}, []

    def order(self, batches: str, last_batches: str, rates: str = "", last_rates: str = "") -> Reply:
        """Map the order of the batches: full ones [steps, batch size], and the short last one of each epoch.

        With a schedule, each of them has its learning rate.
        """
        self.batches = np.load(batches, mmap_mode="r", allow_pickle=False)
        self.last_batches = np.load(last_batches, mmap_mode="r", allow_pickle=False)
        if rates:
            self.rates, self.last_rates = (np.load(file, allow_pickle=False) for file in (rates, last_rates))
        return {}, []

    def train(self, start: int, steps: int, windows: Sequence[int] = (1,)) -> Iterator[Reply]:
        """Train full batches from row ``start`` of the order, a ring: windows of so many calls of ``steps`` each.

        Replies when the first window begins, at the end of each, when all of its work is done, and with the losses.
        """
        rows = np.arange(start, start + steps * sum(windows)) % len(self.batches)
        whole: list[NDArray[Any]] = [self.batches[rows]]
        if self.rates is not None:
            whole.append(self.rates[rows])
        calls = zip(*(np.split(array, sum(windows)) for array in whole), strict=True)
        losses = []
        yield MORE
        for number in windows:
            handles = [self.backend.train(self.data["train"][0], *call) for call in islice(calls, number)]
            losses += [self._synchronized(handle) for handle in handles]
            yield MORE
        joined = np.concatenate(losses)
        # Before the reply: to free them takes long where a window has very many calls, and looked like work left over.
        del calls, handles, losses
        yield {}, [joined]

    def train_last(self, epoch: int) -> Iterator[Reply]:
        """Train the short last batch of an epoch, a window of one step, with replies as for others."""
        call: list[NDArray[Any]] = [np.array(self.last_batches[epoch : epoch + 1])]
        if self.rates is not None:
            call.append(self.last_rates[epoch : epoch + 1])
        yield MORE
        losses = self._synchronized(self.backend.train(self.data["train"][0], *call))
        yield MORE
        yield {}, [losses]

    def _synchronized(self, handle: Any) -> NDArray[np.float32]:
        """The losses as an array of NumPy: of a framework's own array, the work could be waited for after the clock."""
        return np.asarray(self.backend.synchronize(handle))

    def predict(self, name: str) -> Reply:
        """Predict a whole data set, piece by piece."""
        return {}, [np.concatenate([self.backend.predict(piece) for piece in self.data[name]])]

    def parameters(self, hold: bool = False) -> Reply:
        """Send the parameters in canonical layout; ``hold`` keeps what the backend returned, for ``held``."""
        parameters = self.backend.parameters()
        if hold:
            self.holding = parameters
        return {"names": list(parameters)}, list(parameters.values())

    def moments(self) -> Reply:
        """Send Adam's moments: the first of every parameter, then the second."""
        first, second = self.backend.moments()
        return {"names": list(first)}, [*first.values(), *(second[name] for name in first)]

    def held(self) -> Reply:
        """Send once more what was held: if it has changed since, it shares memory with the model."""
        return {"names": list(self.holding)}, list(self.holding.values())

    def memory(self) -> Reply:
        """Report the largest resident size of this process so far, in bytes."""
        return {"peak": peak_memory()}, []


def load_backend(file: Path) -> contract.Backend:
    """Import a backend's file under a name that cannot collide with the framework's and make its one backend.

    Raises TypeError if the file does not define exactly one subclass of Backend, or one with methods missing.
    """
    spec = importlib.util.spec_from_file_location(f"lockstep_backend_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise TypeError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, contract.Backend) and value.__module__ == spec.name
    ]
    if len(found) != 1:
        raise TypeError(f"{file.name} defines {len(found)} subclasses of Backend; it needs exactly one")
    return found[0]()


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes.

    Linux's ``ru_maxrss`` is inherited from the parent across ``exec``, so the kernel's own high-water mark is read.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def serve(channel: Connection) -> None:
    """Answer requests until the parent closes the channel or says goodbye."""
    worker = Worker()
    channel.send_bytes(json.dumps({"hello": os.getpid()}).encode())
    while True:
        try:
            request = json.loads(channel.recv_bytes())
        except EOFError:
            return
        if request["do"] == "goodbye":
            return
        if request["do"] == "fork":
            channel = _after_fork(channel, request["arguments"])
            continue
        for answer, arrays in _replies(worker, request):
            channel.send_bytes(json.dumps({**answer, "arrays": len(arrays)}).encode())
            for array in arrays:
                channel.send_bytes(_npy(array))


def _after_fork(channel: Connection, arguments: dict[str, Any]) -> Connection:
    """Fork, and tell the parent; return the channel that this process, which may be the copy now, goes on with."""
    answer: dict[str, Any]
    try:
        made: int | Connection = forking.fork(channel, **arguments)
    except OSError as error:
        made, answer = channel, {"failed": f"cannot be forked: {error.strerror or error}"}
    else:
        answer = {"pid": made} if isinstance(made, int) else {"hello": os.getpid()}
    own = made if isinstance(made, Connection) else channel
    own.send_bytes(json.dumps({**answer, "arrays": 0}).encode())
    return own


def _replies(worker: Worker, request: dict[str, Any]) -> Iterator[Reply]:
    method: Callable[..., Reply | Iterator[Reply]] = getattr(
        worker, {"import": "import_"}.get(request["do"], request["do"])
    )
    try:
        replies = method(**request["arguments"])
        yield from [replies] if isinstance(replies, tuple) else replies
    except contract.Unavailable as error:
        yield {"unavailable": str(error)}, []
    except Exception as error:
        traceback.print_exc()
        reason = (str(error).strip().splitlines() or [""])[0]
        yield {"failed": f"{type(error).__name__}: {reason}"[:500]}, []


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    # In C order, whatever a framework likes: nobody who gets it has to look.
    np.save(buffer, np.asarray(array, order="C"), allow_pickle=False)
    return buffer.getvalue()


def main(where: str, *how: str) -> None:
    """Serve the parent at an inherited socket, alone or for replicas; or be one of these, or their coordinator."""
    replicas.die_with_parent()
    if where != replicas.DOOR:
        channel = Connection(int(where))
        if how:
            number, coordinator, backend, *launcher = how
            replicas.relay(channel, __file__, int(number), coordinator, backend, launcher)
        else:
            serve(channel)
        return
    coordinator, backend = how
    name, _, value = coordinator.partition("=")
    if name and os.environ.get(name) == value:
        load_backend(Path(backend)).coordinate()
    else:
        serve(replicas.join(where))


if __name__ == "__main__":
    main(*sys.argv[1:])
    # A framework's own clean-up can take seconds, and nothing depends on it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
