"""SmolLM2-135M through SPCT on real data: the default judge."""
