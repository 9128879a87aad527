"""The welcome page: the two sides in one picture, and four ways to start."""
