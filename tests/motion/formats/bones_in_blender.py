"""Runs inside Blender: saves what it shows of a BVH or glTF file. ``... -- FILE OUT.npz FPS``"""

from __future__ import annotations

import sys

import bpy
import numpy as np

source, target, fps = sys.argv[sys.argv.index("--") + 1 :]
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps = int(fps)
if source.endswith(".bvh"):
    bpy.ops.import_anim.bvh(filepath=source, update_scene_fps=True)
else:
    bpy.ops.import_scene.gltf(filepath=source)
(armature,) = (item for item in bpy.data.objects if item.type == "ARMATURE")
first, last = (round(frame) for frame in armature.animation_data.action.frame_range)
frames, meshes = [], []
skinned = [item for item in bpy.data.objects if item.type == "MESH" and item.parent is armature]
for frame in range(first, last + 1):
    scene.frame_set(frame)
    frames.append([list(armature.matrix_world @ bone.head) for bone in armature.pose.bones])
    for item in skinned:
        shown = item.evaluated_get(bpy.context.evaluated_depsgraph_get())
        meshes.append([list(shown.matrix_world @ vertex.co) for vertex in shown.data.vertices])
np.savez(
    target,
    names=np.array([bone.name for bone in armature.pose.bones]),
    positions=np.array(frames),
    vertices=np.array(meshes),
    fps=scene.render.fps / scene.render.fps_base,
)
