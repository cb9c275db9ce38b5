"""What fine-tuning can fail with, besides what the engine can."""

from __future__ import annotations

from engine.errors import EngineError


class SftError(EngineError):
    """Base of what sft raises: `message` says what happened and why, `hint` what to do next."""

    code = "sft"
