/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Holding traffic to a rate, in virtual time: a packet takes as long as the rate needs to send it, and is refused
 * while what was let through before it is still more than a burst behind. Integers only, no helper, no map: the
 * tests compile it for the host.
 */
#ifndef SCXG_SHAPER_H
#define SCXG_SHAPER_H

#include "abi.h"

#define SCXG_NET_NSEC 1000000000ULL
/* No packet is longer than a few segments' worth; the product below then fits 64 bits. */
#define SCXG_NET_MAX_LEN (1ULL << 20)
#define SCXG_NET_SEGMENT 65536ULL
/* Longer than any debt the rates in use can make: beyond it the clock or a rate was wrong, so start anew. */
#define SCXG_NET_MAX_DEBT_NS (100 * SCXG_NET_NSEC)

/* Burst downwards: what a bottleneck may queue before the sender is told. Upwards one segment, within limits. */
#define SCXG_NET_BURST_DOWN_NS (20 * 1000000ULL)
#define SCXG_NET_BURST_UP_MIN_NS (10 * 1000000ULL)
#define SCXG_NET_BURST_UP_MAX_NS (50 * 1000000ULL)
/* Both ways at least eight packets: with fewer, TCP at the lowest rates spends its time waiting for timeouts. */
#define SCXG_NET_BURST_BYTES 12000ULL

/* Time that `len` bytes take at `rate` bytes a second, which is not 0; at least 1 ns. */
static inline __attribute__((always_inline)) u64 scxg_net_cost_ns(u64 len, u64 rate)
{
	u64 cost;

	if (len > SCXG_NET_MAX_LEN)
		len = SCXG_NET_MAX_LEN;
	cost = len * SCXG_NET_NSEC / rate;
	return cost ? cost : 1;
}

/* How far behind the lane may be for a packet to pass. */
static inline __attribute__((always_inline)) u64 scxg_net_burst_ns(u64 rate, u32 dir)
{
	u64 burst = SCXG_NET_BURST_DOWN_NS, least = scxg_net_cost_ns(SCXG_NET_BURST_BYTES, rate);

	if (dir == SCXG_NET_UP) {
		burst = scxg_net_cost_ns(SCXG_NET_SEGMENT, rate);
		if (burst < SCXG_NET_BURST_UP_MIN_NS)
			burst = SCXG_NET_BURST_UP_MIN_NS;
		if (burst > SCXG_NET_BURST_UP_MAX_NS)
			burst = SCXG_NET_BURST_UP_MAX_NS;
	}
	return burst < least ? least : burst;
}

/*
 * When a packet may leave, given when the lane is free; 0 when it has to be dropped. A packet longer than the burst
 * passes too: the ones after it wait for its debt.
 */
static inline __attribute__((always_inline)) u64 scxg_net_departure_ns(u64 free_ns, u64 now,
								       u64 burst)
{
	if (free_ns <= now || free_ns - now > SCXG_NET_MAX_DEBT_NS)
		return now;
	return free_ns - now > burst ? 0 : free_ns;
}

/* Whether an address is none of the Internet's. Host byte order. */
static inline __attribute__((always_inline)) int scxg_net_local4(u32 addr)
{
	u32 top = addr >> 24;

	return top == 0 || top == 10 || top == 127 ||
	       top >= 224 ||		 /* this net, multicast, reserved */
	       (addr >> 20) == 0xac1 ||	 /* 172.16.0.0/12 */
	       (addr >> 16) == 0xc0a8 || /* 192.168.0.0/16 */
	       (addr >> 16) == 0xa9fe || /* 169.254.0.0/16 link-local */
	       (addr >> 22) == 0x191;	 /* 100.64.0.0/10 carrier's */
}

/* Four words of an IPv6 address in host byte order. */
static inline __attribute__((always_inline)) int scxg_net_local6(u32 a, u32 b, u32 c, u32 d)
{
	if (a == 0 && b == 0 && c == 0xffff)
		return scxg_net_local4(d);		   /* ::ffff:0:0/96 */
	return (a == 0 && b == 0 && c == 0 && d <= 1) ||   /* unspecified, loopback */
	       (a >> 22) == 0x3fa || (a >> 22) == 0x3fb || /* fe80::/10, fec0::/10 */
	       (a >> 25) == 0x7e ||			   /* fc00::/7 unique local */
	       (a >> 24) == 0xff;			   /* multicast */
}

#endif /* SCXG_SHAPER_H */
