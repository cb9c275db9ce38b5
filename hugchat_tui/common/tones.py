"""The few tones that drawn text uses, as style strings over the theme's colours.

Not $text-muted and its kin: those are "auto" colours, whose share of opacity is lost in a Content span.
"""

from __future__ import annotations

MUTED = "$foreground 70%"
FAINT = "$foreground 50%"
ACCENT = "$text-primary"
STRONG = "bold $foreground"
MATCH = "bold $text-accent"
GOOD = "$text-success"
WARN = "$text-warning"
BAD = "$text-error"
