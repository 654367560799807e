"""Rules that several folders of tests apply, as text. What only one test is about stands in that test."""


def http_rule(host: str, *routes: str) -> str:
    """A VirtualService `host` for that host; each route in YAML, on one line."""
    listed = "".join(f"  - {route}\n" for route in routes)
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {host}}}
spec:
  hosts: [{host}]
  http:
{listed}"""


def marked(text: str, *, host: str = "web") -> str:
    """A rule that puts `x-rule: <text>` on every answer of `host`."""
    return http_rule(
        host, f"{{headers: {{response: {{set: {{x-rule: {text}}}}}}}, route: [{{destination: {{host: {host}}}}}]}}"
    )
