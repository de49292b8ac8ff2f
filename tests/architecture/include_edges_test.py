#!/usr/bin/env python3
"""Reads every #include: the parts know each other only as written here, and each outside library stays in its place.

A new edge fails. Where it is right, add it here, so that a reader sees the whole picture in one place.
"""

import pathlib
import re
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PARTS = ("services", "coordinator", "trainer")
INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.MULTILINE)

# Lists what each part of the source includes besides itself, services/common/base and the generated contract
# (regroup/v1). A part is a folder, or a few files of one; a file belongs to the part with the longest name that fits.
EDGES = {
    # What all programs share.
    "services/common/base": [],
    "services/common/rpc": [],
    "services/common/job_file": [],
    "services/common/metrics": [],
    # Children with their logs, questions to the trainer, and manual pages.
    "services/common/programs": [],
    "services/common/remote": ["services/common/job_file"],
    # The worker, from the bottom up.
    "services/worker/attempt_key": [],
    "services/worker/lease": [],
    "services/worker/machine": [],
    "services/worker/worker_options": ["services/common/job_file", "services/common/programs", "services/common/rpc",
                                       "services/worker/machine"],
    "services/worker/process": ["services/common/programs", "services/worker/worker_options"],
    "services/worker/logs": ["services/worker/attempt_key"],
    "services/worker/gang": ["services/common/rpc"],
    "services/worker/attempt": ["services/common/job_file", "services/common/remote", "services/common/rpc",
                                "services/worker/attempt_key",
                                "services/worker/gang", "services/worker/lease", "services/worker/logs",
                                "services/worker/process", "services/worker/worker_options"],
    "services/worker": ["services/common/rpc", "services/worker/attempt", "services/worker/attempt_key",
                        "services/worker/gang", "services/worker/lease", "services/worker/logs",
                        "services/worker/machine", "services/worker/process", "services/worker/worker_options"],
    "services/cli": ["services/common/rpc", "services/common/job_file", "services/common/programs"],
    # Pure: events in, actions out.
    "coordinator/job": ["services/common/job_file"],
    "coordinator/schedule": ["coordinator/job"],
    "coordinator/store": ["coordinator/job"],
    # Who may call what.
    "coordinator/access": ["services/common/job_file", "services/common/remote", "services/common/rpc"],
    # The thread that decides, and what it tells others.
    "coordinator/core": ["services/common/metrics", "coordinator/job", "coordinator/schedule", "coordinator/store"],
    "coordinator/api": ["services/common/rpc", "services/common/job_file", "services/common/programs",
                        "services/common/remote", "coordinator/access", "coordinator/core", "coordinator/job", "coordinator/schedule",
                        "coordinator/store"],
    "coordinator/main": ["services/common/programs", "services/common/rpc", "services/common/job_file", "coordinator/access",
                         "coordinator/api"],
    # Computing on one device, without communication.
    "trainer/alignment": [],
    "trainer/checkpoint": [],
    "trainer/data": [],
    "trainer/nn": [],
    "trainer/distill": ["trainer/nn"],
    "trainer/families": ["trainer/nn"],
    "trainer/model_folder": ["trainer/alignment", "trainer/checkpoint", "trainer/families", "trainer/nn"],
    # Figures in, report out: no file, no tensor.
    "trainer/report": ["services/common/job_file", "trainer/nn"],
    # Communication between ranks, and with the worker.
    "trainer/parallel": [],
    "trainer/optim": ["trainer/parallel"],
    "trainer/eval": ["trainer/data", "trainer/nn", "trainer/parallel"],
    "trainer/link": ["services/common/rpc", "trainer/parallel"],
    # What a training publishes, for TensorBoard.
    "trainer/event_files": ["trainer/link"],
    # What brings all of it together.
    "trainer/plan": ["services/common/job_file", "trainer/alignment", "trainer/data", "trainer/families", "trainer/model_folder",
                     "trainer/nn", "trainer/parallel"],
    "trainer/training": ["trainer/alignment", "trainer/checkpoint", "trainer/data", "trainer/distill", "trainer/eval",
                         "trainer/link", "trainer/model_folder", "trainer/nn", "trainer/optim", "trainer/parallel"],
    "trainer/layerwise": ["trainer/data", "trainer/distill", "trainer/model_folder", "trainer/nn", "trainer/optim",
                          "trainer/parallel", "trainer/training"],
    "trainer/stages": ["services/common/job_file", "services/common/remote", "trainer/alignment", "trainer/data",
                       "trainer/eval", "trainer/event_files", "trainer/layerwise", "trainer/link", "trainer/model_folder",
                       "trainer/nn", "trainer/parallel", "trainer/plan", "trainer/report", "trainer/training"],
    "trainer/main.cc": ["services/common/job_file", "trainer/model_folder", "trainer/parallel", "trainer/plan", "trainer/stages"],
}

