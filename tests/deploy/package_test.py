#!/usr/bin/env python3
"""The Debian packages of deploy/package.sh: what they hold and ask for; unpacked, their programs run without the build tree;
installed into a bare Debian root by apt, they convert the demonstration's model.

The last part downloads packages and runs with REGROUP_NIGHTLY=1 only."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from container_root_test import sources
from harness import job_file, places

NAMES = ("regroup-cli", "regroup-coordinator", "regroup-worker")
VERSION = re.search(r"project\(regroup VERSION ([\d.]+)", (places.REPOSITORY / "CMakeLists.txt").read_text())[1]
PROGRAMS = {"regroup-cli": ["regroup"], "regroup-coordinator": ["regroup-coordinator"],
            "regroup-worker": ["regroup-worker", "regroup-rsh", "regroup-trainer"]}
FILES = {
    "regroup-cli": ["/usr/share/bash-completion/completions/regroup", "/usr/share/regroup/proto/regroup/v1/job.proto",
                    "/usr/share/man/man1/regroup.1.gz", "/usr/share/doc/regroup/OPERATIONS.md",
                    "/usr/share/doc/regroup/README.md", "/usr/share/doc/regroup/examples/t5.yaml"],
    "regroup-coordinator": ["/usr/lib/systemd/system/regroup-coordinator.service",
                            "/usr/share/man/man8/regroup-coordinator.8.gz",
                            "/usr/lib/sysusers.d/regroup-coordinator.conf",
                            "/usr/lib/tmpfiles.d/regroup-coordinator.conf", "/usr/share/regroup/coordinator.conf"],
    "regroup-worker": ["/usr/lib/systemd/system/regroup-worker.service", "/usr/lib/sysusers.d/regroup-worker.conf",
                       "/usr/share/man/man8/regroup-worker.8.gz",
                       "/usr/lib/tmpfiles.d/regroup-worker.conf", "/usr/share/regroup/worker.conf",
                       "/usr/lib/regroup/libregroup_sentencepiece.so", "/usr/lib/regroup/libregroup_loopback.so",
                       "/usr/lib/regroup/libtorch_cpu.so", "/usr/lib/regroup/libc10.so",
                       "/usr/share/doc/regroup-worker/licenses/LICENSE",
                       "/usr/share/doc/regroup-worker/licenses/NVIDIA-CUDA",
                       "/usr/share/doc/regroup-worker/licenses/INTEL-ONEMKL"]}
# Hides the build folder, and the Python environment where it lies elsewhere, as if this were another machine.
HIDDEN = [places.REPOSITORY / "build", (places.REPOSITORY / "build/venv").resolve()]
WITHOUT_BUILD_TREE = """
set -e
for folder in {hidden}; do if [ -d "$folder" ]; then mount -t tmpfs none "$folder"; fi; done
exec env -i PATH="$ROOT/usr/bin:/usr/bin:/bin" HOME=/tmp "$@"
"""
IN_ROOT = """
set -e
mount --bind "$ROOT" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp DEBIAN_FRONTEND=noninteractive /usr/sbin/chroot --userspec="$ACCOUNT" "$ROOT" "$@"
"""


def run(*command, **settings):
    return subprocess.run(list(map(str, command)), text=True, capture_output=True, **settings)


def lines_of(*command):
    return run(*command, check=True).stdout.splitlines()


def unshared(script, environment, *command):
    """In mounts of its own; where this is not root, as the root of a user namespace."""
    of_user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return run("unshare", *of_user, "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", script, "bash", *command,
               env={**os.environ, **environment}, timeout=900)


def convert(folder, root=""):
    """A job file that converts the demonstration's model, which is copied beside it; paths as they are seen in `root`."""
    seen = str(folder).removeprefix(str(root)) if root else str(folder)
    shutil.copytree(places.MODEL, folder / "source")
    shutil.copy(places.TRAINING_TEXT, folder / "train.jsonl")
    job = job_file.small_job(f"{seen}/model", source={"checkpoint": f"{seen}/source"},
                             calibration={"data": f"{seen}/train.jsonl"})
    job_file.write(folder / "job.yaml", job)
    return ["regroup", "run", f"{seen}/job.yaml", "--work-dir", f"{seen}/work", "--workers", "1", "--slots", "2"]


