import logging
logging.basicConfig(format="%(levelname)s %(funcName)s %(pathname)s %(lineno)d %(message)s")

def work():
    logging.warning("from work")
    logging.getLogger("x").error("with a level", stacklevel=2)

work()
logging.info("not said")
