from imagespec import ImageSpec

image = ImageSpec(name="demo", apt_packages="git")
