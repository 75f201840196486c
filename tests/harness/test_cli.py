"""The command line as a user meets it: what it prints, writes and returns, for right and wrong input."""

import subprocess
import sys

import pytest
from PIL import Image
from sd_concord.core.image import read_image_info
from sd_concord.harness.cli import main


@pytest.fixture
def run(capsys):
    def run(*words):
        code = main([*map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_generate_writes_a_picture_that_says_how_it_was_made(run, tmp_path):
    out = tmp_path / "picture.png"
    code, said, _ = run(
        "generate", "a red circle", "-n", "blurry", "--steps", 3, "--seed", 5, "--out", out, "-q"
    )
    assert code == 0
    assert said.strip() == str(out.resolve())
    assert Image.open(out).size == (128, 128)
    record = read_image_info(out)
    assert (record.prompt, record.negative_prompt, record.steps, record.seed) == (
        "a red circle",
        "blurry",
        3,
        5,
    )


def test_the_same_seed_gives_the_same_file(run, tmp_path):
    for name in ("a.png", "b.png"):
        run("generate", "a red circle", "--steps", 3, "--seed", 5, "--out", tmp_path / name, "-q")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_batches_are_numbered_and_seeds_counted_up(run, tmp_path):
    out = tmp_path / "p.png"
    _, said, _ = run(
        "generate", "a ring", "--steps", 2, "--seed", 7, "--batch", 2, "--count", 2, "--out", out, "-q"
    )
    names = [line.rsplit("/", 1)[-1].rsplit("\\", 1)[-1] for line in said.split("\n") if line]
    assert names == ["p-1.png", "p-2.png", "p-3.png", "p-4.png"]
    assert [read_image_info(tmp_path / name).seed for name in names] == [7, 8, 9, 10]


def test_a_folder_is_filled_with_numbered_pictures(run, tmp_path):
    for _ in range(2):
        run("generate", "a ring", "--steps", 1, "--seed", 7, "--out", tmp_path / "new", "-q")
    assert len(list((tmp_path / "new").glob("*.png"))) == 2


def test_a_preview_is_written_on_the_way(run, tmp_path):
    preview = tmp_path / "preview.png"
    words = ("--preview", preview, "--preview-every", 1)
    run("generate", "a ring", "--steps", 2, "--out", tmp_path / "p.png", "-q", *words)
    assert Image.open(preview).size == (128, 128)


def test_ctrl_c_keeps_what_is_finished(run, tmp_path, monkeypatch):
    from sd_concord.harness.pipeline import Pipeline

    generate, calls = Pipeline.generate, []

    def interrupted(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return generate(self, *args, **kwargs)

    monkeypatch.setattr(Pipeline, "generate", interrupted)
    code, said, err = run("generate", "a ring", "--steps", 1, "--count", 3, "--out", tmp_path / "p.png", "-q")
    assert code == 130
    assert "stopped" in err
    assert said.strip().endswith("p-1.png")
    assert (tmp_path / "p-1.png").exists()


def _truncated(tmp_path):
    path = tmp_path / "cut.safetensors"
    path.write_bytes((1 << 20).to_bytes(8, "little") + b'{"a":')
    return path


def _text(tmp_path):
    path = tmp_path / "page.safetensors"
    path.write_text("<!DOCTYPE html><html></html>")
    return path


def _folder_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "below"


BAD = {
    "unknown sampler": (lambda _: ["--sampler", "dpmpp_2n"], "did you mean dpmpp_2m"),
    "unknown scheduler": (lambda _: ["--scheduler", "karas"], "did you mean karras"),
    "no such model": (lambda _: ["--model", "nowhere.safetensors"], "nowhere.safetensors"),
    "truncated model": (lambda folder: ["--model", _truncated(folder)], "cut.safetensors"),
    "not a checkpoint": (lambda folder: ["--model", _text(folder)], "page.safetensors"),
    "size": (lambda _: ["--size", "100x128"], "multiples of 8"),
    "steps": (lambda _: ["--steps", "0"], "--steps is 0; pass 1 or more"),
    "batch": (lambda _: ["--batch", "0"], "--batch is 0; pass 1 or more"),
    "unwritable": (lambda folder: ["--out", _folder_below_a_file(folder)], "name another place with --out"),
    "no such folder": (lambda _: ["--lora-dir", "nowhere"], "--lora-dir nowhere is not a folder"),
    "device": (lambda _: ["--device", "abacus"], "abacus"),
    "dtype": (lambda _: ["--dtype", "float31"], "did you mean float32"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_that_says_what_to_do(run, tmp_path, case):
    make, words = BAD[case]
    code, _, err = run("generate", "a ring", "--out", tmp_path, "-q", *make(tmp_path))
    assert code == 1
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err


def test_a_missing_lora_is_a_warning_and_the_picture_is_made(run, tmp_path):
    out = tmp_path / "p.png"
    code, _, err = run("generate", "a ring <lora:gone:1>", "--steps", 1, "--out", out, "-q")
    assert code == 0
    assert err.startswith("warning: LoRA 'gone' is not there")
    assert out.exists()


def test_debug_shows_the_traceback(tmp_path):
    words = ["generate", "a ring", "--debug", "--size", "9x9", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "sd_concord.harness.cli", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_bench_prints_figures(run):
    code, said, _ = run("bench", "denoise-loop", "--json")
    assert code == 0
    assert "outside_unet" in said


def test_an_unknown_benchmark_is_refused(run):
    code, _, err = run("bench", "denoise-lop")
    assert code == 1
    assert "did you mean denoise-loop" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["generate", "a ring", "--steps", "many"], "invalid int value: 'many'"),
        (["generate", "a ring", "--size", "large"], "'large' is no size; write 512 or 512x768"),
        (["generate"], "the following arguments are required: prompt"),
        (["paint"], "invalid choice: 'paint'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line(capsys, words, said):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    err = capsys.readouterr().err
    assert stopped.value.code == 2
    assert err.count("\n") == 1
    assert said in err
    assert "--help" in err


def test_names_are_checked_before_the_model_is_loaded(run, tmp_path):
    _, _, err = run(
        "generate", "a ring", "--sampler", "eule", "--model", tmp_path / "none", "--out", tmp_path
    )
    assert "unknown sampler 'eule'" in err


def test_the_readme_has_every_option_of_generate():
    import argparse
    from pathlib import Path

    from sd_concord.harness.commands import generate

    parser = argparse.ArgumentParser(add_help=False)
    generate.add_arguments(parser)
    options = {name for action in parser._actions for name in action.option_strings if name.startswith("--")}
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert {name for name in options if f"`{name}" not in readme and f" {name}" not in readme} == set()


def test_wildcards_choose_by_seed_and_the_template_is_kept(run, tmp_path):
    pytest.importorskip("dynamicprompts")
    (tmp_path / "colour.txt").write_text("red\ngreen\nblue\nyellow\n")
    template = "a __colour__ {circle|square|star}"
    words = ("--steps", 1, "--seed", 4, "--batch", 4, "--wildcard-dir", tmp_path, "-q")
    run("generate", template, "--out", tmp_path / "a.png", *words)
    run("generate", template, "--out", tmp_path / "b.png", *words)
    first = [read_image_info(tmp_path / f"a-{i}.png") for i in range(1, 5)]
    second = [read_image_info(tmp_path / f"b-{i}.png") for i in range(1, 5)]
    assert first == second
    assert {record.template for record in first} == {template}
    assert len({record.prompt for record in first}) > 1
    assert [record.seed for record in first] == [4, 5, 6, 7]
    assert not any(sign in record.prompt for record in first for sign in "_{")


def test_styles_are_merged_into_both_prompts(run, tmp_path):
    styles = tmp_path / "styles.csv"
    styles.write_text('name,prompt,negative_prompt\nteal,"{prompt} on a teal background",blurry\n')
    out = tmp_path / "p.png"
    run("generate", "a ring", "--steps", 1, "--style", "teal", "--styles-file", styles, "--out", out, "-q")
    record = read_image_info(out)
    assert (record.prompt, record.negative_prompt) == ("a ring on a teal background", "blurry")
    code, _, err = run("generate", "a ring", "--style", "teel", "--styles-file", styles, "--out", out)
    assert code == 1
    assert "did you mean teal" in err


def test_emphasis_changes_the_picture_and_is_recorded(run, tmp_path):
    for mode in ("Original", "Ignore"):
        words = ("--emphasis", mode, "--steps", 3, "--seed", 1, "--out", tmp_path / f"{mode}.png", "-q")
        run("generate", "a red circle and (a blue square:1.6)", *words)
    assert (tmp_path / "Original.png").read_bytes() != (tmp_path / "Ignore.png").read_bytes()
    assert read_image_info(tmp_path / "Ignore.png").emphasis == "Ignore"


def test_braces_are_text_unless_wildcards_are_asked_for(run, tmp_path):
    run("generate", "a {ring}", "--steps", 1, "--out", tmp_path / "p.png", "-q")
    assert read_image_info(tmp_path / "p.png").prompt == "a {ring}"
