"""Put the body of this project on a motion that is to be written to a file with a skin, such as glTF."""

from __future__ import annotations

from motiongpt3.body.embedded import BODY_COLOUR, EXTRA_BONES, Detail, EmbeddedBody, embedded_body
from motiongpt3.body.fitting import fit_body
from motiongpt3.motion.formats.skin import SkinMaker, skin_of_body
from motiongpt3.motion.motion import Motion


def dressed(motion: Motion, detail: Detail = "full") -> tuple[Motion, SkinMaker]:
    """A motion as the body makes it, and the body as a skin.

    Args:
        motion: what is to be written.
        detail: full or light, see `embedded_body`.

    Returns:
        The motion of the body's joints, which are within a millimetre or so of the motion's, with rotations
        that twist as limbs do; and what makes the skin for `write_glb`.
    """
    fitted = fit_body(motion, embedded_body(detail))
    assert isinstance(fitted.body, EmbeddedBody)
    red, green, blue = (value / 255 for value in BODY_COLOUR)
    return fitted.motion(), skin_of_body(fitted.body, EXTRA_BONES, (red, green, blue))
