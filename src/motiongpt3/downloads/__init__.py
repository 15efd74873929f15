"""What others publish and this project can use: where it lies, how it is fetched, and whether it is whole."""
