"""Read and write weights of both frameworks, find them on disk and on hubs, and load networks from them."""
