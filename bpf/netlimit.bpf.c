// SPDX-License-Identifier: GPL-2.0-only
/*
 * Traffic of chosen cgroups held to a rate. One pair of programs, attached to each limited cgroup by links; what a
 * cgroup may do is in its slot. No qdisc is touched. Independent of the scheduler and of observe.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "abi.h"
#include "mapped.h"
#include "shaper.h"

char _license[] SEC("license") = "GPL";

/* Verdicts of cgroup_skb programs. */
#define DROP 0
#define PASS 1
/* Egress only: TCP slows down, and a UDP sender sees no error, whereas DROP gives it EPERM. */
#define DROP_CONGESTED 2

/* Tries to move a lane's virtual time before it is pushed without looking. */
#define CAS_TRIES 4

/* Of each attached cgroup, its children's traffic included: the number of its slot. Written by Python after the
 * attach; 0, which is how it starts and ends, limits nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STORAGE);
	__type(key, u64);
	__type(value, u64);
} attached SEC(".maps");

/* Limits and counters. Rates by Python, which also reads the counters. */
MAPPED_ARRAY(slots, struct scxg_net_slot, SCXG_NET_SLOTS);

/* tgid -> serial of the limit that charges its sockets. Written by Python, read when a socket is made or swept. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCXG_NET_MAX_TASKS);
	__type(key, u32);
	__type(value, u64);
} tasks SEC(".maps");

/* Of a socket: serial of the limit that charges it. Accepted connections inherit it from their listener. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, u64);
} tags SEC(".maps");

/* cgroup id -> bytes; written by the meters while `net list` measures, read by Python. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SCXG_NET_MAX_METERS);
	__type(key, u64);
	__type(value, struct scxg_net_meter);
} meters SEC(".maps");

/* Python reads these from BTF, which keeps only what something refers to. */
enum scxg_net_limits scxg_anchor_limits = 0;
enum scxg_net_dir scxg_anchor_dir = 0;
enum scxg_net_kind scxg_anchor_kind = 0;
enum scxg_net_scope scxg_anchor_scope = 0;

/* Whether the other end is in a private range. What is no IP packet, or too short to be one, is. */
static __always_inline bool remote_is_local(struct __sk_buff *skb, u32 dir)
{
	__be32 v4, v6[4];
	u8 version;

	if (bpf_skb_load_bytes(skb, 0, &version, 1))
		return true;
	if (version >> 4 == 4) {
		if (bpf_skb_load_bytes(skb, dir == SCXG_NET_UP ? 16 : 12, &v4, sizeof(v4)))
			return true;
		return scxg_net_local4(bpf_ntohl(v4));
	}
	if (version >> 4 == 6) {
		if (bpf_skb_load_bytes(skb, dir == SCXG_NET_UP ? 24 : 8, v6, sizeof(v6)))
			return true;
		return scxg_net_local6(bpf_ntohl(v6[0]), bpf_ntohl(v6[1]), bpf_ntohl(v6[2]),
				       bpf_ntohl(v6[3]));
	}
	return true;
}

/* Whether the packet's socket belongs to a process that the limit names. */
static __always_inline bool tagged(struct __sk_buff *skb, u64 serial)
{
	struct bpf_sock *sk = skb->sk;
	u64 *tag;

	if (!sk)
		return false;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return false;
	tag = bpf_sk_storage_get(&tags, sk, NULL, 0);
	return tag && *tag == serial;
}

/* When the packet may leave; 0 when it is dropped. */
static __always_inline u64 charge(struct scxg_net_lane *lane, u64 len, u64 rate, u32 dir)
{
	u64 cost = scxg_net_cost_ns(len, rate), burst = scxg_net_burst_ns(rate, dir);
	u64 now = bpf_ktime_get_ns(), seen = lane->free_ns, departure = now, found;

	for (int i = 0; i < CAS_TRIES; i++) {
		departure = scxg_net_departure_ns(seen, now, burst);
		if (!departure)
			return 0;
		found = __sync_val_compare_and_swap(&lane->free_ns, seen, departure + cost);
		if (found == seen)
			return departure;
		seen = found;
	}
	__sync_fetch_and_add(&lane->free_ns, cost);
	return departure;
}

