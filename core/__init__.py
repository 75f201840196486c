"""The core: prompts, schedules, samplers, detailer and records. It knows no host and no user interface."""
