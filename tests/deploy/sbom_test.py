#!/usr/bin/env python3
"""The bill of materials that deploy/container/make_sbom.sh prints: it has every package of dpkg's own records and every private
library, in the form of CycloneDX 1.5."""

import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest
import urllib.parse

from harness import places

SCRIPT = places.REPOSITORY / "deploy/container/make_sbom.sh"
STATUS = pathlib.Path("/var/lib/dpkg/status")


def installed_packages():
    """Returns (name, version, architecture) of every installed package, from the file that dpkg keeps."""
    found = set()
    for paragraph in STATUS.read_text(encoding="utf-8").split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Architecture|Status): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            found.add((fields["Package"], fields["Version"], fields["Architecture"]))
    return found


class Sbom(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="regroup-test-"))
        self.addCleanup(shutil.rmtree, self.root)
        (self.root / "var/lib").mkdir(parents=True)
        (self.root / "var/lib/dpkg").symlink_to("/var/lib/dpkg")
        self.libraries = self.root / "opt/regroup/lib"
        self.libraries.mkdir(parents=True)
        (self.libraries / "libtorch_cpu.so").write_bytes(b"a library")
        (self.libraries / "libgomp-a34b3233.so.1").write_bytes(b"another")

    def make(self):
        done = subprocess.run([SCRIPT, "1.2.3", self.root], capture_output=True, text=True, check=True, timeout=120)
        return done.stdout

    def test_has_every_debian_package_with_its_url(self):
        components = [part for part in json.loads(self.make())["components"] if part["type"] == "library"]
        listed = set()
        for part in components:
            scheme, _, rest = part["purl"].partition("/")
            self.assertEqual(scheme, "pkg:deb")
            name, _, version = rest.removeprefix("debian/").partition("@")
            version, _, architecture = version.partition("?arch=")
            self.assertEqual((urllib.parse.unquote(name), urllib.parse.unquote(version)), (part["name"], part["version"]))
            self.assertNotRegex(part["purl"].partition("@")[2], r"[:+]")
            listed.add((part["name"], part["version"], architecture))
        self.assertGreater(len(listed), 50)
        self.assertEqual(listed, installed_packages())

    def test_has_every_private_library_with_its_digest(self):
        files = {part["name"]: part["hashes"] for part in json.loads(self.make())["components"] if part["type"] == "file"}
        self.assertEqual(files, {f"/opt/regroup/lib/{path.name}": [
            {"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}] for path in self.libraries.iterdir()})

    def test_has_the_form_of_cyclonedx_and_is_the_same_each_time(self):
        text = self.make()
        document = json.loads(text)
        self.assertEqual((document["bomFormat"], document["specVersion"], document["version"]), ("CycloneDX", "1.5", 1))
        self.assertEqual(document["metadata"]["component"]["version"], "1.2.3")
        references = [part["bom-ref"] for part in document["components"]]
        self.assertEqual(len(references), len(set(references)))
        self.assertEqual(text, self.make())

    def test_the_image_has_it(self):
        lines = (SCRIPT.parent / "Containerfile").read_text(encoding="utf-8")
        self.assertIn("make_sbom.sh", lines.rpartition("\nFROM ")[2])


if __name__ == "__main__":
    unittest.main(verbosity=2)
