"""Calls the greeter ten times, again and again, and says what came back whenever that is something new."""

import time

import grpc
from grpc import experimental

plain = experimental.insecure_channel_credentials()
channel = grpc.secure_channel("xds:///greeter:50051", grpc.xds_channel_credentials(plain))
hello = channel.unary_unary("/Greeter/Hello")

before = set()
while True:
    said = set()
    for _ in range(10):
        try:
            said.add(hello(b"", timeout=5).decode())
        except grpc.RpcError as error:
            said.add(f"{error.code().name}: {error.details()}")
    if said != before:
        print(*sorted(said), sep=" | ", flush=True)
    before = said
    time.sleep(0.25)
