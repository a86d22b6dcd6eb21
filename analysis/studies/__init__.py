"""Studies of many runs: what one seed cannot say."""
