"""Training: recipes, data and the trainer."""
