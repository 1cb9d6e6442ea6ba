/* stream.cc - queues of operations that run later, and clocks that know which of them are ordered.
 *
 * Nothing runs when it is asked for.  Each call of the runtime may let some queues go on, as the seed likes; a call that waits
 * runs what it waits for, and of other streams no more than the seed likes.  An operation's clock says, per stream, how many
 * operations surely come before it: those of its own stream, those that an event brought, and those that the host had waited
 * for when it queued the operation.
 */
#include "stream.h"

#include <algorithm>
#include <chrono>
#include <set>

namespace emu {

struct history {
    uint32_t stream, place;
    const char *name;
};
static std::vector<history> past(1); /* by operation; number 0 is none */
static std::set<std::string> names;
static clock host_clock;
const operation *running;
static uint32_t stream_count;
static std::vector<emu_stream *> streams;
static int policy; /* 0 at once, 1 as late as can be, 2 as it comes */

static uint64_t state;

void set_seed(uint64_t new_seed)
{
    seed = new_seed;
    state = seed * 0xda942042e4dd58b5u + 1;
    policy = static_cast<int>(seed % 3);
}

uint64_t draw(void)
{
    state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void join(clock &to, const clock &from)
{
    if (to.size() < from.size())
        to.resize(from.size(), 0);
    for (size_t i = 0; i < from.size(); i++)
        to[i] = std::max(to[i], from[i]);
}

bool ordered(uint32_t id, const operation &now)
{
    const history &h = past[id];
    if (h.stream == now.stream)
        return h.place <= now.place;
    return h.stream < now.before.size() && now.before[h.stream] >= h.place;
}

const char *name_of(uint32_t id)
{
    return past[id].name;
}

emu_stream *stream_new(void)
{
    emu_stream *s = new emu_stream();
    s->number = stream_count++;
    streams.push_back(s);
    return s;
}

void stream_delete(emu_stream *s)
{
    drain(s);
    streams.erase(std::find(streams.begin(), streams.end(), s));
    delete s;
}

operation *enqueue(emu_stream *s, const char *name, std::function<void()> run)
{
    if (std::find(streams.begin(), streams.end(), s) == streams.end())
        fail("%s on a stream that does not exist (the default stream is not used here)", name);
    if (s->capturing) {
        static operation captured;
        s->capturing->nodes.push_back(emu_graph::node{name, run});
        return &captured;
    }
    operation *o = new operation();
    counts->alone += strncmp(name, "cudaEvent", 9) != 0 && strncmp(name, "cudaStream", 10) != 0;
    o->id = static_cast<uint32_t>(past.size());
    o->stream = s->number;
    o->place = ++s->length;
    o->name = name;
    o->run = run;
    past.push_back(history{o->stream, o->place, names.insert(name).first->c_str()});
    join(s->clock, host_clock);
    if (s->clock.size() <= s->number)
        s->clock.resize(s->number + 1, 0);
    s->clock[s->number] = o->place;
    o->before = s->clock;
    s->queue.push_back(o);
    counts->queued++;
    return o;
}

void enqueue_wait(emu_stream *s, emu_event *e)
{
    if (s->capturing)
        fail("cudaStreamWaitEvent on a stream that is captured");
    operation *o = enqueue(s, "cudaStreamWaitEvent", [] {});
    o->waits = e;
    o->version = e->recorded;
    join(s->clock, e->clock);
}

void enqueue_record(emu_stream *s, emu_event *e)
{
    if (s->capturing)
        fail("cudaEventRecord on a stream that is captured");
    operation *o = enqueue(s, "cudaEventRecord", [] {});
    o->records = e;
    o->version = ++e->recorded;
    e->clock = s->clock;
}

static bool can_run(const emu_stream *s)
{
    return !s->queue.empty() && (!s->queue.front()->waits || s->queue.front()->waits->done >= s->queue.front()->version);
}

static void run_front(emu_stream *s)
{
    operation *o = s->queue.front();
    open_heap();
    running = o;
    o->run();
    running = NULL;
    if (o->records) {
        o->records->done = std::max(o->records->done, o->version);
        o->records->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    }
    s->queue.pop_front();
    counts->queued--;
    delete o;
}

/* One operation of any stream; false when none can run. */
static bool run_any(void)
{
    std::vector<emu_stream *> ready;
    for (emu_stream *s : streams)
        if (can_run(s))
            ready.push_back(s);
    if (ready.empty())
        return false;
    run_front(ready[draw() % ready.size()]);
    return true;
}

void drain(emu_stream *s)
{
    if (s->capturing)
        fail("the host waits for a stream that is captured");
    while (!s->queue.empty()) {
        if (can_run(s) && (policy == 1 || draw() % 4))
            run_front(s);
        else if (!run_any())
            fail("a stream waits for an event that nobody records");
    }
    join(host_clock, s->clock);
}

void drain_event(emu_event *e)
{
    while (e->done < e->recorded)
        if (!run_any())
            fail("the host waits for an event that nobody records");
    join(host_clock, e->clock);
}

void drain_all(void)
{
    while (run_any()) {
    }
    for (emu_stream *s : streams)
        join(host_clock, s->clock);
}

void go_on(void)
{
    if (policy == 1)
        return;
    for (uint64_t n = policy == 0 ? UINT64_MAX : draw() % 4; n > 0 && run_any(); n--) {
    }
}

/* The last operations of all streams that touched it must be ordered before the one that frees it. */
void check_users(const allocation *a)
{
    for (uint32_t id : a->users)
        if (id && id != running->id && !ordered(id, *running))
            fail("missing stream dependency: memory is freed that %s of another stream may still use", name_of(id));
}

} // namespace emu
