"""Channel attention and its insertion into a backbone."""
