"""One command in a process of its own, that ends when the process that asked for it does.

A parent that is killed closes its end of the pipe; without this its children would go on writing beside the next one's.
"""

from __future__ import annotations

import os
import threading


def _watch() -> None:
    os.read(0, 1)  # not through sys.stdin, whose lock Python wants to have when it ends
    os._exit(130)


if __name__ == "__main__":
    threading.Thread(target=_watch, daemon=True).start()
    from ..cli import main

    main()
