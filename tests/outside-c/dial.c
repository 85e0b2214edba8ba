/* dial.c: the helper of tests/outside in C, from worker/PROTOCOL.md alone: libc, no library of ours.
 *
 *     cthelperctl policy worker --bpf >seal.h && cc -O2 -Wl,-z,now -o cthelper-dial dial.c
 *
 * `DIAL 4000`, says the server, and the client connects to that port of it. Memory is static: behind the seal there is no call to
 * get more. Exit codes are the SDK's (worker/src/run.rs).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef UNSEALED
#define UNSEALED 0                                 /* tests: 1 forgets the filter */
#endif
#ifndef FAULTS
#define FAULTS 0                                   /* tests: 1 does as a line FAULT says */
#endif

enum { PACKETS, ASKS, LOG };                       /* descriptors */
enum { HELLO = 1, READY, EXPECT, WITHDRAW };       /* asks */
enum { WELCOME, GO, GRANTED, REFUSED, GONE };      /* answers */
enum { PACKET, FLOW_CLOSED, DRAIN };               /* to the worker */
enum { PREFIX = 6, MAX_FRAMES = 32, MAX_RECORD = PREFIX + 16384 + 65535, MAX_EDITS = 16 };
enum { VERSION = 3, MAX_LINE = 513, FLOWS = 512 };
enum { USAGE = 64, PROTOCOL = 70, SYSTEM = 71, CONFINEMENT = 77 };

_Noreturn static void end(int code, const char *why) {
    char line[128];
    int length = snprintf(line, sizeof line, "cthelper-dial: %s\n", why);
    if (*why && write(LOG, line, (size_t)length) < 0) code = code ? code : SYSTEM;
    _exit(code);
}

/* ---- bytes: little-endian, fixed widths ---------------------------------------------------------- */

struct writer { uint8_t *frame, *at; };
struct reader { const uint8_t *at; size_t left; bool bad; };

static void put(struct writer *w, uint64_t value, int width) {
    for (; width--; value >>= 8) *w->at++ = (uint8_t)value;
}

static void put_bytes(struct writer *w, const void *bytes, size_t length) {
    memcpy(w->at, bytes, length);
    w->at += length;
}

static void put_text(struct writer *w, const char *text) {
    put(w, strlen(text), 8);
    put_bytes(w, text, strlen(text));
}

static void begin(struct writer *w, uint32_t message) {
    w->frame = w->at;
    w->at += PREFIX;
    put(w, message, 4);
}

static void finish(struct writer *w) {
    struct writer prefix = { w->frame, w->frame };
    put(&prefix, (uint64_t)(w->at - w->frame) - PREFIX, 2);
    put(&prefix, 0, 4);
}

static uint64_t get(struct reader *r, int width) {
    uint64_t value = 0;
    if (r->left < (size_t)width) { r->bad = true; r->left = 0; return 0; }
    for (int n = 0; n < width; n++) value |= (uint64_t)r->at[n] << 8 * n;
    r->at += width;
    r->left -= (size_t)width;
    return value;
}

static struct reader part(struct reader *r, size_t length) {
    struct reader taken = { r->at, length, length > r->left };
    if (taken.bad) { r->bad = true; length = taken.left = r->left; }
    r->at += length;
    r->left -= length;
    return taken;
}

/* ---- messages ------------------------------------------------------------------------------------ */

struct addr { uint32_t kind; uint8_t bytes[16]; };
struct tuple { struct addr src, dst; uint8_t proto; uint16_t sport, dport; };
struct packet {
    uint64_t ticket;
    uint32_t flow, info, seq;
    struct tuple orig, reply;
    bool has_state, is_tcp, last;
    uint8_t state_length, state;                   /* our manifest has one private byte */
};
struct edit { uint16_t at, cut; char put[8]; };
struct verdict { uint64_t ticket; struct edit edits[MAX_EDITS]; size_t count; bool new_state; uint8_t state; const char *malformed; };
struct answer { uint32_t kind, id; struct addr addr; uint16_t port; };

static size_t width(const struct addr *addr) { return addr->kind ? 16 : 4; }

static void put_addr(struct writer *w, const struct addr *addr) {
    put(w, addr->kind, 4);
    put_bytes(w, addr->bytes, width(addr));
}

static struct addr get_addr(struct reader *r) {
    struct addr addr = { (uint32_t)get(r, 4), { 0 } };
    r->bad |= addr.kind > 1;
    for (size_t n = 0; n < width(&addr); n++) addr.bytes[n] = (uint8_t)get(r, 1);
    return addr;
}

static struct tuple get_tuple(struct reader *r) {
    struct tuple t = { .src = get_addr(r) };
    t.dst = get_addr(r);
    t.proto = (uint8_t)get(r, 1);
    t.sport = (uint16_t)get(r, 2);
    t.dport = (uint16_t)get(r, 2);
    return t;
}

