"""Checks the repository's pages: their links work, what they name exists, and their commands do what they say."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from harness import cluster, places, processes
from harness.program_test import ProgramTest

ROOT = places.REPOSITORY
TRAINER = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "regroup_fake_trainer"
BUILD = places.PROGRAMS.parent
LIFE, STORE, STAGES = "coordinator/job/README.md", "coordinator/store/README.md", "trainer/stages/README.md"
FAMILIES, METHOD = "trainer/families/README.md", "trainer/alignment/README.md"
SIMILARITIES = "trainer/alignment/similarities/README.md"
# Pages about the code: every file, function and flag that they name must exist.
CODE_PAGES = (LIFE, STORE, STAGES, FAMILIES, METHOD, SIMILARITIES)
# Pages for those who arrive; their scripts and presets are looked up.
FRONT_PAGES = ("CONTRIBUTING.md",)
VERSION = re.search(r"project\(regroup VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))[1]

LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")
CODE = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"[\w./-]+\.(cc|h|py|proto|yaml|json|md|txt|sh)")
NAME = re.compile(r"k?[A-Z]\w*[a-z]\w*(::\w+)*")
COMMAND = re.compile(r"^    (\w[\w/.-]* .*?)(?:\s+#.*)?$", re.MULTILINE)
# Files that a run makes, and names that a page invents as an example.
MADE = {"assignment.json", "config.json", "evaluation.json", "report.json", "source.json", "statistics.json", "streams.json",
        "regroup/report.json"}
EXAMPLES = {"nova.cc", "NovaFamily", "polish.cc", "RunPolish"}


def repository_files(suffix=""):
    """Yields the repository's files, without those of a build."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in sorted(folders) if name not in ("build", ".git", "__pycache__")]
        yield from (pathlib.Path(folder) / name for name in sorted(files) if name.endswith(suffix))


