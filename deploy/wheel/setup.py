"""Tags the wheel for this platform and for every Python 3, because it holds a program and no extension module."""

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel


class DistributionOfAProgram(Distribution):
    """A distribution that goes into the folder of packages for one platform."""

    def has_ext_modules(self) -> bool:
        """Returns true, which is how setuptools learns of machine code."""
        return True


class WheelOfAProgram(bdist_wheel):
    """A wheel that serves every Python 3 of one platform."""

    def get_tag(self) -> tuple[str, str, str]:
        """Returns Python, ABI and platform."""
        return "py3", "none", super().get_tag()[2]


setup(distclass=DistributionOfAProgram, cmdclass={"bdist_wheel": WheelOfAProgram})
