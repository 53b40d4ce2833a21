"""A grid of models, objectives, searchers, budgets and calibration draws: its tables, statistics, figures and report."""
