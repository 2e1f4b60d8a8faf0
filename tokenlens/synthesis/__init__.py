"""Image synthesis: merging inside a diffusion model's denoiser, what was merged at every step, and what it costs."""