class PackageTest(unittest.TestCase):
    def check_result(self, folder, done):
        self.assertEqual(done.returncode, 0, done.stdout[-3000:] + done.stderr[-3000:])
        config = json.loads((folder / "model/config.json").read_text())
        self.assertEqual(config["num_key_value_heads"], 2)
        self.assertEqual(config["num_attention_heads"], 8)
        report = json.loads((folder / "model/regroup/report.json").read_text())
        self.assertEqual(report["provenance"]["versions"]["regroup"], VERSION)
        for name in ("model.safetensors", "tokenizer.json", "regroup/report.html"):
            self.assertGreater((folder / "model" / name).stat().st_size, 1000, name)


def setUpModule():
    global PACKAGES
    subprocess.run([places.REPOSITORY / "deploy/package.sh", "--no-build"], check=True)
    folder = places.REPOSITORY / "build/release/packages"
    [architecture] = lines_of("dpkg", "--print-architecture")
    PACKAGES = {name: folder / f"{name}_{VERSION}_{architecture}.deb" for name in NAMES}


class Contents(PackageTest):
    def field(self, name, field):
        return run("dpkg-deb", "--field", PACKAGES[name], field, check=True).stdout.strip()

    def files(self, name):
        """Path to (mode, owner)."""
        listed = [line.split(maxsplit=5) for line in lines_of("dpkg-deb", "--contents", PACKAGES[name])]
        return {words[5].lstrip("."): (words[0], words[1]) for words in listed}

    def test_each_has_its_programs_and_files_and_those_of_no_other(self):
        seen = set()
        for name in NAMES:
            files = self.files(name)
            plain = {path for path in files if not path.endswith("/")}
            self.assertEqual({path for path in plain if path.startswith("/usr/bin/")},
                             {f"/usr/bin/{program}" for program in PROGRAMS[name]})
            self.assertEqual({path for path in FILES[name] if path not in plain}, set())
            self.assertIn(f"/usr/share/doc/{name}/copyright", plain)
            self.assertEqual(plain & seen, set(), "dpkg refuses a file of two packages")
            seen |= plain
            self.assertEqual({path for path in files if not path.startswith("/usr/") and path != "/"}, set())
            self.assertEqual({owner for _, owner in files.values()}, {"root/root"})
            self.assertEqual({path for path, (mode, _) in files.items() if mode[5] == "w" or mode[8] == "w"}, set())

    def test_they_ask_for_the_libraries_of_the_system_and_for_one_another(self):
        for name in NAMES:
            depends = self.field(name, "Depends")
            self.assertIn("libgrpc++", depends)
            self.assertNotRegex(depends, r"torch|c10|gomp|cuda|cupti|nccl")
            self.assertEqual(self.field(name, "Version"), VERSION)
            self.assertRegex(self.field(name, "Description"), r"^Convert .*: (command line|coordinator|worker, trainer)\n The .*\n")
        for name in NAMES[1:]:
            self.assertIn(f"regroup-cli (= {VERSION})", self.field(name, "Depends"))
            self.assertIn("systemd-sysusers", self.field(name, "Depends"))
        self.assertIn("libpq5", self.field("regroup-coordinator", "Depends"))
        for library in ("openmpi-bin", "libopenmpi3", "libsentencepiece0", "libsndfile1"):
            self.assertIn(library, self.field("regroup-worker", "Depends"))

    def test_services_are_made_ready_and_not_started(self):
        for name in NAMES[1:]:
            with tempfile.TemporaryDirectory() as folder:
                run("dpkg-deb", "--control", PACKAGES[name], folder, check=True)
                scripts = {path.name: path for path in pathlib.Path(folder).iterdir() if path.name.startswith(("pre", "post"))}
                self.assertEqual(sorted(scripts), ["postinst", "postrm", "prerm"])
                for path in scripts.values():
                    self.assertEqual(path.stat().st_mode & 0o777, 0o755)
                    self.assertEqual(run("sh", "-n", path).returncode, 0, path.name)
                    self.assertIsNone(re.search(r"systemctl (?!daemon-reload|disable)", path.read_text()), path.name)
                self.assertIn(f"systemd-sysusers {name}.conf", scripts["postinst"].read_text())


