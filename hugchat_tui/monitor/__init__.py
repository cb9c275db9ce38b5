"""The training mode: launch form, run list, live charts, samples, alerts."""
