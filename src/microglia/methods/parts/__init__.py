"""What methods are composed of: scores, scopes, budgets, schedules, regrowth signals."""
