"""Compiled steps of a walk, each with a twin in plain torch that says what it does and runs where it cannot."""
