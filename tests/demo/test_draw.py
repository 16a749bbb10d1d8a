"""Images are pure functions of the scene, and show what the scene says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rt2data.demo.draw import in_frame, render, visible
from rt2data.demo.scene import (
    COLORS,
    VIEWS,
    GripperPose,
    Lathe,
    Scene,
    Shape,
    Thing,
    axes,
    project,
    rest_height,
    robot,
    solids,
    support_of,
)

MIDDLE = Thing("ball", "red", 0.30, 0.0)
SCENE = Scene((MIDDLE, Thing("bowl", "blue", 0.32, 0.12), Thing("mug", "yellow", 0.25, -0.12)), gripper=GripperPose(0.3, 0.0, 0.15))


def test_an_image_is_rgb_and_always_the_same() -> None:
    image = render(SCENE)
    assert image.shape == (256, 256, 3)
    assert image.dtype == np.uint8
    for k in range(300):  # whatever was drawn and cached between
        render(replace(SCENE, things=(replace(MIDDLE, x=0.2 + k * 1e-4),)), 16)
    np.testing.assert_array_equal(render(SCENE), image)


@pytest.mark.parametrize("color", sorted(COLORS))
def test_a_ball_has_its_color_and_no_other(color: str) -> None:
    shown = {name: _ball_color(name) for name in COLORS}
    distances = {name: float(np.linalg.norm(shown[name] - shown[color])) for name in COLORS if name != color}
    assert min(distances.values()) > 35, distances
    if color != "black":  # its highlight is gray
        assert np.linalg.norm(_chroma(shown[color]) - _chroma(np.array(COLORS[color], float))) < 0.08


def _ball_color(color: str) -> np.ndarray:
    """Median color of the middle of a ball."""
    image = render(Scene((Thing("ball", color, 0.30, 0.0),)))
    across, down = project(VIEWS["front"], np.array([[0.30, 0.0, 0.027]]), 256)[0].astype(int)
    found: np.ndarray = np.median(image[down - 4 : down + 5, across - 4 : across + 5].reshape(-1, 3), axis=0)
    return found


def _chroma(color: np.ndarray) -> np.ndarray:
    linear = (color / 255) ** 2.2
    found: np.ndarray = linear / (linear.sum() + 0.05)
    return found


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_the_middle_of_a_thing_is_where_it_projects(view: str) -> None:
    image = render(Scene((MIDDLE,), "slate", view), 128).astype(int)
    across, down = project(VIEWS[view], np.array([[0.30, 0.0, 0.027]]), 128)[0]
    rows, columns = np.nonzero(image[..., 0] > image[..., 2] + 30)  # nothing else is red
    assert abs(columns.mean() - across) < 2
    assert abs(rows.mean() - down) < 2


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_the_camera_looks_at_its_target(view: str) -> None:
    camera = VIEWS[view]
    np.testing.assert_allclose(axes(camera) @ axes(camera).T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(project(camera, np.array(camera.target), 32), (16, 16), atol=1e-9)
    right, up, _ = axes(camera)
    assert project(camera, camera.target + 0.1 * right, 32)[0] > 16 > project(camera, camera.target + 0.1 * up, 32)[1]


def test_only_faces_towards_the_camera_are_drawn() -> None:
    block = Lathe((0.3, 0.0, 0.0), ((0.03, 0.0), (0.03, 0.04), (0.0, 0.04)), (100, 100, 100), 4, np.pi / 4)
    faces = sorted(block.polygons(VIEWS["middle"], 64), key=lambda polygon: float(np.mean(polygon.corners[1::2])))
    assert len({face.color for face in faces}) == 2  # the front, and the triangles of the top
    assert faces[0].color > faces[-1].color  # the lamp is above


def test_a_bowl_shows_its_inside_at_the_back_and_its_outside_at_the_front() -> None:
    (inside,), (outside,) = solids(Thing("bowl", "red", 0.3, 0.0))
    for solid, side in ((inside, 1.0), (outside, -1.0)):
        drawn = np.array([polygon.corners[1::2] for polygon in solid.polygons(VIEWS["front"], 64)]).mean()
        assert side * (project(VIEWS["front"], np.array([0.3, 0.0, 0.023]), 64)[1] - drawn) > 0


def test_things_outside_the_image_are_noticed() -> None:
    assert in_frame(Scene((MIDDLE,)))
    assert not in_frame(Scene((replace(MIDDLE, y=0.4),)))


def test_the_arm_reaches_the_pose_of_the_gripper() -> None:
    pose = GripperPose(0.3, 0.1, 0.1, opening=0.5)
    parts = robot(pose)
    tips = [part.knots.min(axis=0) for part in parts if part.radius == 0.008]
    assert [tuple(np.round(tip, 3)) for tip in tips] == [(0.3, 0.07, 0.096), (0.3, 0.13, 0.096)]
    assert min(part.points()[:, 2].min() for part in parts[1:]) > 0.08
    scene = Scene((), gripper=pose)
    changed = np.abs(render(scene).astype(int) - render(Scene(()))).sum(axis=2) > 60
    across, down = project(VIEWS["front"], np.array([0.3, 0.1, 0.12]), 256).astype(int)
    assert changed[down - 15 : down + 15, across - 25 : across + 25].mean() > 0.3


def test_what_is_in_front_hides_what_is_behind() -> None:
    behind, before = Thing("ball", "red", 0.30, 0.0), Thing("can", "blue", 0.37, 0.0)
    assert visible(Scene((behind,))) == (1.0,)
    hidden = visible(Scene((behind, before)))
    assert hidden[0] < 0.5
    assert hidden[1] == 1.0


@pytest.mark.parametrize("shape", ["block", "can", "ball", "mug", "bowl", "plate"])
def test_every_shape_stands_on_the_table_and_is_as_large_as_it_says(shape: Shape) -> None:
    thing = Thing(shape, "red", 0.3, 0.1, 0.0, 0.4)
    hull = np.concatenate([solid.points() for part in solids(thing) for solid in part])
    assert hull[:, 2].min() == pytest.approx(0.0, abs=1e-9)
    assert hull[:, 2].max() == pytest.approx(thing.top, abs=1e-9)
    assert np.hypot(hull[:, 0] - 0.3, hull[:, 1] - 0.1).max() <= thing.size.reach + 0.002


def test_supports() -> None:
    bowl = Thing("bowl", "red", 0.3, 0.1)
    ball = Thing("ball", "blue", 0.3, 0.1, rest_height(bowl))
    assert support_of(ball, (bowl, ball)) is bowl
    assert support_of(bowl, (bowl, ball)) is None
    assert support_of(replace(ball, z=0.0, x=0.5), (bowl, ball)) is None