class Unpacked(PackageTest):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="regroup-packages-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.root = cls.folder / "root"
        for package in PACKAGES.values():
            run("dpkg", "--extract", package, cls.root, check=True)

    def elsewhere(self, *command):
        hidden = " ".join(f"'{folder}'" for folder in HIDDEN)
        return unshared(WITHOUT_BUILD_TREE.format(hidden=hidden), {"ROOT": str(self.root)}, *command)

    def test_every_program_starts_and_finds_its_libraries_in_its_package_or_the_system(self):
        self.assertNotEqual(self.elsewhere("test", "-e", places.PROGRAMS).returncode, 0, "the build folder is hidden")
        for program in sum(PROGRAMS.values(), []):
            path = self.root / "usr/bin" / program
            if program != "regroup-rsh":
                done = self.elsewhere(path, "--help")
                self.assertEqual(done.returncode, 0, f"{program}: {done.stderr}")
            libraries = self.elsewhere("ldd", path).stdout
            self.assertIn("libstdc++", libraries)
            self.assertNotIn("not found", libraries)
            for found in re.findall(r"=> (/\S+)", libraries):
                self.assertRegex(os.path.normpath(found), rf"^({self.root}/usr/lib/regroup|/lib|/usr/lib)/")
        for program in ("regroup", "regroup-coordinator"):
            self.assertIn(VERSION, self.elsewhere(program, "--version").stdout)

    def test_modules_find_their_libraries(self):
        module = self.root / "usr/lib/regroup/libregroup_sentencepiece.so"
        self.assertNotIn("not found", self.elsewhere("ldd", module).stdout)

    def test_no_file_names_a_folder_of_the_build(self):
        for path in [*self.root.glob("usr/bin/*"), *self.root.glob("usr/lib/regroup/*")]:
            dynamic = run("readelf", "--dynamic", path, check=True).stdout
            for folders in re.findall(r"\(R(?:UN)?PATH\).*\[(.*)\]", dynamic):
                self.assertTrue(all(folder.startswith("$ORIGIN") for folder in folders.split(":")), f"{path}: {folders}")
        texts = [path for folder in ("systemd", "sysusers.d", "tmpfiles.d") for path in self.root.glob(f"usr/lib/{folder}/**/*")]
        texts += self.root.glob("usr/share/bash-completion/**/*")
        for path in filter(pathlib.Path.is_file, texts):
            self.assertNotIn(str(places.REPOSITORY), path.read_text(), path)

    def test_units_start_the_programs_of_the_packages(self):
        for name in NAMES[1:]:
            unit = (self.root / f"usr/lib/systemd/system/{name}.service").read_text()
            program = re.search(r"^ExecStart=(\S+)", unit, re.MULTILINE)[1]
            self.assertEqual(program, f"/usr/bin/{name}")
            page = re.search(r"^Documentation=file:(\S+)", unit, re.MULTILINE)[1]
            self.assertTrue((self.root / page.lstrip("/")).exists(), page)
            conf = self.root / f"usr/share/regroup/{name.removeprefix('regroup-')}.conf"
            settings = set(re.findall(r"^#(REGROUP_\w+)=", conf.read_text(), re.MULTILINE))
            self.assertEqual(settings, set(re.findall(r"^Environment=(REGROUP_\w+)=", unit, re.MULTILINE)))

    def test_completion_knows_the_commands(self):
        script = self.root / "usr/share/bash-completion/completions/regroup"
        done = run("bash", "-c", f'. "{script}"; COMP_WORDS=(regroup ins); COMP_CWORD=1; _regroup; echo "${{COMPREPLY[@]}}"')
        self.assertEqual(done.stdout.split(), ["inspect"])

    def test_they_convert_a_model_with_a_gang_of_two_ranks(self):
        work = self.folder / "conversion"
        work.mkdir()
        self.check_result(work, self.elsewhere(*convert(work)))


