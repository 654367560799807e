"""The four services of Bookinfo: `python3 services.py NAME`. Plain Python; imports nothing but the standard library.

The mesh says where to listen (APP_IP, PORT) and where the way out is (http_proxy). Calls go to plain service names; the
headers that tie a trace together, and the ones rules match on, are passed on by the application (as in any mesh).
"""

import json
import os
import re
import socketserver
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Body = dict[str, object]
Answer = tuple[int, Body]
Headers = Mapping[str, str]

PASSED_ON = ("x-request-id", "traceparent", "tracestate", "b3", "end-user", "cookie", "user-agent")
TIMEOUT = 5.0
BOOK = "/0"
STARS = os.environ.get("STARS", "none")
TEXTS = {"Reviewer1": "An extremely entertaining play.", "Reviewer2": "Absolutely fun and entertaining."}


# -- the services ------------------------------------------------------------------------------------------------------


def productpage(path: str, headers: Headers) -> Answer:
    """The page: details and reviews of one book, each asked of its service. A part that fails is said to be missing."""
    parts = {name: fetch(name, f"/{name}{BOOK}", headers) for name in ("details", "reviews")}
    page: Body = {"title": "The Comedy of Errors"}
    for name, (status, body) in parts.items():
        page[name] = body if status == 200 else missing(name, status, body)
    return 200, page


def missing(name: str, status: int, body: Body) -> Body:
    return {"error": f"Sorry, {name} are unavailable", "status": status, "reason": body.get("error", "")}


def details(path: str, headers: Headers) -> Answer:
    """Facts about a book. Calls nobody."""
    book: Body = {"id": path.rsplit("/", 1)[-1], "author": "William Shakespeare", "year": 1595}
    return 200, book | {"type": "paperback", "pages": 200, "language": "English"}


def reviews(path: str, headers: Headers) -> Answer:
    """What readers say. STARS=none calls nobody (v1); black (v2) and red (v3) add stars from ratings."""
    found = [{"reviewer": reviewer, "text": text} | rating for reviewer, text, rating in rated(path, headers)]
    return 200, {"id": path.rsplit("/", 1)[-1], "stars": STARS, "reviews": found}


def rated(path: str, headers: Headers) -> list[tuple[str, str, Body]]:
    if STARS == "none":
        return [(reviewer, text, {}) for reviewer, text in TEXTS.items()]
    status, body = fetch("ratings", f"/ratings/{path.rsplit('/', 1)[-1]}", headers)
    stars = body.get("ratings") if status == 200 else None
    if not isinstance(stars, dict):
        absent: Body = {"rating": {"error": "Ratings are not available"}}
        return [(reviewer, text, absent) for reviewer, text in TEXTS.items()]
    return [(r, text, {"rating": {"stars": stars.get(r), "color": STARS}}) for r, text in TEXTS.items()]


def ratings(path: str, headers: Headers) -> Answer:
    """The stars of each reviewer. Calls nobody."""
    return 200, {"id": path.rsplit("/", 1)[-1], "ratings": {"Reviewer1": 5, "Reviewer2": 4}}


SERVICES: Mapping[str, Callable[[str, Headers], Answer]] = {
    "productpage": productpage,
    "details": details,
    "reviews": reviews,
    "ratings": ratings,
}


# -- what they share ---------------------------------------------------------------------------------------------------


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


def caller(headers: Headers) -> str:
    """Who is calling, as the sidecar has verified it (Envoy's x-forwarded-client-cert); "" when nobody was verified."""
    last = {name.lower(): value for name, value in headers.items()}.get("x-forwarded-client-cert", "").split(",")[-1]
    found = re.search(r"(?:^|;)URI=([^;]+)", last)
    return found[1] if found else ""


class Server(ThreadingHTTPServer):
    """Ends at once when it is told to, whoever is still connected."""

    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that gave up (a timeout in a rule) is no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def server_bind(self) -> None:
        """Without the name look-up of `HTTPServer`: nobody knows the names of loopback addresses."""
        socketserver.TCPServer.server_bind(self)
        host, port, *_ = self.server_address
        self.server_name, self.server_port = str(host), int(port)


def handler(name: str) -> type[BaseHTTPRequestHandler]:
    """Answers GET requests with JSON: what the service says, and to whom."""
    answer = SERVICES[name]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            headers = dict(self.headers.items())
            status, body = answer(self.path, headers)
            text = json.dumps(body | {"calledBy": caller(headers)}, indent=1).encode() + b"\n"
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet: the sidecar keeps the access log."""

    return Handler


def main() -> None:
    address = os.environ.get("APP_IP", "127.0.0.1"), int(os.environ.get("PORT", "9080"))
    with Server(address, handler(sys.argv[1])) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
