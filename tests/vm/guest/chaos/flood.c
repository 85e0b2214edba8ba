/* flood: datagrams that are echoed, none of which may be lost.
 *
 *   flood server ADDR PORT                     sends every datagram back
 *   flood client ADDR PORT FLOWS WINDOW SECONDS
 *
 * A flow is a socket with WINDOW datagrams in flight; its first one travels alone (as in TFTP: until it is answered the
 * connection is not in conntrack's table), and after ROUNDS echoes it ends and a new flow begins from another port. Nothing is
 * ever sent again. After SECONDS, or SIGTERM, the client waits until all are back, or none has come for PATIENCE seconds.
 *
 * It prints "SENT ECHOED REPEATED FLOWS P50_US P99_US WORST_US LATE": datagrams sent, different ones that came back, echoes that came
 * twice, flows used, round trip times, and how many of these were above LATE_US.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, ROUNDS = 64, MAX_WINDOW = 64, MAX_FLOWS = 4096, SAMPLES = 4000000, PATIENCE = 10, LATE_US = 400000 };

struct datagram { uint32_t flow, number; uint64_t sent; char fill[32]; };
struct flow { int fd; uint32_t serial, sent, echoed; uint64_t seen[(ROUNDS + 63) / 64]; };

static struct flow flows[MAX_FLOWS];
static uint32_t *samples, serials;
static uint64_t sent, echoed, repeated, taken, late;
static struct sockaddr_storage to;
static socklen_t to_len;

static volatile sig_atomic_t told;
static void on_term(int signal) { (void)signal; told = 1; }

static void die(const char *what) { perror(what); exit(1); }

static uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void address(const char *host, const char *port) {
	struct sockaddr_in *v4 = (void *)&to;
	struct sockaddr_in6 *v6 = (void *)&to;
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET; v4->sin_port = htons(atoi(port)); to_len = sizeof *v4;
	} else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6; v6->sin6_port = htons(atoi(port)); to_len = sizeof *v6;
	} else { fprintf(stderr, "no address: %s\n", host); exit(64); }
}

/* Room for everything that can be under way: only the router may lose something. */
static void roomy(int fd) {
	int bytes = 8 << 20;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes)) die("SO_RCVBUFFORCE");
}

static void server(void) {
	int s = socket(to.ss_family, SOCK_DGRAM, 0);
	roomy(s);
	if (bind(s, (void *)&to, to_len)) die("bind");
	for (;;) {
		char d[2048];
		struct sockaddr_storage from;
		socklen_t len = sizeof from;
		ssize_t n = recvfrom(s, d, sizeof d, 0, (void *)&from, &len);
		if (n > 0 && sendto(s, d, n, 0, (void *)&from, len) != n) die("sendto");
	}
}

static void send_one(struct flow *f) {
	struct datagram d = { .flow = f->serial, .number = f->sent, .sent = now() };
	if (send(f->fd, &d, sizeof d, 0) != sizeof d) die("send");
	f->sent++; sent++;
}

static void open_flow(int ep, uint32_t n) {
	struct flow *f = &flows[n];
	memset(f, 0, sizeof *f);
	f->serial = ++serials;
	if ((f->fd = socket(to.ss_family, SOCK_DGRAM, 0)) < 0 || connect(f->fd, (void *)&to, to_len)) die("connect");
	struct epoll_event e = { .events = EPOLLIN, .data.u32 = n };
	if (epoll_ctl(ep, EPOLL_CTL_ADD, f->fd, &e)) die("epoll_ctl");
	send_one(f);
}

static void take(struct flow *f, const struct datagram *d) {
	if (d->flow != f->serial || d->number >= ROUNDS) return;
	uint64_t bit = 1ull << (d->number % 64), *word = &f->seen[d->number / 64];
	if (*word & bit) { repeated++; return; }
	*word |= bit; f->echoed++; echoed++;
	uint64_t us = (now() - d->sent) / 1000;
	late += us > LATE_US;
	if (taken < SAMPLES) samples[taken++] = us;
}

static int order(const void *a, const void *b) {
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void client(uint32_t count, uint32_t window, double seconds) {
	int ep = epoll_create1(0);
	samples = malloc(SAMPLES * sizeof *samples);
	for (uint32_t i = 0; i < count; i++) open_flow(ep, i);
	uint64_t end = now() + (uint64_t)(seconds * 1e9), heard = now(), t = heard;
	signal(SIGTERM, on_term);
	while (t < end || (sent != echoed && t - heard < PATIENCE * 1000000000ull)) {
		struct epoll_event e[EVENTS];
		int n = epoll_wait(ep, e, EVENTS, 100);
		for (int i = 0; i < n; i++) {
			struct flow *f = &flows[e[i].data.u32];
			struct datagram d;
			while (recv(f->fd, &d, sizeof d, MSG_DONTWAIT) == sizeof d) { take(f, &d); heard = now(); }
			if (now() >= end) continue;
			while (f->echoed && f->sent < ROUNDS && f->sent - f->echoed < window) send_one(f);
			if (f->echoed == ROUNDS) { close(f->fd); open_flow(ep, e[i].data.u32); }
		}
		t = now();
		if (told && end > t) end = t;
	}
	qsort(samples, taken, sizeof *samples, order);
	printf("%lu %lu %lu %u %u %u %u %lu\n", sent, echoed, repeated, serials, taken ? samples[taken / 2] : 0,
		taken ? samples[taken * 99 / 100] : 0, taken ? samples[taken - 1] : 0, late);
}

int main(int argc, char **argv) {
	if (argc != 4 && argc != 7) return 64;
	address(argv[2], argv[3]);
	if (!strcmp(argv[1], "server") && argc == 4) { server(); return 0; }
	uint32_t count = argc == 7 ? atoi(argv[4]) : 0, window = argc == 7 ? atoi(argv[5]) : 0;
	if (!count || count > MAX_FLOWS || !window || window > MAX_WINDOW) return 64;
	client(count, window, atof(argv[6]));
	return 0;
}
