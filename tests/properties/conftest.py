"""How hard to look is the same wherever examples are made up."""

from tests import hypothesis_profiles as hypothesis_profiles
