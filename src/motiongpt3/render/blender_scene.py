"""The part of the Blender engine that runs inside Blender: builds a scene from a job, renders it, saves it.

    blender --background --factory-startup --python blender_scene.py -- JOB
    python blender_scene.py -- JOB         (where the module bpy is installed)

JOB is a folder with ``job.json`` and ``job.npz``, made by `motiongpt3.render.blender`, which also reads what
is printed here. Blender brings a Python of its own, so nothing but its modules and NumPy is imported.

Shapes: T frames, P poses, L capsules, V vertices. Positions come with y up; Blender has z up.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import bpy
import mathutils
import numpy as np

_SEGMENTS, _RINGS = 24, 8
_GAMMA = 2.2
_HORIZON = (0.80, 0.85, 0.91)
_TILE_DARK, _TILE_LIGHT = (0.42, 0.47, 0.55), (0.58, 0.63, 0.70)
_SKY_LIGHT, _SUN_LIGHT = 0.42, 3.0
_SENSOR = 24.0  # millimetres, height


def main(folder: Path) -> None:
    """Do the job of a folder."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    with np.load(folder / "job.npz", allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    scene = empty_scene(job)
    add_camera(scene, job["camera"], z_up(arrays["targets"]))
    add_light(scene, job["light"])
    add_floor(job["ground"], job["camera"]["distance"])
    if "vertices" in arrays:
        add_bodies(arrays, job["animated"])
    else:
        add_capsules(arrays, job["animated"])
    if job["blend"]:
        bpy.ops.wm.save_as_mainfile(filepath=job["blend"], compress=True)
    for frame in range(job["frames"]):
        scene.frame_set(frame + 1)
        scene.render.filepath = str(folder / f"{frame:05d}.png")
        bpy.ops.render.render(write_still=True)
        print(f"MOTIONGPT3 frame {frame + 1}", flush=True)


def empty_scene(job: dict[str, Any]) -> Any:
    """A scene with nothing in it, set up for Cycles on the CPU."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.preferences.edit.keyframe_new_interpolation_type = "LINEAR"
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = job["samples"]
    scene.cycles.use_adaptive_sampling = True
    scene.cycles.seed = 0
    try:
        scene.cycles.use_denoising = True
        scene.cycles.denoiser = "OPENIMAGEDENOISE"
    except TypeError:
        # Not every build of Blender has a denoiser; without one the picture is grainier.
        scene.cycles.use_denoising = False
    if job["threads"]:
        scene.render.threads_mode = "FIXED"
        scene.render.threads = job["threads"]
    scene.render.use_persistent_data = True
    scene.render.resolution_x, scene.render.resolution_y = job["size"]
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "PNG"
    scene.view_settings.view_transform = "Standard"
    rate = max(1, round(job["fps"]))
    scene.render.fps, scene.render.fps_base = rate, rate / job["fps"]
    scene.frame_start, scene.frame_end = 1, job["frames"]
    world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    tree = world.node_tree
    background = tree.nodes["Background"]
    background.inputs["Color"].default_value = (*_HORIZON, 1)
    # The sky is as bright as a photographer's backdrop, but lights the scene less than that.
    path = tree.nodes.new("ShaderNodeLightPath")
    brightness = tree.nodes.new("ShaderNodeMapRange")
    brightness.inputs["To Min"].default_value = _SKY_LIGHT
    brightness.inputs["To Max"].default_value = 1.0
    tree.links.new(path.outputs["Is Camera Ray"], brightness.inputs["Value"])
    tree.links.new(brightness.outputs["Result"], background.inputs["Strength"])
    scene.world = world
    return scene


def add_camera(scene: Any, camera: dict[str, Any], targets: np.ndarray) -> None:
    """A camera that looks at a target (T, 3) in every frame, without turning."""
    data = bpy.data.cameras.new("camera")
    data.sensor_fit = "VERTICAL"
    data.sensor_height = _SENSOR
    data.lens = _SENSOR * camera["focal"]
    data.shift_x, data.shift_y = camera["shift"]
    data.clip_end = 10 * camera["distance"] + 100
    eye = bpy.data.objects.new("camera", data)
    scene.collection.objects.link(eye)
    scene.camera = eye
    axes = z_up(np.array(camera["axes"]))
    place = targets + camera["distance"] * axes[2]
    eye.matrix_world = standing(axes, place[0])
    if len(place) > 1 and np.ptp(place, axis=0).max() > 1e-6:
        for frame, position in enumerate(place, start=1):
            eye.location = position.tolist()
            eye.keyframe_insert("location", frame=frame)


def add_light(scene: Any, direction: list[float]) -> None:
    """A sun from a direction (3,) in the world, with soft edges."""
    data = bpy.data.lights.new("sun", "SUN")
    data.energy = _SUN_LIGHT
    data.angle = math.radians(7)
    data.color = (1.0, 0.96, 0.90)
    sun = bpy.data.objects.new("sun", data)
    scene.collection.objects.link(sun)
    back = z_up(np.array([direction]))[0]
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= max(np.linalg.norm(right), 1e-6)
    up = np.cross(back, right)
    sun.matrix_world = standing(np.stack([right, up, back]), np.zeros(3))


def standing(axes: np.ndarray, place: np.ndarray) -> Any:
    """The matrix of an object with its x, y and z along the rows of ``axes`` (3, 3), at a place (3,)."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes.T, place
    return mathutils.Matrix(matrix.tolist())


