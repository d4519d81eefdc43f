/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints of the slow paths; the fast one never enters the kernel.
 *
 * checkpatch: OPEN_ENDED_LINE, PARENTHESIS_ALIGNMENT: as all trace events are
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM bufpool

#if !defined(BUFPOOL_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define BUFPOOL_TRACE_H

#include <linux/tracepoint.h>

TRACE_EVENT(bufpool_alloc_slow,
	TP_PROTO(u32 pool, u64 bytes, u32 index, u32 pages, u32 reused, int err),
	TP_ARGS(pool, bytes, index, pages, reused, err),
	TP_STRUCT__entry(
		__field(u32, pool)
		__field(u64, bytes)
		__field(u32, index)
		__field(u32, pages)
		__field(u32, reused)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->pool = pool;
		__entry->bytes = bytes;
		__entry->index = index;
		__entry->pages = pages;
		__entry->reused = reused;
		__entry->err = err;
	),
	TP_printk("pool=%u bytes=%llu index=%u pages=%u reused_pages=%u err=%d",
		  __entry->pool, __entry->bytes, __entry->index,
		  __entry->pages, __entry->reused, __entry->err)
);

TRACE_EVENT(bufpool_attach,
	TP_PROTO(u32 pool, u32 index, u32 pages, u32 huge, int err),
	TP_ARGS(pool, index, pages, huge, err),
	TP_STRUCT__entry(
		__field(u32, pool)
		__field(u32, index)
		__field(u32, pages)
		__field(u32, huge)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->pool = pool;
		__entry->index = index;
		__entry->pages = pages;
		__entry->huge = huge;
		__entry->err = err;
	),
	TP_printk("pool=%u index=%u pages=%u huge_folios=%u err=%d",
		  __entry->pool, __entry->index, __entry->pages,
		  __entry->huge, __entry->err)
);

TRACE_EVENT(bufpool_free_slow,
	TP_PROTO(u32 pool, u32 index, u32 pages, bool kept),
	TP_ARGS(pool, index, pages, kept),
	TP_STRUCT__entry(
		__field(u32, pool)
		__field(u32, index)
		__field(u32, pages)
		__field(bool, kept)
	),
	TP_fast_assign(
		__entry->pool = pool;
		__entry->index = index;
		__entry->pages = pages;
		__entry->kept = kept;
	),
	TP_printk("pool=%u index=%u pages=%u kept=%d",
		  __entry->pool, __entry->index, __entry->pages, __entry->kept)
);

DECLARE_EVENT_CLASS(bufpool_back,
	TP_PROTO(u32 pool, unsigned long pages),
	TP_ARGS(pool, pages),
	TP_STRUCT__entry(
		__field(u32, pool)
		__field(unsigned long, pages)
	),
	TP_fast_assign(
		__entry->pool = pool;
		__entry->pages = pages;
	),
	TP_printk("pool=%u pages=%lu", __entry->pool, __entry->pages)
);

/* One for each way that memory goes back without being freed. */
DEFINE_EVENT(bufpool_back, bufpool_release,
	TP_PROTO(u32 pool, unsigned long pages), TP_ARGS(pool, pages)
);

DEFINE_EVENT(bufpool_back, bufpool_trim,
	TP_PROTO(u32 pool, unsigned long pages), TP_ARGS(pool, pages)
);

DEFINE_EVENT(bufpool_back, bufpool_shrink,
	TP_PROTO(u32 pool, unsigned long pages), TP_ARGS(pool, pages)
);

DEFINE_EVENT(bufpool_back, bufpool_reclaim,
	TP_PROTO(u32 pool, unsigned long pages), TP_ARGS(pool, pages)
);

TRACE_EVENT(bufpool_limit,
	TP_PROTO(u32 pool, u64 bytes, int err),
	TP_ARGS(pool, bytes, err),
	TP_STRUCT__entry(
		__field(u32, pool)
		__field(u64, bytes)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->pool = pool;
		__entry->bytes = bytes;
		__entry->err = err;
	),
	TP_printk("pool=%u bytes=%llu err=%d",
		  __entry->pool, __entry->bytes, __entry->err)
);

DECLARE_EVENT_CLASS(bufpool_reserve,
	TP_PROTO(int nid, unsigned long pages),
	TP_ARGS(nid, pages),
	TP_STRUCT__entry(
		__field(int, nid)
		__field(unsigned long, pages)
	),
	TP_fast_assign(
		__entry->nid = nid;
		__entry->pages = pages;
	),
	TP_printk("node=%d pages=%lu", __entry->nid, __entry->pages)
);

DEFINE_EVENT(bufpool_reserve, bufpool_reserve_refill,
	TP_PROTO(int nid, unsigned long pages), TP_ARGS(nid, pages)
);

DEFINE_EVENT(bufpool_reserve, bufpool_reserve_shrink,
	TP_PROTO(int nid, unsigned long pages), TP_ARGS(nid, pages)
);

#endif /* BUFPOOL_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
