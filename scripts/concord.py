"""All that A1111, Forge and reForge load: the folder, under any name, becomes the package ``sd_concord``."""

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

for name in [name for name in sys.modules if name.partition(".")[0] == "sd_concord"]:
    del sys.modules[name]  # "Reload UI" runs this file again, and the code on disk may be newer
spec = spec_from_file_location("sd_concord", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
if spec is None or spec.loader is None:
    raise ImportError(f"{ROOT} is not Concord's folder; scripts/concord.py belongs there")
sys.modules["sd_concord"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["sd_concord"])
for script in import_module("sd_concord.a1111_scripts").register():
    globals()[script.__name__] = script  # where the host looks for the classes of its scripts