def add_floor(height: float, distance: float) -> None:
    """A checkered floor of half-metre tiles that fades into the horizon."""
    size = 200.0
    mesh = bpy.data.meshes.new("floor")
    corners = [(x, y, 0.0) for x, y in ((-size, -size), (size, -size), (size, size), (-size, size))]
    mesh.from_pydata(corners, [], [(0, 1, 2, 3)])
    floor = bpy.data.objects.new("floor", mesh)
    floor.location = (0.0, 0.0, height)
    bpy.context.scene.collection.objects.link(floor)
    material = bpy.data.materials.new("floor")
    material.use_nodes = True
    tree = material.node_tree
    shader = tree.nodes["Principled BSDF"]
    shader.inputs["Roughness"].default_value = 0.7
    places = tree.nodes.new("ShaderNodeTexCoord")
    checker = tree.nodes.new("ShaderNodeTexChecker")
    checker.inputs["Scale"].default_value = 2.0
    checker.inputs["Color1"].default_value = (*_TILE_LIGHT, 1)
    checker.inputs["Color2"].default_value = (*_TILE_DARK, 1)
    tree.links.new(places.outputs["Object"], checker.inputs["Vector"])
    tree.links.new(checker.outputs["Color"], shader.inputs["Base Color"])
    sky = tree.nodes.new("ShaderNodeEmission")
    sky.inputs["Color"].default_value = (*_HORIZON, 1)
    view = tree.nodes.new("ShaderNodeCameraData")
    fade = tree.nodes.new("ShaderNodeMapRange")
    fade.interpolation_type = "SMOOTHSTEP"
    fade.inputs["From Min"].default_value = 1.1 * distance
    fade.inputs["From Max"].default_value = 2.6 * distance
    mix = tree.nodes.new("ShaderNodeMixShader")
    tree.links.new(view.outputs["View Distance"], fade.inputs["Value"])
    tree.links.new(fade.outputs["Result"], mix.inputs[0])
    tree.links.new(shader.outputs["BSDF"], mix.inputs[1])
    tree.links.new(sky.outputs["Emission"], mix.inputs[2])
    tree.links.new(mix.outputs["Shader"], tree.nodes["Material Output"].inputs["Surface"])
    mesh.materials.append(material)


def add_bodies(arrays: dict[str, np.ndarray], animated: bool) -> None:
    """A body with a shape key a frame; or, for a still, one body a pose, each with its colour."""
    vertices, faces = z_up(arrays["vertices"]), arrays["faces"]
    if not animated:
        for pose, points in enumerate(vertices):
            add_mesh(f"body {pose + 1}", points, faces, arrays["colours"][pose])
        return
    body = add_mesh("body", vertices[0], faces, arrays["colours"][0])
    for frame, points in enumerate(vertices, start=1):
        key = body.shape_key_add(name=f"frame {frame}", from_mix=False)
        key.data.foreach_set("co", points.astype(np.float32).ravel())
    keys = body.data.shape_keys
    keys.use_relative = False
    blocks = keys.key_blocks
    for frame in (1, len(vertices)):
        keys.eval_time = blocks[frame - 1].frame
        keys.keyframe_insert("eval_time", frame=frame)


