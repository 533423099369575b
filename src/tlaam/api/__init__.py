"""The classifier object: what `import tlaam` hands on."""
