"""Somebody outside of the mesh calls its workloads in plain HTTP: `python outsider.py URL…`. A script.

A program of its own because it may have to run in another network. Prints a JSON array: for each URL the status, 0 for
no answer, and what came instead. Imports nothing of ours.
"""

import json
import sys
import urllib.error
import urllib.request

PATIENCE = 5.0


def attempt(url: str) -> tuple[int, str]:
    """Straight to it: a proxy in the environment would be somebody else's opinion."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=PATIENCE) as response:
            return response.status, "it answered"
    except urllib.error.HTTPError as error:
        return error.code, "it answered"
    except OSError as error:
        return 0, str(getattr(error, "reason", error))
    except Exception as error:  # what is no HTTP at all
        return 0, type(error).__name__


if __name__ == "__main__":
    json.dump([attempt(url) for url in sys.argv[1:]], sys.stdout)
