/* load: a control connection's traffic, cheaply.
 *
 *   load server ADDR PORT                      answers each line with "200 ok\r\n"
 *   load client ADDR PORT CONNECTIONS SECONDS  one request in flight on each connection
 *
 * The client prints "ROUNDTRIPS SECONDS P50_US P99_US" of the time after a warm-up of half a second.
 * One request per connection keeps one line = one segment: TCP cannot merge them.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, SAMPLES = 4000000 };
static uint32_t *samples;

static void die(const char *what) { perror(what); exit(1); }

static uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void add(int ep, int fd, uint32_t n) {
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = (uint64_t)n << 32 | fd };
	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e)) die("epoll_ctl");
}

static void nodelay(int fd) {
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void server(struct sockaddr_in *at) {
	int one = 1, ep = epoll_create1(0), s = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(s, (void *)at, sizeof *at) || listen(s, 1024)) die("listen");
	add(ep, s, 0);
	for (;;) {
		struct epoll_event e[EVENTS];
		int n = epoll_wait(ep, e, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			int fd = (int)e[i].data.u64;
			char line[512];
			if (fd == s) {
				fd = accept(s, 0, 0);
				if (fd >= 0) { nodelay(fd); add(ep, fd, 0); }
			} else if (read(fd, line, sizeof line) <= 0) {
				close(fd);
			} else if (write(fd, "200 ok\r\n", 8) != 8) {
				close(fd);
			}
		}
	}
}

static int order(const void *a, const void *b) {
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void client(struct sockaddr_in *to, int connections, double seconds) {
	int ep = epoll_create1(0);
	uint64_t *sent = calloc(connections, sizeof *sent), done = 0;
	samples = malloc(SAMPLES * sizeof *samples);
	for (int i = 0; i < connections; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(fd, (void *)to, sizeof *to)) die("connect");
		nodelay(fd);
		add(ep, fd, i);
		sent[i] = now();
		if (write(fd, "NOOP\r\n", 6) != 6) die("write");
	}
	uint64_t from = now() + 500000000ull, end = from + (uint64_t)(seconds * 1e9), t = 0;
	while (t < end) {
		struct epoll_event e[EVENTS];
		int n = epoll_wait(ep, e, EVENTS, 100);
		for (int i = 0; i < n; i++) {
			int fd = (int)e[i].data.u64;
			uint32_t c = e[i].data.u64 >> 32;
			char line[512];
			if (read(fd, line, sizeof line) <= 0) die("read");
			t = now();
			if (t >= from && done < SAMPLES) samples[done++] = (t - sent[c]) / 1000;
			sent[c] = t;
			if (write(fd, "NOOP\r\n", 6) != 6) die("write");
		}
		t = now();
	}
	qsort(samples, done, sizeof *samples, order);
	printf("%lu %.3f %u %u\n", done, (t - from) / 1e9, done ? samples[done / 2] : 0, done ? samples[done * 99 / 100] : 0);
}

int main(int argc, char **argv) {
	if (argc < 4) return 64;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[3])) };
	inet_pton(AF_INET, argv[2], &a.sin_addr);
	if (!strcmp(argv[1], "server")) server(&a);
	else if (argc == 6) client(&a, atoi(argv[4]), atof(argv[5]));
	return 0;
}
