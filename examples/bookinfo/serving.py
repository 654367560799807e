"""What the four services share: an HTTP server on the address the mesh gives, and calls to the others through the mesh.

The mesh says where to listen (APP_IP, PORT) and where the way out is (http_proxy). Calls go to plain service names; the
headers that tie a trace together, and the ones rules match on, are passed on by the application (as in any mesh).
"""

import json
import os
import socketserver
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, dict[str, object]]
Headers = Mapping[str, str]

PASSED_ON = ("x-request-id", "traceparent", "tracestate", "b3", "end-user", "cookie", "user-agent")
TIMEOUT = 5.0


def fetch(service: str, path: str, headers: Headers) -> Answer:
    """GETs from another service by its name; an answer that is no answer becomes status 503 with a reason."""
    url = f"http://{os.environ.get(f'{service.upper()}_URL', f'{service}:9080')}{path}"
    request = urllib.request.Request(url, headers={k: v for k, v in headers.items() if k.lower() in PASSED_ON})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, {"error": error.read().decode(errors="replace")[:200]}
    except (OSError, ValueError) as error:
        return 503, {"error": str(error)}


def serve(answer: Callable[[str, Headers], Answer]) -> None:
    """Answers GET requests with JSON until the process is stopped."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = answer(self.path, dict(self.headers.items()))
            text = json.dumps(body, indent=1).encode() + b"\n"
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet: the sidecar keeps the access log."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            """A caller that gave up (a timeout in a rule) is no news."""
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)  # type: ignore[arg-type]

        def server_bind(self) -> None:
            """Without the name look-up of `HTTPServer`: nobody knows the names of loopback addresses."""
            socketserver.TCPServer.server_bind(self)
            self.server_name, self.server_port = address

    address = os.environ.get("APP_IP", "127.0.0.1"), int(os.environ.get("PORT", "9080"))
    with Server(address, Handler) as server:
        server.serve_forever()