static struct packet get_packet(struct reader *r) {
    struct packet p = { .ticket = get(r, 8) };
    p.flow = (uint32_t)get(r, 4);
    p.orig = get_tuple(r);
    p.reply = get_tuple(r);
    p.info = (uint32_t)get(r, 4);
    if ((p.has_state = get(r, 1))) {
        p.state_length = (uint8_t)get(r, 1);
        p.state = (uint8_t)get(r, 1);
        part(r, 31);
    }
    if ((p.is_tcp = get(r, 1))) { p.seq = (uint32_t)get(r, 4); p.last = get(r, 1); }
    return p;
}

static struct answer get_answer(struct reader *r) {
    struct answer a = { .kind = (uint32_t)get(r, 4) };
    if (a.kind == GRANTED) { a.id = (uint32_t)get(r, 4); a.addr = get_addr(r); a.port = (uint16_t)get(r, 2); }
    return a;
}

static void put_hello(struct writer *w) {
    begin(w, HELLO);
    put(w, VERSION, 2);
    put_text(w, "dial");
    put(w, 0, 4);                                              /* TCP */
    put(w, 2, 8); put(w, 0, 4); put(w, 1, 4);                  /* two families: IPv4, IPv6 */
    put(w, 1, 8);                                              /* one class */
    put_text(w, "call");
    put(w, 0, 4); put(w, 2, 1); put(w, 30, 4); put(w, 0, 4);   /* both ends; two at a time, for 30 s; TCP */
    put(w, 0, 5);                                              /* not: staying, to the own port, to a reserved one, read by a helper, keeping */
    put(w, 1, 1);                                              /* one private byte */
    put(w, 1, 8); put(w, 4242, 2);                             /* one port */
    put_text(w, "this file");
    finish(w);
}

static void put_ready(struct writer *w, uint32_t enforced, uint8_t abi) {
    begin(w, READY);
    put(w, enforced, 4);
    if (enforced < 2) put(w, abi, 1);
    finish(w);
}

static void put_expect(struct writer *w, uint64_t ticket, const struct addr *dst, uint16_t dport) {
    begin(w, EXPECT);
    put(w, ticket, 8);
    put(w, 0, 1); put(w, 6, 1); put(w, 0, 4); put(w, 0, 1);   /* class 0; from the peer, from any port */
    put_addr(w, dst); put(w, dport, 2);
    put(w, 0, 1);                                                        /* used up by the first connection */
    finish(w);
}

static void put_withdraw(struct writer *w, uint64_t ticket, uint32_t id) {
    begin(w, WITHDRAW);
    put(w, ticket, 8); put(w, id, 4);
    finish(w);
}

static void put_verdict(struct writer *w, const struct verdict *v) {
    begin(w, 0);
    put(w, v->ticket, 8);
    put(w, 0, 4);                                              /* it passes */
    put(w, v->count, 8);
    for (size_t n = 0; n < v->count; n++) {
        put(w, v->edits[n].at, 2); put(w, v->edits[n].cut, 2);
        put_text(w, v->edits[n].put);
    }
    put(w, v->new_state, 1);
    if (v->new_state) { put(w, 1, 1); put(w, v->state, 1); memset(w->at, 0, 31); w->at += 31; }
    put(w, v->malformed != NULL, 1);
    if (v->malformed) put_text(w, v->malformed);
    finish(w);
}

/* ---- channels ------------------------------------------------------------------------------------ */

static uint8_t verdicts[1 << 16];                  /* 32 of at most 400 bytes */
static struct writer out = { verdicts, verdicts };
static int queued;

static void say(int channel, const void *record, size_t length) {
    ssize_t sent;
    do sent = send(channel, record, length, MSG_NOSIGNAL); while (sent < 0 && errno == EINTR);
    if (sent < 0) end(errno == EPIPE || errno == ECONNRESET ? 0 : SYSTEM, errno == EPIPE || errno == ECONNRESET ? "" : "send");
}

static struct reader hear(int channel, uint8_t *record, size_t room) {
    ssize_t got;
    do got = recv(channel, record, room, MSG_TRUNC); while (got < 0 && errno == EINTR);
    if (got == 0 || (got < 0 && errno == ECONNRESET)) end(0, "");              /* the supervisor is gone */
    if (got < 0 || (size_t)got > room) end(got < 0 ? SYSTEM : PROTOCOL, got < 0 ? "receive" : "record too long");
    return (struct reader){ record, (size_t)got, false };
}

static void flush(void) {
    if (queued) say(PACKETS, verdicts, (size_t)(out.at - verdicts));
    out.at = verdicts;
    queued = 0;
}

