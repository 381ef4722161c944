"""Makes one file of what two Python environments hold alike, by hard links: torch and its libraries are 5 GB in each.

    share.py FOLDER OTHER…
"""

import filecmp
import os
import sys
from pathlib import Path

# Below this a link saves nothing worth the comparison.
SMALLEST = 1 << 20


def share(folder: Path, others: list[Path]) -> int:
    """Bytes that are held once and not twice afterwards."""
    saved = 0
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file() or path.stat().st_size < SMALLEST:
            continue
        for other in others:
            twin = other / path.relative_to(folder)
            if twin.is_symlink() or not twin.is_file() or not filecmp.cmp(path, twin, shallow=False):
                continue
            if not path.samefile(twin):
                link = path.with_name(path.name + ".shared")
                os.link(twin, link)
                os.replace(link, path)
                saved += path.stat().st_size
            break
    return saved


if __name__ == "__main__":
    print(share(Path(sys.argv[1]), [Path(other) for other in sys.argv[2:]]))
