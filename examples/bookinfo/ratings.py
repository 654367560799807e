"""The stars of each reviewer. Calls nobody."""

from serving import Answer, Headers, serve


def answer(path: str, headers: Headers) -> Answer:
    return 200, {"id": path.rsplit("/", 1)[-1], "ratings": {"Reviewer1": 5, "Reviewer2": 4}}


serve(answer)
