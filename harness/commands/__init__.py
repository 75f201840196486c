"""The subcommands of `sd-concord`: each module has `add_arguments(parser)` and `run(args) -> int`."""
