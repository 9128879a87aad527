"""The welcome page: the two sides in one picture, and four ways to start."""

from gui.welcome.page import WelcomePage

__all__ = ["WelcomePage"]
