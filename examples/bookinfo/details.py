"""Facts about a book. Calls nobody."""

from serving import Answer, Headers, serve


def answer(path: str, headers: Headers) -> Answer:
    book: dict[str, object] = {"id": path.rsplit("/", 1)[-1], "author": "William Shakespeare", "year": 1595}
    return 200, book | {"type": "paperback", "pages": 200, "language": "English"}


serve(answer)
