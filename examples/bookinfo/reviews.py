"""What readers say. STARS=none calls nobody (v1); black (v2) and red (v3) add stars from ratings."""

import os

from serving import Answer, Headers, fetch, serve

STARS = os.environ.get("STARS", "none")
TEXTS = {"Reviewer1": "An extremely entertaining play.", "Reviewer2": "Absolutely fun and entertaining."}


def answer(path: str, headers: Headers) -> Answer:
    reviews = [{"reviewer": reviewer, "text": text} | rating for reviewer, text, rating in rated(path, headers)]
    return 200, {"id": path.rsplit("/", 1)[-1], "stars": STARS, "reviews": reviews}


def rated(path: str, headers: Headers) -> list[tuple[str, str, dict[str, object]]]:
    if STARS == "none":
        return [(reviewer, text, {}) for reviewer, text in TEXTS.items()]
    status, body = fetch("ratings", f"/ratings/{path.rsplit('/', 1)[-1]}", headers)
    ratings = body.get("ratings") if status == 200 else None
    if not isinstance(ratings, dict):
        missing: dict[str, object] = {"rating": {"error": "Ratings are not available"}}
        return [(reviewer, text, missing) for reviewer, text in TEXTS.items()]
    return [(r, text, {"rating": {"stars": ratings.get(r), "color": STARS}}) for r, text in TEXTS.items()]


serve(answer)
