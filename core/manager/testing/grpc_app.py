"""A gRPC application for tests, without a proxy: it serves, and calls by `xds:///`, on somebody's word.

`python -m core.manager.testing.grpc_app CONTROL [NAME ADDRESS:PORT]`: on the unix socket CONTROL it takes a line of
JSON (`Task`) for each answer (`Outcome`). gRPC reads its bootstrap once for each process, so this is one.
"""

import os
import socketserver
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import msgspec
from grpc import experimental

METHOD = "/tests.Echo/Say"

_ALONE = (("grpc.use_local_subchannel_pool", 1),)
"""Otherwise channels to the same place share a connection."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Calls `target` so often; while `seconds` have not passed, so often again. "" asks for nothing but an answer.

    `fresh`: each time by a connection of its own. `die`: the process ends at once instead, with exit code 1.
    """

    target: str = ""
    count: int = 1
    seconds: float = 0.0
    method: str = METHOD
    metadata: dict[str, str] = {}
    timeout: float = 10.0
    wait: bool = False
    fresh: bool = False
    die: bool = False


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How often something was answered, and how often what went wrong (`CODE: details`)."""

    answers: dict[str, int] = {}
    failures: dict[str, int] = {}


class Echo(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Answers `<name> <who called>`; after `x-answer-delay` seconds, or by the code `x-answer-status` alone."""

    def __init__(self, name: str) -> None:
        self._name = name

    def service(self, call: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        asked = {key: str(value) for key, value in context.invocation_metadata()}
        time.sleep(float(asked.get("x-answer-delay", 0)))
        if status := asked.get("x-answer-status"):
            context.abort(grpc.StatusCode[status], "as asked")
        found = [str(each, "ascii") for each in context.auth_context().get("peer_spiffe_id", ())]  # type: ignore[call-overload]
        return f"{self._name} {found[0] if found else 'nobody'}".encode()


def serve(name: str, place: str, *, xds: bool = True) -> grpc.Server:
    """With `xds`, as the Manager says; else plain."""
    server = grpc.server(ThreadPoolExecutor(8), xds=xds)
    server.add_generic_rpc_handlers((Echo(name),))
    plain = grpc.insecure_server_credentials()
    server.add_secure_port(place, grpc.xds_server_credentials(plain) if xds else plain)
    server.start()
    return server


def _credentials() -> grpc.ChannelCredentials:
    """As the Manager says; without that, plain."""
    plain = experimental.insecure_channel_credentials()  # type: ignore[no-untyped-call]
    return grpc.xds_channel_credentials(plain)


class Caller:
    """One channel for each target, for as long as the process lives."""

    def __init__(self) -> None:
        self._channels: dict[str, grpc.Channel] = {}

    def do(self, task: Task) -> Outcome:
        if task.die:
            os._exit(1)
        answers, failures = Counter[str](), Counter[str]()
        end = time.monotonic() + task.seconds
        while task.target:
            for _ in range(task.count):
                self._call(task, answers, failures)
            if time.monotonic() >= end:
                break
        return Outcome(answers=answers, failures=failures)

    def _call(self, task: Task, answers: Counter[str], failures: Counter[str]) -> None:
        channel = _opened(task.target, _ALONE) if task.fresh else self._channel(task.target)
        call = channel.unary_unary(task.method, request_serializer=None, response_deserializer=None)
        try:
            metadata = tuple(task.metadata.items())
            answers[call(b"", timeout=task.timeout, metadata=metadata, wait_for_ready=task.wait).decode()] += 1
        except grpc.RpcError as error:
            failures[f"{error.code().name}: {error.details()}"] += 1
        if task.fresh:
            channel.close()

    def _channel(self, target: str) -> grpc.Channel:
        if target not in self._channels:
            self._channels[target] = _opened(target)
        return self._channels[target]


def _opened(target: str, options: Sequence[tuple[str, int]] = ()) -> grpc.Channel:
    if target.startswith("xds:"):
        return grpc.secure_channel(target, _credentials(), options=options)
    return grpc.insecure_channel(target, options=options)


def main() -> None:
    control, *served = sys.argv[1:]
    caller = Caller()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                outcome = caller.do(msgspec.json.decode(line, type=Task))
                self.wfile.write(msgspec.json.encode(outcome) + b"\n")

    Path(control).unlink(missing_ok=True)
    with socketserver.ThreadingUnixStreamServer(control, Handler) as controlled:
        controlled.daemon_threads = True
        serving = serve(*served) if served else None
        threading.Thread(target=controlled.serve_forever, daemon=True).start()
        (serving.wait_for_termination if serving is not None else threading.Event().wait)()


if __name__ == "__main__":
    main()
