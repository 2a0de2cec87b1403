from . import lines


def late():
    import importlib

    return importlib.import_module("shop.late")
