"""Are the tests worth their time? Each small change of a source file should make one of them fail."""
