"""from shop import unused"""
# import shop.unused
