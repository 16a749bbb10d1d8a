"""Pictures are pure functions of the scene, and show what the scene says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rt2data.demo.camera import VIEWS, axes, project, rays
from rt2data.demo.render import render, visible
from rt2data.demo.scene import COLORS, Gripper, Scene, Shape, Thing, rest_height, support_of
from rt2data.demo.shapes import hull_of, parts
from rt2data.demo.solids import Ball, Box, Cylinder, Shell, Solid, Tube

MIDDLE = Thing("ball", "red", 0.30, 0.0)
SCENE = Scene((MIDDLE, Thing("bowl", "blue", 0.32, 0.12), Thing("mug", "yellow", 0.25, -0.12)), gripper=Gripper(0.3, 0.0, 0.15))


def test_picture_is_rgb_and_always_the_same() -> None:
    picture = render(SCENE)
    assert picture.shape == (256, 256, 3)
    assert picture.dtype == np.uint8
    for k in range(300):  # whatever was drawn and cached between
        render(replace(SCENE, things=(replace(MIDDLE, x=0.2 + k * 1e-4),)), 16)
    np.testing.assert_array_equal(render(SCENE), picture)


@pytest.mark.parametrize("color", sorted(COLORS))
def test_a_ball_has_its_colour_and_no_other(color: str) -> None:
    shown = {name: _ball_color(name) for name in COLORS}
    distances = {name: float(np.linalg.norm(shown[name] - shown[color])) for name in COLORS if name != color}
    assert min(distances.values()) > 35, distances
    if color != "black":  # its highlight is gray
        assert np.linalg.norm(_chroma(shown[color]) - _chroma(np.array(COLORS[color], float))) < 0.08


def _ball_color(color: str) -> np.ndarray:
    """Median colour of the middle of a ball."""
    picture = render(Scene((Thing("ball", color, 0.30, 0.0),)))
    across, down = project(VIEWS["front"], np.array([[0.30, 0.0, 0.027]]), 256)[0].astype(int)
    found: np.ndarray = np.median(picture[down - 4 : down + 5, across - 4 : across + 5].reshape(-1, 3), axis=0)
    return found


def _chroma(color: np.ndarray) -> np.ndarray:
    linear = (color / 255) ** 2.2
    found: np.ndarray = linear / (linear.sum() + 0.05)
    return found


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_the_middle_of_a_thing_is_where_it_projects(view: str) -> None:
    picture = render(Scene((MIDDLE,), "slate", view), 128).astype(int)
    across, down = project(VIEWS[view], np.array([[0.30, 0.0, 0.027]]), 128)[0]
    rows, columns = np.nonzero(picture[..., 0] > picture[..., 2] + 30)  # nothing else is red
    assert abs(columns.mean() - across) < 2
    assert abs(rows.mean() - down) < 2


def test_rays_go_through_the_pixels_they_belong_to() -> None:
    camera = VIEWS["left"]
    way = rays(camera, 32)[:, 5, 20].astype(float)
    seen = project(camera, np.array([np.asarray(camera.eye) + 0.7 * way]), 32)[0]
    np.testing.assert_allclose(seen, (20.5, 5.5), atol=1e-4)
    np.testing.assert_allclose(axes(camera) @ axes(camera).T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    "solid",
    [Box((0.2, 0.3, 0.4)), Ball(0.4), Cylinder(0.3, 0.4), Tube(0.4, 0.3, 0.3, floor=0.1), Shell(0.5, 0.05, 0.4, 0.1)],
    ids=str,
)
def test_rays_meet_solids_inside_their_hull_from_every_side(solid: Solid) -> None:
    rng = np.random.default_rng(0)
    low, high = solid.hull().min(axis=0), solid.hull().max(axis=0)
    for _ in range(60):
        eye = rng.normal(size=3)
        eye *= 3 / np.linalg.norm(eye)
        aims = rng.uniform(low, high, size=(5, 7, 3)).transpose(2, 0, 1)
        way = (aims - eye[:, None, None]).astype(np.float32)
        length, normal = solid.hit(eye, way)
        met = np.isfinite(length)
        place = (eye[:, None, None] + way * np.where(met, length, 0))[:, met]
        np.testing.assert_allclose(place.T, np.clip(place.T, low, high), atol=0.02)
        np.testing.assert_allclose(np.linalg.norm(normal[:, met], axis=0), 1, atol=0.02)


def test_a_ball_aimed_at_is_met_at_the_near_side() -> None:
    way = np.array([0, 0, -1], np.float32)[:, None, None]
    for solid in (Ball(0.5), Box((0.5, 0.5, 0.5)), Cylinder(0.5, 0.5)):
        length, normal = solid.hit(np.array([0.0, 0.0, 3.0]), way)
        assert float(length[0, 0]) == pytest.approx(2.5)
        np.testing.assert_allclose(normal[:, 0, 0], (0, 0, 1), atol=1e-6)


def test_a_cup_is_open_and_a_bowl_is_hollow() -> None:
    way = np.array([0, 0, -1], np.float32)[:, None, None]
    cup, _ = Tube(0.4, 0.3, 0.5, floor=0.1).hit(np.array([0.0, 0.0, 2.0]), way)
    assert float(cup[0, 0]) == pytest.approx(2.0 + 0.5 - 0.1)
    ring, _ = Tube(0.4, 0.3, 0.5).hit(np.array([0.0, 0.0, 2.0]), way)
    assert np.isinf(ring[0, 0])
    bowl, _ = Shell(0.5, 0.05, 0.4, 0.12).hit(np.array([0.0, 0.0, 2.0]), way)
    assert float(bowl[0, 0]) == pytest.approx(2.0 - 0.12)


def test_what_is_in_front_hides_what_is_behind() -> None:
    behind, before = Thing("ball", "red", 0.30, 0.0), Thing("can", "blue", 0.37, 0.0)
    assert visible(Scene((behind,))) == (1.0,)
    hidden = visible(Scene((behind, before)))
    assert hidden[0] < 0.5
    assert hidden[1] == 1.0


@pytest.mark.parametrize("shape", ["block", "can", "ball", "mug", "bowl", "plate"])
def test_every_shape_stands_on_the_table_and_is_as_large_as_it_says(shape: Shape) -> None:
    thing = Thing(shape, "red", 0.3, 0.1, 0.0, 0.4)
    hull = np.concatenate([hull_of(part) for part in parts(thing)])
    assert hull[:, 2].min() == pytest.approx(0.0, abs=1e-9)
    assert hull[:, 2].max() == pytest.approx(thing.top, abs=1e-9)
    assert np.hypot(hull[:, 0] - 0.3, hull[:, 1] - 0.1).max() <= thing.size.reach + 0.002


def test_supports() -> None:
    bowl = Thing("bowl", "red", 0.3, 0.1)
    ball = Thing("ball", "blue", 0.3, 0.1, rest_height(bowl))
    assert support_of(ball, (bowl, ball)) is bowl
    assert support_of(bowl, (bowl, ball)) is None
    assert support_of(replace(ball, z=0.0, x=0.5), (bowl, ball)) is None
