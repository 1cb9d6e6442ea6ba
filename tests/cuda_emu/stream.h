/* stream.h - streams and events, for runtime.cc. */
#ifndef CUDA_EMU_STREAM_H
#define CUDA_EMU_STREAM_H

#include "emu.h"

#include <deque>

/* Operations that were asked for while their stream was captured: they run when the graph is launched, as often as it is. */
struct emu_graph {
    struct node {
        std::string name;
        std::function<void()> run;
    };
    std::vector<node> nodes;
};

struct emu_stream {
    uint32_t number, length; /* operations ever queued */
    std::deque<emu::operation *> queue;
    emu::clock clock; /* of what is queued next */
    emu_graph *capturing; /* NULL: calls are queued */
};

namespace emu {

emu_stream *stream_new(void);
void stream_delete(emu_stream *s); /* runs what is left */
void enqueue_wait(emu_stream *s, emu_event *e);
void enqueue_record(emu_stream *s, emu_event *e);
void drain(emu_stream *s); /* until it is empty: the host waits */
void drain_event(emu_event *e);
void drain_all(void);
void go_on(void); /* some of what is queued, as the seed likes */
void check_users(const allocation *a);

} // namespace emu
#endif
