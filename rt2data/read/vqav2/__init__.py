"""Questions and answers about images, in the layout of VQAv2."""