# Libraries that are fenced in, and the files or folders that may include them.
FENCES = {
    "torch": (r"(torch|ATen|c10|caffe2)/", ["trainer/"]),
    "MPI": (r"mpi\.h$", ["trainer/parallel/"]),
    "NCCL and CUDA": (r"(nccl|cuda\w*)\.h$|.*/cuda/", ["trainer/parallel/"]),
    "SQLite": (r"sqlite3\.h$", ["coordinator/store/checksum_vfs.cc", "coordinator/store/sqlite.h"]),
    "PostgreSQL": (r"libpq-fe\.h$", ["coordinator/store/postgres.h"]),
    "prometheus-cpp": (r"prometheus/", ["services/common/metrics/metrics.cc"]),
    "yaml-cpp": (r"yaml-cpp/", ["services/common/job_file/yaml_tree.cc"]),
    "OpenSSL": (r"openssl/", ["services/common/base/hmac.cc", "services/common/base/sha256.cc",
                              "services/common/remote/download.cc", "services/common/rpc/certificates.cc",
                              "coordinator/access/public_key.cc"]),
    "libcurl": (r"curl/", ["services/common/remote/http_client.cc"]),
    "TinyXML-2": (r"tinyxml2\.h$", ["services/common/remote/s3_files.cc", "services/common/remote/upload.cc"]),
    "zlib and Zstandard": (r"(zlib|zstd)\.h$", ["trainer/data/data_decoder.cc"]),
    "libsndfile": (r"sndfile\.h$", ["trainer/data/audio/clip_reader.cc"]),
    "Arrow": (r"(arrow|parquet)/(?!checked_file|parquet_decoder|parquet_rows)", ["trainer/data/parquet/parquet_module.cc"]),
    "CLI11": (r"CLI/", ["services/cli/", "services/common/programs/man_page.h", "services/common/rpc/security_flags.h",
                        "services/worker/worker_options.cc", "coordinator/main/", "trainer/main.cc"]),
}

# Headers that a part must not reach, not even through a header that it includes: a pattern, and the folders in which
# it is refused.
REFUSALS = {
    "gRPC": (r"grpc(pp)?/|.*\.grpc\.pb\.h$|services/common/rpc/",
             ["coordinator/job/", "coordinator/schedule/", "coordinator/store/"]),
    "torch": (r"(torch|ATen|c10|caffe2)/", ["trainer/report/"]),
    "the report": (r"trainer/report/", ["trainer/training/"]),
}

# No clock, socket, disk or thread inside.
PURE = ("coordinator/job", "coordinator/schedule")
IMPURE_HEADERS = re.compile(r"(grpcpp/|thread$|mutex$|condition_variable$|fstream$|filesystem$|unistd\.h$|sys/)")


def sources():
    for part in PARTS:
        for file in sorted((REPOSITORY / part).rglob("*")):
            if file.suffix in (".cc", ".h", ".in"):
                yield file.relative_to(REPOSITORY).as_posix(), INCLUDE.findall(file.read_text())


def reached(file, includes):
    """Every header that the file sees, with the headers that those of this repository include."""
    seen, waiting = set(), [file]
    while waiting:
        new = set(includes.get(waiting.pop(), ())) - seen
        seen |= new
        waiting += new
    return seen


def part_of(path):
    """The longest part whose name is the file's path or begins it; the file's folder where there is none."""
    fitting = [part for part in EDGES if path == part or path.startswith((part + "/", part + "."))]
    return max(fitting, key=len, default=str(pathlib.PurePath(path).parent))