static __always_inline int shape(struct __sk_buff *skb, u32 dir)
{
	u64 *number = bpf_get_local_storage(&attached, 0);
	u32 key = *number;
	struct scxg_net_slot *slot = bpf_map_lookup_elem(&slots, &key);
	struct scxg_net_lane *lane;
	u64 rate, departure, len = skb->len;

	if (!slot)
		return PASS;
	lane = &slot->lane[dir];
	rate = lane->rate;
	if (!rate)
		return PASS;
	if (slot->kind == SCXG_NET_TASK && !tagged(skb, slot->serial))
		return PASS;
	if (slot->scope == SCXG_NET_INTERNET && remote_is_local(skb, dir)) {
		__sync_fetch_and_add(&lane->exempt_bytes, len);
		return PASS;
	}
	departure = charge(lane, len, rate, dir);
	if (!departure) {
		__sync_fetch_and_add(&lane->dropped_bytes, len);
		__sync_fetch_and_add(&lane->dropped_packets, 1);
		return dir == SCXG_NET_UP ? DROP_CONGESTED : DROP;
	}
	__sync_fetch_and_add(&lane->bytes, len);
	__sync_fetch_and_add(&lane->packets, 1);
	/* Where fq is the qdisc, it waits until then; elsewhere nobody looks at it. */
	if (dir == SCXG_NET_UP && skb->tstamp < departure)
		skb->tstamp = departure;
	return PASS;
}

/* Attached to each limited cgroup. */
SEC("cgroup_skb/egress")
int scxg_net_up(struct __sk_buff *skb)
{
	return shape(skb, SCXG_NET_UP);
}

/* Attached to each limited cgroup. */
SEC("cgroup_skb/ingress")
int scxg_net_down(struct __sk_buff *skb)
{
	return shape(skb, SCXG_NET_DOWN);
}

/* Attached to a cgroup limited by kind `task`: tags what its named processes open from now on. */
SEC("cgroup/sock_create")
int scxg_net_sock(struct bpf_sock *sk)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	u64 *serial = bpf_map_lookup_elem(&tasks, &tgid);

	if (serial)
		bpf_sk_storage_get(&tags, sk, serial, BPF_LOCAL_STORAGE_GET_F_CREATE);
	return PASS;
}

/* Run over one process's files by Python: tags, or takes the tag off, the sockets it has open. */
SEC("iter/task_file")
int scxg_net_open(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	u64 *serial, *tag, none = 0;
	u32 tgid;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket || !socket->sk)
		return 0;
	tgid = task->tgid;
	serial = bpf_map_lookup_elem(&tasks, &tgid);
	if (!serial)
		serial = &none;
	tag = bpf_sk_storage_get(&tags, socket->sk, NULL, 0);
	if (tag)
		*tag = *serial;
	else if (*serial)
		bpf_sk_storage_get(&tags, socket->sk, serial, BPF_LOCAL_STORAGE_GET_F_CREATE);
	return 0;
}

static __always_inline int measure(struct __sk_buff *skb, u32 dir)
{
	struct scxg_net_meter *meter, fresh = {};
	u64 id = bpf_skb_cgroup_id(skb);

	meter = bpf_map_lookup_elem(&meters, &id);
	if (!meter) {
		bpf_map_update_elem(&meters, &id, &fresh, BPF_NOEXIST);
		meter = bpf_map_lookup_elem(&meters, &id);
	}
	if (meter)
		__sync_fetch_and_add(dir == SCXG_NET_UP ? &meter->up : &meter->down, skb->len);
	return PASS;
}

/* Attached to the root cgroup while `net list` measures. */
SEC("cgroup_skb/egress")
int scxg_meter_up(struct __sk_buff *skb)
{
	return measure(skb, SCXG_NET_UP);
}

/* Attached to the root cgroup while `net list` measures. */
SEC("cgroup_skb/ingress")
int scxg_meter_down(struct __sk_buff *skb)
{
	return measure(skb, SCXG_NET_DOWN);
}
