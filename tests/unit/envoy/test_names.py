"""Names cost nothing to import."""

import subprocess
import sys


def test_names_need_no_protos() -> None:
    """Who only needs a name does not load Envoy's protos, which take hundreds of milliseconds."""
    program = "import sys, core.envoy.names; sys.exit(any(m.startswith(('envoy', 'google')) for m in sys.modules))"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
