"""The page: details and reviews of one book, each asked of its service. A part that fails is said to be missing."""

from serving import Answer, Headers, fetch, serve

BOOK = "/0"


def answer(path: str, headers: Headers) -> Answer:
    parts = {name: fetch(name, f"/{name}{BOOK}", headers) for name in ("details", "reviews")}
    page: dict[str, object] = {"title": "The Comedy of Errors"}
    for name, (status, body) in parts.items():
        page[name] = body if status == 200 else missing(name, status, body)
    return 200, page


def missing(name: str, status: int, body: dict[str, object]) -> dict[str, object]:
    return {"error": f"Sorry, {name} are unavailable", "status": status, "reason": body.get("error", "")}


serve(answer)
