"""The training kit: scenes, their captions, the recogniser and scorer, the optimiser, runs that go on."""

import dataclasses
import random

import numpy as np
import pytest
import torch
from sd_concord.harness import cli
from sd_concord.harness.pipeline import DEMO, Pipeline
from sd_concord.harness.train import captions, diffusion, latents, muon, run, score, vocabulary
from sd_concord.harness.train.draw import draw
from sd_concord.harness.train.networks import make_vae
from sd_concord.harness.train.recognise import recognise
from sd_concord.harness.train.scenes import COLOURS, SHAPES, SIZE, Item, Mix, Scene, mirrored, random_scene


def scenes(count, seed=0, **mix):
    rng = random.Random(seed)
    return [random_scene(rng, Mix(**mix)) for _ in range(count)]


def item(kind="circle", colour="red", x=64, y=64, radius=20, **more):
    return Item(kind=kind, colour=colour, size="", x=x, y=y, radius=radius, **more)


def scene(*items, background="white", style=""):
    return Scene(items=items, background=background, style=style)


def test_scenes_are_the_same_for_the_same_seed():
    assert scenes(20) == scenes(20)


def test_items_lie_within_the_picture_and_apart():
    for one in scenes(200):
        for i, a in enumerate(one.items):
            assert a.radius < a.x < SIZE - a.radius
            assert a.radius < a.y < SIZE - a.radius
            for b in one.items[:i]:
                assert max(abs(a.x - b.x), abs(a.y - b.y)) > a.radius + b.radius


def test_drawing_is_repeatable_and_noise_follows_its_seed():
    noisy = scene(item(), style="noisy")
    assert np.array_equal(draw(noisy, 1), draw(noisy, 1))
    assert not np.array_equal(draw(noisy, 1), draw(noisy, 2))


def test_a_mirrored_scene_draws_the_mirrored_picture():
    one = scene(item("triangle", x=40), item("circle", "blue", x=90))
    assert np.abs(draw(mirrored(one)).astype(int) - draw(one)[:, ::-1]).mean() < 1


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("radius", [10, 16, 30])
def test_every_shape_is_recognised(kind, radius):
    for colour in COLOURS:
        background = "gray" if colour in {"white", "black"} else "white"
        [found] = recognise(draw(scene(item(kind, colour, radius=radius), background=background)))
        assert (found.kind, found.colour) == (kind, colour)
        assert abs(found.x - 64) < 3
        assert abs(found.y - 64) < 4


@pytest.mark.parametrize("skin", range(3))
@pytest.mark.parametrize("radius", [8, 16, 30])
def test_a_face_is_recognised_with_its_hair(skin, radius):
    picture = draw(scene(item("face", "green", radius=radius, skin=skin)))
    assert [(f.kind, f.colour) for f in recognise(picture)] == [("face", "green")]


def test_an_empty_picture_shows_nothing():
    assert recognise(draw(scene())) == []


def test_the_true_pictures_score_full_marks():
    todo = score.tasks(64)
    pictures = {task.prompt: draw(task.scene) for task in todo}
    marks = score.summary([score.mark(task, pictures[task.prompt]) for task in todo])
    assert marks.pop("stray") == 0
    assert set(marks.values()) == {1.0}


@pytest.mark.parametrize(
    ("change", "lower"),
    [
        ({"colour": "purple"}, {"one_object", "colour"}),
        ({"kind": "cross"}, {"one_object"}),
    ],
    ids=["another colour", "another shape"],
)
def test_wrong_pictures_lose_marks(change, lower):
    todo = [t for t in score.tasks(120) if t.kind == "one_object" and t.scene.background != "purple"]
    wrong = [
        dataclasses.replace(t.scene, items=(dataclasses.replace(t.scene.items[0], **change),)) for t in todo
    ]
    marks = score.summary([score.mark(t, draw(w)) for t, w in zip(todo, wrong, strict=True)])
    for name in lower:
        assert marks[name] < 0.5


def test_the_wrong_order_loses_marks():
    todo = [t for t in score.tasks(120) if t.kind == "order" and "of" in t.prompt]
    marks = score.summary([score.mark(t, draw(mirrored(t.scene))) for t in todo])
    assert marks["order"] < 0.1


def test_captions_name_every_item():
    rng = random.Random(0)
    for one in scenes(200):
        text = captions.caption(one, rng)
        for thing in one.items:
            assert thing.kind in text
            assert thing.colour in text


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ((30, 64), (90, 70), "left of"),
        ((90, 64), (30, 70), "right of"),
        ((64, 30), (70, 90), "above"),
        ((64, 90), (70, 30), "below"),
    ],
)
def test_relations(a, b, words):
    assert captions.relation(item(x=a[0], y=a[1]), item(x=b[0], y=b[1])) == words


def test_every_word_of_a_plain_caption_has_a_row():
    tokens = set(vocabulary.known_tokens())
    tokenizer = vocabulary.clip_tokenizer()
    rng = random.Random(0)
    wording = captions.Wording(junk=0, long=0)
    for one in scenes(200, styles=0.5):
        text = captions.caption(one, rng, wording).replace("BREAK", "")
        assert tokens >= set(tokenizer.encode(text)), text


