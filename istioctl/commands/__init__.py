"""One file per command, each with its click command as `command`; the table is `istioctl.cli.COMMANDS`.

Imported for `--help` and completion too, so what a command needs to do its work it imports when it runs.
"""
