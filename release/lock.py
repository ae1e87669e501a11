"""What an installation consists of: lock.py WHEEL OUTPUT_DIRECTORY writes requirements.lock and sbom.cdx.json.

Both come from what pip itself resolves for the wheel (its installation report). `pip install --require-hashes -r
requirements.lock` then installs exactly that, also from a directory without a network; the SBOM (CycloneDX 1.5) says
what there is, with every extra as the Debian package has them, to whoever watches for vulnerabilities.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

EXTRAS = "[dashboard,fleet,mcp,metrics]"
"""What the Debian package carries besides."""


def resolved(wheel: Path, extras: str = "") -> list[dict[str, Any]]:
    """What pip would install for the wheel into an empty environment, the wheel itself left out."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
    command += ["--ignore-installed", "--only-binary", ":all:", "--report", "-", f"{wheel}{extras}"]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    items = [item for item in report["install"] if not item["requested"]]
    return sorted(items, key=lambda item: str(item["metadata"]["name"]).lower())


def lock(items: list[dict[str, Any]]) -> str:
    """A requirements file with one hash each, of the file for this platform."""
    lines = []
    for item in items:
        name, version = item["metadata"]["name"], item["metadata"]["version"]
        lines.append(f"{name}=={version} --hash=sha256:{_sha256(item)}")
    return "\n".join(lines) + "\n"


def bill(wheel: Path, items: list[dict[str, Any]]) -> dict[str, Any]:
    """The bill of materials: names, versions, licences and hashes."""
    name, version = wheel.name.split("-")[:2]
    whole = {"type": "application", "name": name.replace("_", "-"), "version": version}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, lock(items) + wheel.name)}",
        "version": 1,
        "metadata": {"component": whole},
        "components": [_component(item) for item in items],
    }


def _component(item: dict[str, Any]) -> dict[str, Any]:
    metadata = item["metadata"]
    name, version = metadata["name"], metadata["version"]
    component = {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name.lower().replace('_', '-')}@{version}",
        "hashes": [{"alg": "SHA-256", "content": _sha256(item)}],
    }
    licence = metadata.get("license_expression") or metadata.get("license")
    if licence and "\n" not in licence:
        component["licenses"] = [{"license": {"name": licence}}]
    return component


def _sha256(item: dict[str, Any]) -> str:
    return str(item["download_info"]["archive_info"]["hashes"]["sha256"])


def main() -> None:
    """Write both files."""
    wheel, output = Path(sys.argv[1]), Path(sys.argv[2])
    items = resolved(wheel)
    (output / "requirements.lock").write_text(lock(items), "utf-8")
    everything = resolved(wheel, EXTRAS)
    (output / "sbom.cdx.json").write_text(json.dumps(bill(wheel, everything), indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