def pages():
    return list(repository_files(".md"))


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def anchors_of(text):
    """Returns the anchors that GitHub derives from headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
            for heading in headings}


def commands_of(page):
    """Returns indented lines that start with a word and continue; diagrams and lists of names do not."""
    programs = ("regroup", "build/", "cmake", "ctest", "deploy/", "tests/", "ninja")
    return [command for command in COMMAND.findall(text_of(page)) if command.startswith(programs)]


class Pages(unittest.TestCase):
    def test_links_lead_somewhere(self):
        self.assertGreater(len(pages()), 12)
        for page in pages():
            text = page.read_text(encoding="utf-8")
            for path, anchor in LINK.findall(text):
                if "://" in path:
                    continue
                target = (page.parent / path).resolve() if path else page
                with self.subTest(page=page.relative_to(ROOT), link=path + anchor):
                    self.assertTrue(target.exists())
                    if anchor:
                        self.assertIn(anchor[1:], anchors_of(target.read_text(encoding="utf-8")))

    def test_every_picture_is_shown_and_small(self):
        pictures = set(repository_files(".png"))
        shown = {(page.parent / path).resolve() for page in pages() for path, _ in LINK.findall(page.read_text("utf-8"))}
        self.assertTrue(pictures)
        self.assertEqual(pictures - shown, set())
        self.assertLess(max(picture.stat().st_size for picture in pictures), 150_000)


class Names(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        files = [file for file in repository_files() if file.parent != pathlib.Path(__file__).resolve().parent]
        cls.file_names = {file.name for file in files}
        code = "\n".join(file.read_text(encoding="utf-8") for file in files
                         if file.suffix in (".cc", ".h", ".proto", ".txt", ".py"))
        cls.words = set(re.findall(r"\w+", code))
        cls.flags = set(re.findall(r"--[a-z][a-z-]+", code))

    def is_there(self, page, name):
        if name.startswith("--"):
            return name.split()[0] in self.flags
        if FILE.fullmatch(name):
            beside = (ROOT / page).parent / name
            return beside.exists() or (ROOT / name).exists() or "/" not in name and name in self.file_names
        if NAME.fullmatch(name):
            return all(part in self.words for part in name.split("::"))
        return True

    def test_of_files_functions_and_flags_exist(self):
        for page in CODE_PAGES:
            named = set(CODE.findall(text_of(page))) - MADE - EXAMPLES
            self.assertGreater(len(named), 15, page)
            self.assertEqual(sorted(name for name in named if not self.is_there(page, name)), [], page)

    def test_of_a_wrong_file_or_function_would_be_noticed(self):
        for wrong in ("coordinator/job/graf.cc", "graf.cc", "BuildGraf", "Job::Restored", "--lease-seconds"):
            self.assertFalse(self.is_there(LIFE, wrong), wrong)

    def test_of_families_are_as_many_as_the_pages_say(self):
        words = re.search(r"set\(families\s+([^)]*)\)", text_of("cmake/Families.cmake")).group(1).split()
        for page in (METHOD, "trainer/alignment/comparison.md"):
            self.assertIn(f"{len(words)} families", text_of(page))


class Api(unittest.TestCase):
    """proto/API.md holds what the proto files say."""

    def make(self, folder, *arguments):
        return subprocess.run([folder / "make_api_page.py", *arguments], capture_output=True, text=True)

    def test_the_page_is_up_to_date(self):
        done = self.make(ROOT / "proto", "--check")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_every_name_and_comment_is_in_it(self):
        page = re.sub(r"\[([^]]*)\]\([^)]*\)|<br>|\\\\", r"\1 ", text_of("proto/API.md"))
        words = set(re.findall(r"\w+", page))
        for file in (ROOT / "proto/regroup/v1").glob("*.proto"):
            text = file.read_text(encoding="utf-8")
            names = re.findall(r"^\s*(?:rpc|message|enum|service) (\w+)|(\w+) = \d+;", text, re.MULTILINE)
            self.assertEqual({name for pair in names for name in pair if name} - words, set(), file.name)
            comments = set(re.findall(r"\w+", " ".join(re.findall(r"^\s*//(.*)$", text, re.MULTILINE))))
            self.assertEqual(comments - words, set(), file.name)

    def test_a_changed_comment_and_a_line_that_is_not_understood_are_noticed(self):
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary) / "proto"
            shutil.copytree(ROOT / "proto", folder)
            self.assertEqual(self.make(folder, "--check").returncode, 0)
            job = folder / "regroup/v1/job.proto"
            text = job.read_text(encoding="utf-8")
            job.write_text(text.replace("// The shape of the result.", "// The form of the result.", 1), encoding="utf-8")
            self.assertIn("run proto/make_api_page.py", self.make(folder, "--check").stderr)
            job.write_text(text.replace("string name = 1;", "string name = 1 [deprecated = true];", 1), encoding="utf-8")
            self.assertIn("not understood", self.make(folder).stderr)


class Releases(unittest.TestCase):
    def test_one_version_stands_everywhere(self):
        chart = text_of("helm/regroup/Chart.yaml")
        self.assertEqual(re.findall(r"^(?:appVersion|version): (.*)$", chart, re.MULTILINE), [VERSION] * 2)
        for file in ("deploy/compose/compose.yaml", "deploy/container/Containerfile"):
            self.assertEqual(set(re.findall(r"regroup:(\d[\d.]*)", text_of(file))), {VERSION}, file)
        self.assertEqual(re.findall(r'^version = "(.*)"', text_of("python/pyproject.toml"), re.MULTILINE), [VERSION])
        self.assertEqual(re.findall(r"^## \[(\d.*?)\]", text_of("CHANGELOG.md"), re.MULTILINE)[0], VERSION)
        self.assertRegex(text_of("SECURITY.md"), rf"\| {re.escape(VERSION.rpartition('.')[0])} \| yes \|")

    def test_nothing_needs_a_folder_outside_the_repository(self):
        """Defaults of CMake and of the scripts of tests lie within it."""
        for file in repository_files():
            if file.suffix in (".txt", ".cmake", ".py", ".sh", ".md") and file != pathlib.Path(__file__).resolve():
                self.assertNotRegex(file.read_text(encoding="utf-8"), r"\.\./shared\b|ROOT\.parent", file)


class Commands(ProgramTest):
    def run_in_root(self, command):
        command = re.sub(r"^build/release/bin", str(places.PROGRAMS), command).replace("build/release ", f"{BUILD} ")
        done = subprocess.run(["bash", "-c", command], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=120)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}{done.stderr}")
        return done.stdout

    def follow(self, command):
        """Looks up the names of builds and tests instead of building or starting them from within this test."""
        if command.startswith("cmake --build --preset"):
            presets = json.loads(text_of("CMakePresets.json"))["buildPresets"]
            self.assertIn(command.split()[-1], [preset["name"] for preset in presets])
        elif command.startswith("ctest"):
            pattern = re.search(r"-R (\S+)", command).group(1).strip("'")
            listed = self.run_in_root(command + " -N")
            for name in pattern.split("|"):
                self.assertRegex(listed, rf"Test +#\d+: {name}\n")
        elif command.startswith("cmake --preset"):
            presets = json.loads(text_of("CMakePresets.json"))["configurePresets"]
            self.assertIn(command.split()[-1], [preset["name"] for preset in presets])
        elif command.startswith("ninja"):
            targets = self.run_in_root("ninja -C build/release -t targets all")
            for name in re.match(r"ninja -C build/release (.*?)(?: &&|$)", command).group(1).split():
                self.assertRegex(targets, rf"(?m)^{name}: ")
        elif command.startswith(("deploy/", "tests/")):
            script, *arguments = command.split()
            self.assertTrue(os.access(ROOT / script, os.X_OK), script)
            for argument in arguments:
                if argument.startswith("--"):
                    self.assertIn(argument, text_of(script))
        else:
            return self.run_in_root(command)
        return ""

    def test_of_the_life_of_a_job(self):
        if not TRAINER.exists():
            self.skipTest(f"{TRAINER} is not built")
        running = self.start_cluster(workers=1, trainer=TRAINER)
        job = running.submit(self.write_job(
            {"name": "small", "source": {"checkpoint": "/model"}, "target": {"kv_heads": 2},
             "calibration": {"data": "/train.jsonl"}, "finetune": {"steps": 2},
             "output": {"checkpoint": str(self.output)}, "labels": {"behaviour": "job"}}))
        processes.wait_until(lambda: running.job(job)["state"] in cluster.FINAL_STATES, "the job's end", 60, 0.2)
        commands = commands_of(LIFE)
        self.assertEqual([command.split()[1] for command in commands], ["get", "watch", "logs"])
        for command in commands:
            done = running.regroup(*command.replace("JOB", job).split()[1:])
            self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}{done.stderr}")
            self.assertTrue(done.stdout.strip(), command)

    def test_of_the_front_pages(self):
        for page in FRONT_PAGES:
            named = commands_of(page) + re.findall(r"`((?:cmake|deploy/|tests/|\.ci/)[^`]*?)`", text_of(page))
            self.assertGreater(len(named), 8, page)
            for command in named:
                with self.subTest(command):
                    if not (ROOT / command).exists():
                        self.follow(command)

    @unittest.skipUnless((places.PROGRAMS / "regroup-trainer").exists(), "the trainer is not built")
    def test_of_the_pages_for_those_who_add_something(self):
        for page in (FAMILIES, SIMILARITIES, STORE):
            commands = commands_of(page)
            self.assertGreater(len(commands), 1, page)
            for command in commands:
                with self.subTest(command):
                    self.follow(command)


if __name__ == "__main__":
    unittest.main(verbosity=2)
