"""What follows from numbers: intervals, permutation, crossed factors, reliability. Arrays only."""