class Installation(PackageTest):
    """cmake --install into another prefix."""

    def test_a_component_can_be_installed_alone_into_any_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            prefix = pathlib.Path(folder) / "opt"
            run("cmake", "--install", places.PROGRAMS.parent, "--prefix", prefix, "--component", "coordinator", check=True)
            self.assertEqual([path.name for path in (prefix / "bin").iterdir()], ["regroup-coordinator"])
            unit = (prefix / "lib/systemd/system/regroup-coordinator.service").read_text()
            self.assertIn(f"ExecStart={prefix}/bin/regroup-coordinator --listen", unit)
            self.assertEqual(run(prefix / "bin/regroup-coordinator", "--help").returncode, 0)


@unittest.skipUnless(os.environ.get("REGROUP_NIGHTLY") == "1", "downloads packages; tests/nightly.sh or REGROUP_NIGHTLY=1 runs it")
class BareRoot(PackageTest):
    """A Debian 12 that has nothing but apt, and the packages installed into it as a person would."""

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
            raise AssertionError("needs root and mmdebstrap")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="regroup-root-"))
        cls.folder.chmod(0o755)
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.root = cls.folder / "root"
        packages = " ".join(str(path) for path in PACKAGES.values())
        done = run("mmdebstrap", "--variant=apt", "--skip=cleanup/apt", f"--customize-hook=copy-in {packages} /root",
                   "--customize-hook=chroot \"$1\" sh -c 'cd /root && apt-get install -y --no-install-recommends ./regroup-*.deb'",
                   "bookworm", cls.root, *sources())
        if done.returncode != 0:
            raise AssertionError(done.stderr[-5000:])

    def inside(self, *command, account="regroup:regroup"):
        return unshared(IN_ROOT, {"ROOT": str(self.root), "ACCOUNT": account}, *command)

    def test_apt_installed_them_and_made_account_folders_and_configuration(self):
        states = self.inside("dpkg-query", "--show", "--showformat", "${Package} ${Status}\n", *NAMES).stdout
        self.assertEqual(states.splitlines(), [f"{name} install ok installed" for name in NAMES])
        self.assertRegex((self.root / "etc/passwd").read_text(), r"(?m)^regroup:")
        self.assertEqual(self.inside("stat", "-c", "%U:%G %a", "/srv/regroup").stdout.strip(), "regroup:regroup 755")
        self.assertEqual(self.inside("stat", "-c", "%U:%G %a", "/etc/regroup").stdout.strip(), "root:regroup 750")
        for name in ("coordinator", "worker"):
            self.assertIn("REGROUP_WORK_DIR", self.inside("cat", f"/etc/regroup/{name}.conf").stdout)
        self.assertEqual(list(self.root.glob("etc/systemd/system/*.wants/regroup*")), [], "they are not enabled")
        self.assertFalse((self.root / "usr/bin/python3").exists())

    def test_the_account_converts_the_demonstrations_model(self):
        work = self.root / "srv/regroup/demo"
        work.mkdir()
        command = convert(work, self.root)
        self.inside("chown", "-R", "regroup:regroup", "/srv/regroup/demo", account="root:root")
        done = self.inside(*command)
        self.check_result(work, done)
        self.assertEqual(self.inside("stat", "-c", "%U", "/srv/regroup/demo/model").stdout.strip(), "regroup")

    def test_purging_keeps_what_was_computed(self):
        """On a copy, since other tests need the packages."""
        copy = self.folder / "copy"
        run("cp", "-a", self.root, copy, check=True)
        kept = copy / "etc/regroup/worker.token"
        kept.write_text("a token")
        done = unshared(IN_ROOT, {"ROOT": str(copy), "ACCOUNT": "root:root"}, "dpkg", "--purge", *NAMES)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([path.name for path in (copy / "etc/regroup").iterdir()], [kept.name])
        self.assertTrue((copy / "srv/regroup").is_dir())
        self.assertFalse((copy / "usr/lib/regroup").exists())


if __name__ == "__main__":
    unittest.main(verbosity=2)
