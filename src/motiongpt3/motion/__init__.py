"""Motion geometry: skeleton, rotations, kinematics, the 263 features, and file formats. Nothing here learns."""
