"""The web app: a page to talk with a model and see it move, and the same over HTTP for programs."""
