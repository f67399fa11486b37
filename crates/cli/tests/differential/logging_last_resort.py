import logging
logging.warning("through the last resort")
try:
    1 / 0
except ZeroDivisionError:
    logging.exception("divided")
