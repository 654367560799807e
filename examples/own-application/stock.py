"""Answers every call with a number."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Stock(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"42")

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("0.0.0.0", 8000), Stock).serve_forever()
