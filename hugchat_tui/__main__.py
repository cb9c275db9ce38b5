"""`python -m hugchat_tui` is `hugchat`."""

import sys

from hugchat_tui.cli import main

sys.exit(main())
