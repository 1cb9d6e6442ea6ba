"""Writes golden/mat/*.mat: MATLAB files of level 5 as scipy.io.savemat writes them (pip install scipy), for data/mat5.c.

    labels.mat   packed, as Flowers102's: another array first, then "labels" of 23 bytes (classes 3, 1, 2 in order of appearance)
    double.mat   not packed, "labels" of 5 doubles, one of them negative
    short.mat    not packed, "labels" of 3 bytes, which fit into their tag
    half.mat     "labels" with 0.5 in it
"""
import pathlib

import numpy
from scipy.io import savemat

FLOWERS = [3, 3, 1, 1, 1, 2, 2, 2, 2, 3, 1, 2, 3, 1, 2, 2, 2, 2, 2, 1, 1, 3, 3]

folder = pathlib.Path(__file__).parent / "../golden/mat"
folder.mkdir(exist_ok=True)
savemat(folder / "labels.mat", {"other": numpy.arange(7.0), "labels": numpy.array([FLOWERS], numpy.uint8)}, do_compression=True)
savemat(folder / "double.mat", {"labels": numpy.array([[1.0, 300.0, -2.0, 70000.0, 0.0]])})
savemat(folder / "short.mat", {"labels": numpy.array([[7, 8, 9]], numpy.uint8)})
savemat(folder / "half.mat", {"labels": numpy.array([[1.0, 0.5]])})
for file in folder.glob("*.mat"):  # without the date of their making
    data = bytearray(file.read_bytes())
    data[:116] = b"MATLAB 5.0 MAT-file, made by tests/reference/make_mat.py".ljust(116)
    file.write_bytes(bytes(data))
