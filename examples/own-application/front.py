"""A page that asks another service for a number. It knows nothing of any mesh: a name, a port, plain HTTP."""

import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STOCK = os.environ.get("STOCK", "http://stock:8000/")


class Front(BaseHTTPRequestHandler):
    def do_GET(self):
        with urllib.request.urlopen(STOCK, timeout=5) as answer:
            text = f"in stock: {answer.read().decode()}\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("0.0.0.0", 8080), Front).serve_forever()
