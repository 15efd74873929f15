"""Motion geometry: skeleton, rotations, kinematics, the 263 features, file formats. Nothing here learns."""
