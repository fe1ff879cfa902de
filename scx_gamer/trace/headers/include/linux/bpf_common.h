/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc's helpers include this; nothing in it is used here. */
#pragma once
