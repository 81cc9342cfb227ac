"""Joint losses compared: weightings × seeds × folds of left-out speakers, and what can be concluded."""
