"""The run-time check of annotations, shapes included, that pytest's option --jaxtyping-packages names."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float too
