"""The few tones that drawn text uses, as style strings over the theme's colours.

Not $text-muted and its kin: those are "auto" colours, whose share of opacity is lost in a Content span.
"""

from __future__ import annotations

MUTED = "$foreground 75%"
FAINT = "$foreground 62%"  # less cannot be read in every theme
ACCENT = "$text-primary"
STRONG = "bold $foreground"
MATCH = "bold $text-accent"
GOOD = "$text-success"
WARN = "$text-warning"
BAD = "$text-error"
