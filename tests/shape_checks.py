"""The type checker that `conftest.py` puts on every function of the package."""

from beartype import BeartypeConf, beartype

# An int is a float, as for mypy.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
