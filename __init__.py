"""Concord: one prompt, one picture, in ComfyUI, A1111, Forge, reForge and on the command line.

Nothing is imported here until a host asks: pytest imports this file too, from a folder whose name may be no
identifier, and so does every process that wants only a part of the package.
"""

WEB_DIRECTORY = "./comfy_nodes/web"
"""Where ComfyUI finds what its page loads."""


async def comfy_entrypoint() -> object:
    """Return the ``ComfyExtension`` that holds the nodes; ComfyUI calls this when it loads the folder."""
    from .comfy_nodes import extension  # noqa: PLC0415

    return extension()
