"""Generates the messages and stubs of regroup.v1 from the repository's proto files while the package is built."""

import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).resolve().parent
# The services that a client calls, and the reasons of their errors. Each file must come with those that it imports.
PROTOS = [f"regroup/v1/{name}.proto" for name in ("job", "plan", "job_service", "cluster_service", "error_reason")]
LICENSE = "LICENSE"


def repository_file(name: str) -> pathlib.Path:
    """Returns a file that lies beside this folder in the repository, and in this folder in a source distribution."""
    return next(path for path in (HERE / name, HERE.parent / name) if path.exists())


def generate(target: pathlib.Path) -> None:
    """Writes the modules below `target`/regroup/v1."""
    import grpc_tools
    from grpc_tools import protoc

    standard = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    outputs = [f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python")]
    status = protoc.main(["protoc", f"-I{repository_file('proto')}", f"-I{standard}", *outputs, *PROTOS])
    if status != 0:
        raise RuntimeError(f"protoc ended with status {status}")
    (target / "regroup/v1/__init__.py").write_text('"""Messages and stubs, generated from proto/regroup/v1."""\n')


class BuildWithStubs(build_py):
    """Adds the generated modules to the built package."""

    def run(self) -> None:
        """Builds the package."""
        super().run()
        generate(HERE / "src" if self.editable_mode else pathlib.Path(self.build_lib).resolve())


class SourceWithProtos(sdist):
    """Adds the proto files and the licence, which lie outside of this folder in the repository."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Makes the folder that is packed."""
        super().make_release_tree(base_dir, files)
        for name in (LICENSE, *(f"proto/{proto}" for proto in PROTOS)):
            target = pathlib.Path(base_dir, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(repository_file(name), target)


setup(cmdclass={"build_py": BuildWithStubs, "sdist": SourceWithProtos})
