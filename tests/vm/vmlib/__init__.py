# SPDX-License-Identifier: GPL-2.0-or-later
"""A real kernel for the tests: fetched, cached, booted."""
