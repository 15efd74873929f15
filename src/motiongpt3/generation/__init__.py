"""From requests to answers: motions, captions, conversation. What the model's methods do, one task a file."""
