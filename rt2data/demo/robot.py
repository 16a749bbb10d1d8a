"""The arm: two links in a vertical plane from a shoulder behind the table to the wrist, and a gripper of two fingers."""

from __future__ import annotations

from math import atan2, cos, hypot, sin, sqrt

import numpy as np

from rt2data.demo.camera import F64
from rt2data.demo.scene import Gripper
from rt2data.demo.shapes import Part, Rgb
from rt2data.demo.solids import Ball, Box, Cylinder, Solid

SHELL: Rgb = (226, 228, 232)
JOINT: Rgb = (58, 62, 70)
PAD: Rgb = (40, 42, 46)
SHOULDER = (-0.04, 0.0, 0.14)  # metres
LINK = 0.33  # metres: upper arm and forearm alike
WIDEST = 0.080  # metres between the fingers at opening 1
FINGER = (0.006, 0.010, 0.026)  # half sides: along the closing, across it, along the finger; metres
WRIST = 0.135  # metres from the finger tips to the wrist


def rotation(roll: float, pitch: float, yaw: float) -> F64:
    """float64[3, 3]: turn by roll about x, then pitch about y, then yaw about z."""
    cr, sr, cp, sp, cy, sy = cos(roll), sin(roll), cos(pitch), sin(pitch), cos(yaw), sin(yaw)
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    found: F64 = about_z @ about_y @ about_x
    return found


def robot_parts(gripper: Gripper) -> tuple[Part, ...]:
    """The whole arm with its gripper at the given pose. At yaw 0 the fingers close along y."""
    turn = rotation(gripper.roll, gripper.pitch, gripper.yaw)
    tip = np.array([gripper.x, gripper.y, gripper.z])
    return (*_hand(tip, turn, gripper.opening), *_arm(tip + turn @ (0.0, 0.0, WRIST)))


def _part(solid: Solid, place: F64, turn: F64, color: Rgb, gloss: float = 0.3) -> Part:
    x, y, z = place.tolist()
    return Part(solid, (x, y, z), tuple(map(tuple, turn.tolist())), color, gloss)


def _hand(tip: F64, turn: F64, opening: float) -> tuple[Part, ...]:
    thin, wide, long = FINGER
    apart = opening * WIDEST / 2 + thin
    fingers = [_part(Box((wide, thin, long), 0.002), tip + turn @ (0.0, side * apart, long - 0.012), turn, PAD) for side in (-1, 1)]
    knuckles = [
        _part(Box((0.013, 0.009, 0.010)), tip + turn @ (0.0, side * (apart + 0.001), 2 * long - 0.006), turn, JOINT)
        for side in (-1, 1)
    ]
    palm = _part(Box((0.018, 0.056, 0.013), 0.005), tip + turn @ (0.0, 0.0, 0.068), turn, SHELL)
    neck = _part(Cylinder(0.019, 0.028), tip + turn @ (0.0, 0.0, 0.106), turn, JOINT)
    return (*fingers, *knuckles, palm, neck)


def _arm(wrist: F64) -> tuple[Part, ...]:
    shoulder, elbow = np.array(SHOULDER), _elbow(wrist)
    base = Cylinder(0.052, SHOULDER[2] / 2)
    return (
        _part(base, np.array([*SHOULDER[:2], SHOULDER[2] / 2]), np.eye(3), JOINT),
        _part(Ball(0.047), shoulder, np.eye(3), SHELL),
        _link(shoulder, elbow, 0.030),
        _part(Ball(0.036), elbow, np.eye(3), JOINT),
        _link(elbow, wrist, 0.025),
        _part(Ball(0.030), wrist, np.eye(3), SHELL),
    )


def _elbow(wrist: F64) -> F64:
    """Where two equal links meet, elbow up; the links stretch where the wrist is out of reach."""
    dx, dy, dz = (wrist - SHOULDER).tolist()
    reach, turn = hypot(dx, dy), atan2(dy, dx)
    span = hypot(reach, dz)
    rise = sqrt(max(LINK**2 - span**2 / 4, 0.0))
    out = reach / 2 - rise * dz / span
    return np.array([out * cos(turn), out * sin(turn), dz / 2 + rise * reach / span]) + SHOULDER


def _link(start: F64, end: F64, radius: float) -> Part:
    along = (end - start) / np.linalg.norm(end - start)
    side = np.cross(along, (0.0, 1.0, 0.0) if abs(along[1]) < 0.9 else (1.0, 0.0, 0.0))
    side = side / np.linalg.norm(side)
    turn = np.stack([side, np.cross(along, side), along], axis=1)
    return _part(Cylinder(radius, float(np.linalg.norm(end - start)) / 2), (start + end) / 2, turn, SHELL)
