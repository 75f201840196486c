"""The pack as ComfyUI loads it."""

import re

import pytest
from comfy_host import PACK, Graph

pytestmark = pytest.mark.hosts
UNWANTED = {"diffusers", "sd_concord", "ultralytics"}


@pytest.fixture(scope="module")
def modules(comfy):
    """The names of all modules in the server."""
    graph = Graph()
    node = graph.add("ConcordProbeModules")
    return comfy.queue(graph).outputs[node.id]["text"]


def start_of_log(comfy):
    """Return what was said before the server took its first graph."""
    return comfy.log().partition("To see the GUI go to")[0]


def test_it_is_loaded_without_error(comfy):
    # how long it takes is measured in test_comfy_samplers, in time of the processor
    [failed] = re.findall(rf"[\d.]+ seconds( \(.*FAILED\))?: \S*{PACK}\s", start_of_log(comfy))
    assert not failed


def test_the_log_speaks_of_no_trouble_with_it(comfy):
    assert not [
        line
        for line in start_of_log(comfy).splitlines()
        if PACK in line and not re.match(r" *[\d.]+ seconds: ", line)
    ]


def test_its_nodes_were_asked_for(modules):
    assert any(name.endswith(f"{PACK}.comfy_nodes") for name in modules)


def test_it_imports_no_heavy_party_and_nothing_under_its_own_installed_name(modules):
    assert not UNWANTED & {name.partition(".")[0] for name in modules}


def test_a_graph_with_an_unknown_sampler_is_refused_with_the_reason(comfy, checkpoints):
    graph = Graph()
    graph.sample(
        graph.add("CheckpointLoaderSimple", ckpt_name=checkpoints[0]), "a cat", sampler_name="no_such_sampler"
    )
    with pytest.raises(RuntimeError, match="value_not_in_list"):
        comfy.queue(graph)
