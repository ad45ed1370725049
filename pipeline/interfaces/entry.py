"""The program `indexctl`: what is asked for at a TAB is answered before the commands are loaded.

Belongs here: that choice. Not here: the commands (`main`), completing (`completing`).
"""

from __future__ import annotations

import os
import sys


def program() -> None:
    """The process `indexctl`."""
    shell = os.environ.get("_INDEXCTL_COMPLETE")
    if shell is not None:
        from pipeline.interfaces import completing

        completing.main(shell, sys.argv[1:])
        return
    from pipeline.interfaces import main

    main.program()
