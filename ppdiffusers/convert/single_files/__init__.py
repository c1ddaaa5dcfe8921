"""Pipelines and networks in one file, as CompVis, Stability, the web UI and ComfyUI store them."""