def add_capsules(arrays: dict[str, np.ndarray], animated: bool) -> None:
    """Capsules (T, L, ...): moving ones for a film, or all of them at once, with a colour for each pose."""
    starts, ends = z_up(arrays["starts"]), z_up(arrays["ends"])
    radii, colours = arrays["radii"], arrays["colours"]
    lengths = np.linalg.norm(ends - starts, axis=-1)
    usual = np.maximum(np.median(lengths, axis=0), 1e-4)
    for limb in range(starts.shape[1]):
        shape = tapered_capsule(float(usual[limb]), *radii[limb].tolist())
        if animated:
            item = add_mesh(f"limb {limb + 1}", *shape, colours[0, limb])
            item.rotation_mode = "QUATERNION"
            for frame in range(len(starts)):
                place(item, starts[frame, limb], ends[frame, limb], float(usual[limb]))
                for channel in ("location", "rotation_quaternion", "scale"):
                    item.keyframe_insert(channel, frame=frame + 1)
            continue
        for pose in range(len(starts)):
            item = add_mesh(f"pose {pose + 1} limb {limb + 1}", *shape, colours[pose, limb])
            item.rotation_mode = "QUATERNION"
            place(item, starts[pose, limb], ends[pose, limb], float(usual[limb]))


def place(item: Any, start: np.ndarray, end: np.ndarray, length: float) -> None:
    """Put a capsule that goes along its z axis between two points."""
    bone = end - start
    distance = float(np.linalg.norm(bone))
    item.location = start.tolist()
    item.scale = (1.0, 1.0, max(distance, 1e-4) / length)
    along = bone / distance if distance > 1e-6 else np.array([0.0, 0.0, 1.0])
    # The half-way vector between z and the bone is the axis of a half turn; any turn about the bone will do.
    half = along + np.array([0.0, 0.0, 1.0])
    norm = float(np.linalg.norm(half))
    axis = half / norm if norm > 1e-6 else np.array([1.0, 0.0, 0.0])
    item.rotation_quaternion = (0.0, *axis.tolist())


def tapered_capsule(length: float, first: float, last: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and quads of a round cone along z with half balls at its ends."""
    angles = np.linspace(-math.pi / 2, math.pi / 2, 2 * _RINGS + 2)
    lower, upper = angles[: _RINGS + 1], angles[_RINGS + 1 :]
    radius = np.concatenate([first * np.cos(lower), last * np.cos(upper)])
    height = np.concatenate([first * np.sin(lower), length + last * np.sin(upper)])
    turns = np.arange(_SEGMENTS) * 2 * math.pi / _SEGMENTS
    grid = np.stack(
        [
            radius[:, None] * np.cos(turns),
            radius[:, None] * np.sin(turns),
            np.broadcast_to(height[:, None], (len(height), _SEGMENTS)),
        ],
        axis=-1,
    )
    row = np.arange((len(height) - 1) * _SEGMENTS)
    after = row - row % _SEGMENTS + (row + 1) % _SEGMENTS
    return grid.reshape(-1, 3), np.stack([row, after, after + _SEGMENTS, row + _SEGMENTS], axis=1)


def add_mesh(name: str, vertices: np.ndarray, faces: np.ndarray, colour: np.ndarray) -> Any:
    """A smooth object of one colour (3,), sRGB 0 to 255."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(vertices.tolist(), [], faces.tolist())
    mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), dtype=bool))
    mesh.materials.append(material_of(colour))
    item = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(item)
    return item


def material_of(colour: np.ndarray) -> Any:
    """A slightly glossy material; one for each colour."""
    name = "colour " + " ".join(str(round(float(value))) for value in colour)
    if name in bpy.data.materials:
        return bpy.data.materials[name]
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    shader = material.node_tree.nodes["Principled BSDF"]
    shader.inputs["Base Color"].default_value = (*((colour / 255) ** _GAMMA).tolist(), 1)
    shader.inputs["Roughness"].default_value = 0.5
    return material


def z_up(points: np.ndarray) -> np.ndarray:
    """Positions (..., 3) with y up as Blender has them."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1).astype(np.float64)


if __name__ == "__main__":
    main(Path(sys.argv[-1]))