def test_unknown_tokens_share_the_last_row():
    rows = vocabulary.row_of([5, 9], size=12)
    assert rows.tolist() == [2, 2, 2, 2, 2, 0, 2, 2, 2, 1, 2, 2]


def test_orthogonalise_gives_singular_values_near_one():
    matrix = torch.randn(24, 60, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(muon.orthogonalise(matrix))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_muon_learns_a_linear_map():
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(6, 4)
    wanted = torch.randn(4, 6, generator=generator)
    optimiser = muon.Muon(*muon.split_parameters([layer]), lr=0.05)
    x = torch.randn(64, 6, generator=generator)
    for _ in range(400):
        loss = (layer(x) - x @ wanted.T).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.01


def test_a_run_goes_on_where_it_was_stopped(tmp_path):
    def make():
        torch.manual_seed(0)
        layer = torch.nn.Linear(2, 1)
        optimiser = muon.Muon(*muon.split_parameters([layer]), lr=0.01)
        return (
            layer,
            run.Run(tmp_path, "toy", 6, {"layer": layer, "optimiser": optimiser}, {}, every=1),
            optimiser,
        )

    def step(layer, optimiser):
        optimiser.zero_grad()
        layer(torch.ones(1, 2)).square().sum().backward()
        optimiser.step()

    layer, training, optimiser = make()
    for i in training:
        step(layer, optimiser)
        training.report(loss=1.0)
        if i == 2:
            training.step += 1
            training.save()
            break
    layer, training, optimiser = make()
    rest = []
    for i in training:
        rest.append(i)
        step(layer, optimiser)
        training.report(loss=1.0)
    assert rest == [3, 4, 5]
    assert len((tmp_path / "toy.jsonl").read_text().splitlines()) == 6
    (tmp_path / "toy.pt").unlink()
    straight, training, optimiser = make()
    for _ in training:
        step(straight, optimiser)
    assert torch.equal(straight.weight, layer.weight)


def test_the_scale_is_folded_into_the_vae():
    torch.manual_seed(0)
    vae = make_vae().eval()
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        before, picture = vae.encode(x).latent_dist, vae.decode(vae.encode(x).latent_dist.mean).sample
        latents.settle_scale(vae, 0.5)
        after = vae.encode(x).latent_dist
        again = vae.decode(after.mean).sample
    torch.testing.assert_close(after.mean * 0.18215, before.mean * 0.5)
    torch.testing.assert_close(after.std * 0.18215, before.std * 0.5)
    torch.testing.assert_close(again, picture, atol=1e-5, rtol=1e-4)


def test_captions_fill_up_to_four_chunks_and_faces_are_from_12_to_64_pixels_high():
    rng = random.Random(0)
    wording = dataclasses.replace(captions.USUAL, long=1.0, breaks=0.0)
    counts = {captions.caption(one, rng, wording).count("BREAK") + 1 for one in scenes(100)}
    assert counts == {2, 3, 4}
    heights = [2 * one.radius for s in scenes(3000, faces=1.0) for one in s.items]
    assert 12 <= min(heights) < 13
    assert 64 < max(heights) <= 68


def test_zero_terminal_snr_ends_without_signal_and_begins_as_before():
    plain, zero = diffusion.alphas_cumprod(), diffusion.alphas_cumprod(zero_snr=True)
    assert zero[-1] == 0
    assert zero[0] == pytest.approx(plain[0].item(), rel=1e-6)
    assert (zero[1:] < zero[:-1]).all()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_loss_weights_are_finite_wherever_they_are_used(prediction):
    alpha_bar = diffusion.alphas_cumprod(zero_snr=prediction == "v_prediction")
    weight = diffusion.loss_weight(alpha_bar, prediction)
    assert weight.isfinite().all()
    assert (weight > 0).all()


def test_a_sibling_with_v_prediction_is_made_from_the_embedded_model(tmp_path, capsys):
    """The recipe of the v-prediction, zero-terminal-SNR sibling, with two steps instead of a thousand."""
    folder, out = tmp_path / "training", tmp_path / "sibling"
    folder.mkdir()
    torch.save(torch.randn(8, 4, 16, 16).half(), folder / "latents-0.pt")
    sets = ["steps=2", "batch=2", "prediction=v_prediction", "zero_snr=true", f"start={DEMO}"]
    given = [word for text in sets for word in ("--set", text)]
    assert cli.main(["train", "unet", "--folder", str(folder), *given]) == 0
    assert cli.main(["train", "export", "--folder", str(folder), "--out", str(out)]) == 0
    pipeline = Pipeline.load(out)
    assert pipeline.model.sigmas.sigma_max > 1000
    assert pipeline.model.prediction == "v"
    [picture] = pipeline("a red circle", steps=4, seed=0, scheduler="sgm_uniform")
    assert picture.image.std() > 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("zero_snr=2", "--set zero_snr is '2'; pass true or false"),
        ("steps=abc", "--set steps is 'abc'; pass a whole number"),
        ("prediction=v", "unknown prediction 'v'"),
        ("start=/nowhere", "there is no model in /nowhere"),
        ("steps=1", "there are no latents in"),
    ],
)
def test_training_that_cannot_be_is_refused_in_a_line(tmp_path, capsys, text, words):
    assert cli.main(["train", "unet", "--folder", str(tmp_path), "--set", text]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert words in line
