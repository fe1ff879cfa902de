# SPDX-License-Identifier: GPL-2.0-only
"""A real kernel for the tests: fetched, cached, booted."""
