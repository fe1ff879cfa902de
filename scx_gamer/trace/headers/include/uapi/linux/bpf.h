/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc carries the interface that it was built for. */
#pragma once
#include <bcc/bpf.h>
