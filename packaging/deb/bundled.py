"""Prints which works of others the package holds, each with its version, its licence and where the text is.

Owns the second part of the package's copyright file. Reads the metadata in a folder of installed packages; the second
argument is where that folder will be.
"""

import sys
from importlib.metadata import Distribution
from pathlib import Path

OWN = "codeq"


def licence(distribution: Distribution) -> str:
    """What the metadata calls the licence: an SPDX expression where there is one."""
    metadata = distribution.metadata
    classifiers = [line for line in metadata.get_all("Classifier") or [] if line.startswith("License :: ")]
    words = metadata["License-Expression"] or (classifiers[-1].rpartition(" :: ")[2] if classifiers else "")
    return words or (metadata["License"] or "see there").splitlines()[0]


def main(folder: str, installed: str) -> None:
    """Print two lines for each."""
    for path in sorted(Path(folder).glob("*.dist-info")):
        distribution = Distribution.at(path)
        if distribution.metadata["Name"] != OWN:
            print(f"  {distribution.metadata['Name']} {distribution.version}: {licence(distribution)}")
            print(f"    {installed}/{path.name}")


main(*sys.argv[1:])
