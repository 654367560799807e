"""`istio-agent capture`: what somebody does by hand, as root of a network namespace, with what the kernel then has."""

import subprocess
import sys

import pytest

from proxy.capture.support import require

AGENT = f"{sys.executable} -m proxy capture"


def in_a_network(script: str) -> "subprocess.CompletedProcess[str]":
    """Of its own, which nobody else sees."""
    require()
    command = ["unshare", "-Urnm", "sh", "-ec", f"PATH=$PATH:/usr/sbin:/sbin; {script}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_rules_are_applied_and_taken_out_again() -> None:
    """With the mark that was asked for; nothing is left."""
    done = in_a_network(f"{AGENT} apply --proxy-mark 77; nft list ruleset; echo ---; {AGENT} clean; nft list ruleset")
    assert done.returncode == 0, done.stderr
    applied, _, cleaned = done.stdout.partition("---\n")
    assert "0x0000004d" in applied
    assert "15001" in applied
    assert cleaned == ""


def test_print_shows_what_apply_would_do() -> None:
    """No root is needed for that; an option that is not known is refused, and the known ones are listed."""
    printed = subprocess.run([*AGENT.split(), "print", "--backend", "nft"], capture_output=True, text=True)
    assert (printed.returncode, "redirect to :15001" in printed.stdout) == (0, True)
    wrong = subprocess.run([*AGENT.split(), "print", "--colour"], capture_output=True, text=True)
    assert (wrong.returncode, "--proxy-mark" in wrong.stderr) == (2, True)


@pytest.mark.parametrize("action", ["apply", "clean"])
def test_without_the_right_to_do_it(action: str) -> None:
    """The kernel's words, and what to do."""
    done = subprocess.run(
        ["unshare", "-U", *AGENT.split(), action, "--backend", "nft"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert "run it as root" in done.stderr, done.stderr
