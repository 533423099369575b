"""All settings of a run: schema, presets, defaults, recipes, and the names that settings may have."""
