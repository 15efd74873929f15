"""MotionGPT3: human motion as a second modality of a language model."""

__version__ = "0.1.0"
