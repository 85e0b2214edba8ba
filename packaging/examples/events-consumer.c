/*
 * Reads an event queue of cthelperd in its raw format and prints it with libnetfilter_conntrack: for programs that parse the kernel's
 * own messages today. It needs no privilege but to be among the queue's readers.
 *
 *     cc -Wall -o events-consumer events-consumer.c -lnetfilter_conntrack
 *     ./events-consumer /run/cthelperd/events.sock 1       or: cthelperctl events --format raw | ./events-consumer -
 *
 * What stands between events, how much was lost, goes to stderr. Exit status: 0 the stream ended, 1 it could not be had, 2 usage.
 */
#include <endian.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

/* A notice: netlink message of type NLMSG_NOOP with this behind its header, big-endian. */
struct notice {
	uint32_t magic; /* "CTEV" */
	uint32_t kind;
	uint64_t events;
};

/* Exactly this much; 0 at the end of the stream. */
static int get(int fd, void *to, size_t size)
{
	for (char *at = to; size > 0;) {
		ssize_t got = read(fd, at, size);
		if (got <= 0)
			return 0;
		at += got;
		size -= (size_t)got;
	}
	return 1;
}

static int subscribe(const char *path, const char *queue)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strncpy(to.sun_path, path, sizeof to.sun_path - 1);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
		perror(path);
		return -1;
	}
	if (dprintf(fd, "{\"queue\":%s,\"format\":\"raw\"}\n", queue) < 0) {
		perror(path);
		return -1;
	}
	/* One line answers. Byte by byte: what follows it is not ours to read ahead. */
	char answer[4096];
	size_t length = 0;
	while (length < sizeof answer - 1 && get(fd, answer + length, 1) && answer[length] != '\n')
		length++;
	answer[length] = 0;
	if (strncmp(answer, "{\"ok\":", 6) != 0) {
		fprintf(stderr, "%s\n", answer);
		return -1;
	}
	return fd;
}

static void tell(const struct nlmsghdr *message)
{
	static const char *const kinds[] = { NULL, "lost", "gap", "resync begins", "resync ends" };
	struct notice notice;

	if (message->nlmsg_len < NLMSG_LENGTH(sizeof notice))
		return;
	memcpy(&notice, NLMSG_DATA(message), sizeof notice);
	uint32_t kind = be32toh(notice.kind);
	if (be32toh(notice.magic) != 0x43544556 || kind < 1 || kind > 4)
		return;
	fprintf(stderr, kind == 1 ? "%s %llu\n" : "%s\n", kinds[kind], (unsigned long long)be64toh(notice.events));
}

static unsigned int type_of(const struct nlmsghdr *message)
{
	if (NFNL_MSG_TYPE(message->nlmsg_type) == IPCTNL_MSG_CT_DELETE)
		return NFCT_T_DESTROY;
	if (message->nlmsg_flags & NLM_F_MULTI)
		return NFCT_T_UNKNOWN; /* of a resync: it is there */
	return message->nlmsg_flags & NLM_F_CREATE ? NFCT_T_NEW : NFCT_T_UPDATE;
}

static void print(const struct nlmsghdr *message)
{
	char line[4096] = "";

	if (NFNL_SUBSYS_ID(message->nlmsg_type) == NFNL_SUBSYS_CTNETLINK) {
		struct nf_conntrack *ct = nfct_new();
		if (ct && nfct_nlmsg_parse(message, ct) == 0)
			nfct_snprintf(line, sizeof line, ct, type_of(message), NFCT_O_DEFAULT, 0);
		nfct_destroy(ct);
	} else if (NFNL_SUBSYS_ID(message->nlmsg_type) == NFNL_SUBSYS_CTNETLINK_EXP) {
		struct nf_expect *exp = nfexp_new();
		if (exp && nfexp_nlmsg_parse(message, exp) == 0)
			nfexp_snprintf(line, sizeof line, exp, type_of(message), NFCT_O_DEFAULT, 0);
		nfexp_destroy(exp);
	}
	if (*line)
		puts(line);
}

int main(int argc, char **argv)
{
	static union {
		struct nlmsghdr header;
		char bytes[1 << 16];
	} message;
	int fd = 0;

	if (argc != 3 && !(argc == 2 && strcmp(argv[1], "-") == 0)) {
		fprintf(stderr, "usage: %s SOCKET QUEUE | %s -\n", argv[0], argv[0]);
		return 2;
	}
	if (argc == 3 && (fd = subscribe(argv[1], argv[2])) < 0)
		return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (get(fd, &message.header, sizeof message.header)) {
		size_t length = NLMSG_ALIGN(message.header.nlmsg_len);
		if (message.header.nlmsg_len < sizeof message.header || length > sizeof message.bytes) {
			fprintf(stderr, "not a netlink message\n");
			return 1;
		}
		if (!get(fd, message.bytes + sizeof message.header, length - sizeof message.header))
			break;
		if (message.header.nlmsg_type == NLMSG_NOOP)
			tell(&message.header);
		else
			print(&message.header);
	}
	return 0;
}