class IncludeEdges(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sources = list(sources())
        assert len(cls.sources) > 100, "found no sources"

    def found_edges(self):
        return {(part_of(file), part_of(header)) for file, headers in self.sources for header in headers
                if header.split("/")[0] in PARTS}

    def test_are_those_of_the_table(self):
        found = {(part, needed) for part, needed in self.found_edges() if needed not in (part, "services/common/base")}
        table = {(part, needed) for part, needs in EDGES.items() for needed in needs}
        self.assertEqual(sorted(found - table), [], "new edges between parts")
        self.assertEqual(sorted(table - found), [], "edges of the table that are gone")

    def test_name_every_folder_of_the_source(self):
        self.assertEqual({part_of(file) for file, _ in self.sources} - set(EDGES), set())

    def test_form_no_circle(self):
        needs = {part: set(needed) for part, needed in EDGES.items()}
        while needs:
            free = [part for part, needed in needs.items() if not needed & set(needs)]
            self.assertTrue(free, f"a circle among {sorted(needs)}")
            for part in free:
                del needs[part]

    def test_never_join_coordinator_worker_cli_and_trainer(self):
        programs = ("coordinator/", "services/worker", "services/cli", "trainer/")
        owner = lambda part: next((program for program in programs if part.startswith(program)), None)
        joined = [(a, b) for a, b in self.found_edges() if owner(a) and owner(b) and owner(a) != owner(b)]
        self.assertEqual(joined, [])

    def test_keep_every_library_behind_its_fence(self):
        for library, (pattern, places) in FENCES.items():
            with self.subTest(library):
                users = [file for file, headers in self.sources if any(re.match(pattern, header) for header in headers)]
                self.assertTrue(users, "nobody uses it any more; remove the fence")
                self.assertEqual([file for file in users if not file.startswith(tuple(places))], [])

    def test_reach_nothing_that_is_refused_to_them(self):
        includes = dict(self.sources)
        for refused, (pattern, folders) in REFUSALS.items():
            with self.subTest(refused):
                files = [file for file in includes if file.startswith(tuple(folders))]
                self.assertEqual([folder for folder in folders if not any(f.startswith(folder) for f in files)], [])
                found = [(file, header) for file in files for header in sorted(reached(file, includes))
                         if re.match(pattern, header)]
                self.assertEqual(found, [])

    def test_write_sql_in_the_stores_only(self):
        sql = re.compile(r"\b(SELECT .* FROM|INSERT INTO|CREATE TABLE|DELETE FROM|UPDATE \w+ SET)\b")
        users = [file for file, _ in self.sources if sql.search((REPOSITORY / file).read_text())]
        # What all stores do alike, then each one's own.
        self.assertEqual(sorted(users), [f"coordinator/store/{name}.cc" for name in (
            "commit_commands", "job_lister", "postgres_job_store", "postgres_lease", "sql_job_store", "sqlite_job_store")])

    def test_keep_the_pure_parts_free_of_input_and_output(self):
        impure = [(file, header) for file, headers in self.sources if part_of(file) in PURE for header in headers
                  if IMPURE_HEADERS.match(header)]
        self.assertEqual(impure, [])

    def test_start_at_the_root_of_the_repository(self):
        outside = [(file, header) for file, headers in self.sources for header in headers
                   if header.startswith((".", "src/")) or "../" in header]
        self.assertEqual(outside, [])

    def test_precompile_only_headers_of_libraries(self):
        """A compiler cache may hand the precompiled header of one checkout to another one. The compiler then takes the
        repository's own headers, which it knows by the first checkout's paths, for other files and reads them twice."""
        listed = re.compile(r"target_precompile_headers\(\w+ (?:PRIVATE|PUBLIC|INTERFACE) ([^)]*)\)")
        files = [*REPOSITORY.glob("cmake/*.cmake"), *(file for folder in (*PARTS, "tests")
                                                      for file in (REPOSITORY / folder).rglob("CMakeLists.txt"))]
        headers = [(file.name, header) for file in files
                   for found in listed.findall(file.read_text()) for header in found.split()]
        self.assertTrue(headers, "found no precompiled headers")
        own = [(file, header) for file, header in headers if not re.fullmatch(r"<[^<>]+>", header)
               or header[1:].startswith((*(f"{part}/" for part in PARTS), "tests/", "regroup/"))]
        self.assertEqual(own, [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
