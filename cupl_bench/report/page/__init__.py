"""The page: all runs, any two of them side by side, down to the single class and its images; opens from the disk.

A browser that reads a page from the disk may neither fetch a file nor load a module. So the data lie in scripts that
are loaded when they are wanted, each a call that hands over compressed JSON; nothing is ever asked of a network.
"""

from cupl_bench.report.page.contents import SIMILARITIES_AT_MOST
from cupl_bench.report.page.thumbnails import Images, OpenImages, evenly, first_of_each
from cupl_bench.report.page.writing import Page, PageWriter

__all__ = ["SIMILARITIES_AT_MOST", "Images", "OpenImages", "Page", "PageWriter", "evenly", "first_of_each"]