/* What is finished goes out first: the oldest ticket without a verdict is the one in hand. */
static struct answer ask(const uint8_t *record, const struct writer *w) {
    static uint8_t heard[4096];
    flush();
    say(ASKS, record, (size_t)(w->at - record));
    struct reader r = hear(ASKS, heard, sizeof heard);
    size_t header = get(&r, 2), payload = get(&r, 4);
    struct answer a = get_answer(&r);
    if (r.bad || payload || header < 4) end(PROTOCOL, "bad answer from the supervisor");
    return a;
}

/* ---- confinement: landlock with nothing allowed, not dumpable, the filter ------------------------- */

static const struct sock_filter FILTER[] = {
#include "seal.h"
};

static void seal(uint32_t *enforced, uint8_t *abi) {
    struct { uint64_t files, net, scopes; } all = { 0 };       /* what each ABI of landlock can forbid (landlock(7)) */
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
    *enforced = 2;
    if (version > 0) {
        all.files = version < 2 ? 0x1fff : version < 3 ? 0x3fff : version < 5 ? 0x7fff : version < 9 ? 0xffff : 0x1ffff;
        all.net = version < 4 ? 0 : 3;
        all.scopes = version < 6 ? 0 : 3;
        int rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);
        if (rules < 0 || syscall(SYS_landlock_restrict_self, rules, 0)) end(CONFINEMENT, "cannot apply landlock");
        close(rules);
        *enforced = version < 9;
        *abi = (uint8_t)version;
    }
    struct sock_fprog program = { sizeof FILTER / sizeof *FILTER, (struct sock_filter *)FILTER };
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)) end(CONFINEMENT, "cannot become undumpable");
    if (!UNSEALED && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) end(CONFINEMENT, "cannot apply the filter");
}

/* ---- the helper ---------------------------------------------------------------------------------- */

/* The server's lines of one connection: a cache, which may be lost. What must survive is the private byte: the newest segment ended
 * in the middle of a line. Room for a new connection has the one unheard of for longest: a line may stand open on each of the others. */
struct lines { uint32_t next, start; bool begun, has_start, skip; uint8_t state; size_t length; uint8_t text[MAX_LINE]; };
static struct lines cache[FLOWS];
static struct { uint64_t heard; uint32_t flow; } keys[FLOWS];          /* of each; heard 0: free */
enum { MID_LINE = 2 };

/* `FAULT call 41` or `FAULT`, from a test. */
static void fault(const char *text, size_t length) {
    static char *volatile nowhere = (char *)0x10;
    long number = 0;
    for (size_t n = sizeof "FAULT call"; n < length; n++) number = number * 10 + text[n] - '0';
    if (number || length > 6) syscall(number, 0, 0, 0, 0, 0, 0);
    else *nowhere = 1;
}

/* A line without its end; its first `before` bytes came in earlier segments, the others stand at `at` of the payload. */
static void line(const struct packet *p, struct verdict *v, const char *text, size_t length, size_t before, size_t at) {
    if (length && text[length - 1] == '\r') length--;
    if (FAULTS && length >= 5 && !memcmp(text, "FAULT", 5)) fault(text, length);
    if (length < 5 || strncasecmp(text, "DIAL ", 5)) return;
    size_t stop = 5;
    uint32_t port = 0;
    for (; stop < length && text[stop] >= '0' && text[stop] <= '9'; stop++)
        if (port <= 65535) port = port * 10 + (uint32_t)(text[stop] - '0');
    if (port < 1 || port > 65535) { if (!v->malformed) v->malformed = "DIAL port"; return; }

    uint8_t record[128];
    struct writer w = { record, record };
    put_expect(&w, p->ticket, &p->reply.src, (uint16_t)port);
    struct answer granted = ask(record, &w);
    if (granted.kind != GRANTED || granted.port == port) return;       /* refused: counted by the supervisor, the line passes */
    if (before > 5 || v->count == MAX_EDITS) {                          /* the client cannot be told */
        w.at = record;
        put_withdraw(&w, p->ticket, granted.id);
        ask(record, &w);
        if (!v->malformed) v->malformed = before > 5 ? "split announcement" : "edit";
        return;
    }
    struct edit *edit = &v->edits[v->count++];
    edit->at = (uint16_t)(at + 5 - before);
    edit->cut = (uint16_t)(stop - 5);
    snprintf(edit->put, sizeof edit->put, "%u", granted.port);
}

/* Where a connection's lines are, or the ones to give up for it. */
static size_t place(uint32_t flow, bool *found) {
    size_t oldest = 0;
    for (size_t n = 0; n < FLOWS; n++) {
        if ((*found = keys[n].heard && keys[n].flow == flow)) return n;
        if (keys[n].heard < keys[oldest].heard) oldest = n;
    }
    return oldest;
}

