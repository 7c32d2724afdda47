#!/usr/bin/env python3
"""Real chat templates against jinja2, and conversations served through each: templates.py BUILD. The templates are the
files in PENSIEVE_TEST_TEMPLATES, or are fetched from their registry; exit code 77 and a loud SKIPPED when they can't be had.
"""
import os
import subprocess
import sys
from pathlib import Path

from harness import HERE, Clients

if __name__ == "__main__":
    build = Path(sys.argv[1]).resolve()
    clients = Clients(build)
    folder = os.environ.get("PENSIEVE_TEST_TEMPLATES")
    source = [folder] if folder else ["--fetch", str(clients.folder / "templates")]
    script = HERE.parent.parent / "scripts" / "check_templates"
    sys.exit(subprocess.run([clients.jinja_python(), script, "--build", build, *source], check=False).returncode)
