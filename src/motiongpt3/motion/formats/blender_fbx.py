"""Runs inside Blender, not here: glTF to FBX, and the paths of the bones of an FBX to arrays.

``... -- write IN.glb OUT.fbx FPS`` or ``... -- read IN.fbx OUT.npz``. It imports nothing of motiongpt3.
"""

from __future__ import annotations

import sys

import bpy
import numpy as np

MAX_FRAMES = 1_000_000


def write(source: str, target: str, fps: float) -> None:
    """Turn a glTF file of ours into FBX: skeleton, skin and animation, one key a frame."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    render = bpy.context.scene.render
    render.fps = max(round(fps), 1)
    render.fps_base = render.fps / fps
    bpy.ops.import_scene.gltf(filepath=source)
    armatures = [item for item in bpy.data.objects if item.type == "ARMATURE"]
    if not armatures:
        raise RuntimeError("Error: the file has no skeleton")
    (armature,) = armatures
    for item in list(bpy.data.objects):
        # The importer's own shapes of bones.
        if item is not armature and item.parent is not armature:
            bpy.data.objects.remove(item)
    first, last = armature.animation_data.action.frame_range
    bpy.context.scene.frame_start, bpy.context.scene.frame_end = round(first), round(last)
    bpy.ops.export_scene.fbx(
        filepath=target,
        object_types={"ARMATURE", "MESH"},
        add_leaf_bones=False,
        bake_anim_use_nla_strips=False,
        bake_anim_use_all_actions=False,
        bake_anim_simplify_factor=0.0,
        bake_anim_step=1.0,
    )


def read(source: str, target: str) -> None:
    """Save names (J,), the heads of all bones (T, J, 3) in metres, z up, and the frames per second."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.fbx(filepath=source, ignore_leaf_bones=False)
    moving = [
        item
        for item in bpy.data.objects
        if item.type == "ARMATURE" and item.animation_data is not None and item.animation_data.action
    ]
    if not moving:
        raise RuntimeError("Error: the file has no skeleton that is animated")
    armature = max(moving, key=lambda item: len(item.pose.bones))
    first, last = (round(frame) for frame in armature.animation_data.action.frame_range)
    if last - first >= MAX_FRAMES:
        raise RuntimeError(f"Error: {last - first} frames; up to {MAX_FRAMES} are read")
    scene = bpy.context.scene
    bones = armature.pose.bones
    positions = np.zeros((last - first + 1, len(bones), 3))
    for frame in range(first, last + 1):
        scene.frame_set(frame)
        for index, bone in enumerate(bones):
            positions[frame - first, index] = armature.matrix_world @ bone.head
    names = np.array([bone.name for bone in bones])
    np.savez(target, names=names, positions=positions, fps=scene.render.fps / scene.render.fps_base)


if __name__ == "__main__":
    verb, *words = sys.argv[sys.argv.index("--") + 1 :]
    try:
        if verb == "write":
            write(words[0], words[1], float(words[2]))
        else:
            read(words[0], words[1])
    except Exception as error:
        print(f"Error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(3)
