"""The classifier object that `import tlaam` exports."""