/* What is known of a connection, from either end: the private bytes come with the one that has nothing before it with the worker. */
static struct lines *recall(const struct packet *p) {
    static uint64_t clock;
    bool found;
    size_t n = place(p->flow, &found);
    if (!found && !p->has_state) return NULL;                  /* nothing can be said of the packet */
    if (!found) cache[n] = (struct lines){ 0 };
    keys[n].flow = p->flow;
    keys[n].heard = ++clock;
    if (p->has_state) cache[n].state = p->state;
    return &cache[n];
}

static void forget(uint32_t flow) {
    bool found;
    size_t n = place(flow, &found);
    if (found) keys[n].heard = 0;
}

/* Of the server's stream: lines joined over segments, also of one that comes again. A segment is read from its first byte only where a
 * line begins there; else from behind its first LF, so that text in the middle of a line is not taken for an announcement. */
static void segment(struct lines *l, const struct packet *p, struct verdict *v, const uint8_t *payload, size_t length) {
    if (!l->begun) { l->begun = true; l->next = p->seq; l->skip = l->state & MID_LINE; }
    bool newest = (int32_t)(p->seq + (uint32_t)length - l->next) > 0;
    struct lines old = *l;
    if (p->seq != l->next) {                                   /* again, or behind a gap */
        l->length = 0;
        l->skip = !l->has_start || p->seq != l->start;
    } else if (!l->length && !l->skip) {
        l->start = p->seq;
        l->has_start = true;
    }
    for (size_t n = 0, at = 0, before = l->length; n < length; n++) {
        if (payload[n] == '\n') {
            if (!l->skip) line(p, v, (char *)l->text, l->length, before, at);
            l->length = before = 0;
            l->skip = false;
            at = n + 1;
        } else if (l->length == MAX_LINE) {
            if (!l->skip && !v->malformed) v->malformed = "line length";
            l->skip = true;
        } else l->text[l->length++] = payload[n];
    }
    if (!newest) { *l = old; return; }
    l->next = p->seq + (uint32_t)length;
    v->state = l->length || l->skip ? MID_LINE : 0;
    v->new_state = v->state != l->state;
    l->state = v->state;
}

static void packet(const struct packet *p, const uint8_t *payload, size_t length) {
    static struct verdict v;
    memset(&v, 0, sizeof v);
    v.ticket = p->ticket;
    struct lines *known = p->is_tcp ? recall(p) : NULL;
    if (known && p->info == 3) segment(known, p, &v, payload, length);   /* established, from the server */
    if (queued == MAX_FRAMES) flush();
    put_verdict(&out, &v);
    queued++;
}

_Noreturn static void serve(void) {
    static uint8_t record[MAX_RECORD];
    for (;; flush()) {
        for (struct reader r = hear(PACKETS, record, sizeof record); r.left;) {
            size_t header = get(&r, 2), payload = get(&r, 4);
            struct reader head = part(&r, header), body = part(&r, payload);
            uint32_t kind = (uint32_t)get(&head, 4);
            struct packet p = kind == PACKET ? get_packet(&head) : (struct packet){ .flow = kind == FLOW_CLOSED ? (uint32_t)get(&head, 4) : 0 };
            if (r.bad || head.bad || head.left || kind > DRAIN) end(PROTOCOL, "bad record from the supervisor");
            if (kind == PACKET) packet(&p, body.at, body.left);
            else if (kind == FLOW_CLOSED) forget(p.flow);
            else { flush(); end(0, ""); }
        }
    }
}

static const char LISTING[] =
    "[{\"name\":\"dial\",\"l4s\":\"tcp\",\"families\":[\"inet\",\"inet6\"],\"classes\":[{\"name\":\"call\",\"scope\":\"BothEnds\",\"expect_max\":2,"
    "\"timeout_secs\":30,\"l4s\":\"tcp\",\"may_stay\":false,\"own_port\":false,\"reserved\":null,\"helped_by\":null,\"master_timeout_secs\":null}],\"state_len\":1,"
    "\"ports\":[4242],\"source\":\"this file\",\"rewrites\":true,\"attacks\":[]}]";

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "--list") && !strcmp(argv[2], "dial")) return puts(LISTING) < 0;
    if (argc != 2 || strcmp(argv[1], "dial")) end(USAGE, "usage: cthelper-dial dial");
    uint8_t record[256], abi = 0;
    uint32_t enforced;
    struct writer w = { record, record };
    put_hello(&w);
    if (ask(record, &w).kind != WELCOME) end(PROTOCOL, "no Welcome");
    seal(&enforced, &abi);
    w.at = record;
    put_ready(&w, enforced, abi);
    if (ask(record, &w).kind != GO) end(PROTOCOL, "no Go");
    serve();
}
