"""What every platform must do, as a suite anybody can run against theirs: one harness class, one command.

    pytest --pyargs platforms.conformance -p platforms.conformance.plugin --mesh-harness mypackage.harness:Harness

Groups A (life cycle), B (services), C (instances), D (events), I (config store), J (election): a case in `cases` says
in a sentence what must hold.
The plugin prints a line per case and the level the platform has earned.
"""
