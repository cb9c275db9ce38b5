"""`hugchat` whose workers are scripted: for tests in a terminal."""

from __future__ import annotations

import sys
from functools import partial

from engine import pool

pool.EnginePool = partial(pool.EnginePool, session="scripted_chat")  # type: ignore[misc,assignment]

from hugchat_tui.cli import main  # noqa: E402

sys.exit(main())
