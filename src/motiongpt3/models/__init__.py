"""The networks: motion VAEs, the Mixture-of-Transformers, generative heads, and the model made of them."""
