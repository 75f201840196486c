"""The one thing pyproject.toml cannot say: of the root's modules only ``__init__`` belongs to the package."""

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPy(build_py):
    """Leave install.py and this file, which lie beside ``__init__``, out of the wheel."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Return ``(package, module, file)`` of each module of ``package``."""
        modules = super().find_package_modules(package, package_dir)
        return modules if "." in package else [found for found in modules if found[1] == "__init__"]


setup(cmdclass={"build_py": BuildPy})
