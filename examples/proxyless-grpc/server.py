"""Greets whoever calls, and says who that is. Serves as the mesh wants it."""

import os
from concurrent.futures import ThreadPoolExecutor

import grpc


def hello(request, context):
    caller = context.auth_context().get("peer_spiffe_id", [b"somebody"])[0].decode()
    return f"{os.environ['VERSION']} greets {caller}".encode()


methods = {"Hello": grpc.unary_unary_rpc_method_handler(hello)}
server = grpc.server(ThreadPoolExecutor(8), xds=True)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Greeter", methods),))
plain = grpc.insecure_server_credentials()
server.add_secure_port(f"{os.environ['APP_IP']}:{os.environ['PORT']}", grpc.xds_server_credentials(plain))
server.start()
server.wait_for_termination()
