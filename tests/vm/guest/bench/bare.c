/* bare: the least a user-space helper can be. Registers "ftp" (IPv4, TCP) on queue 100 and accepts
 * everything: recvmmsg, one batch verdict, no parsing. It is the floor that bench.sh measures
 * cthelperd and conntrackd against. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netfilter/nfnetlink_cthelper.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { QUEUE = 100, BATCH = 32, SIZE = 8192 };
static char request[1024];
static struct nlmsghdr *head = (void *)request;

static void *put(uint16_t type, const void *data, int size) {
	struct nlattr *a = (void *)(request + head->nlmsg_len);
	a->nla_type = type;
	a->nla_len = 4 + size;
	if (data) memcpy(a + 1, data, size);
	head->nlmsg_len += (4 + size + 3) & ~3;
	return a;
}
static void put32(uint16_t type, uint32_t v) { v = htonl(v); put(type, &v, 4); }
static void close_nest(struct nlattr *a) { a->nla_len = request + head->nlmsg_len - (char *)a; }

static void begin(int subsystem, int operation, int flags, int resource) {
	memset(request, 0, sizeof request);
	head->nlmsg_len = NLMSG_HDRLEN + sizeof(struct nfgenmsg);
	head->nlmsg_type = subsystem << 8 | operation;
	head->nlmsg_flags = NLM_F_REQUEST | flags;
	((struct nfgenmsg *)NLMSG_DATA(head))->res_id = htons(resource);
}

static void finish(int fd, const char *what) {
	char answer[SIZE];
	struct nlmsghdr *h = (void *)answer;
	if (send(fd, request, head->nlmsg_len, 0) < 0 || recv(fd, answer, sizeof answer, 0) < 0) { perror(what); exit(1); }
	int e = ((struct nlmsgerr *)NLMSG_DATA(h))->error;
	if (e) { fprintf(stderr, "bare: %s: %s\n", what, strerror(-e)); exit(1); }
}

int main(void) {
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER), big = 32 << 20;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof big);
	struct nfqnl_msg_config_cmd bind_it = { NFQNL_CFG_CMD_BIND, 0, 0 };
	begin(NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG, NLM_F_ACK, QUEUE);
	put(NFQA_CFG_CMD, &bind_it, sizeof bind_it);
	finish(fd, "bind");
	struct nfqnl_msg_config_params copy = { htonl(0xffff), NFQNL_COPY_PACKET };
	begin(NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG, NLM_F_ACK, QUEUE);
	put(NFQA_CFG_PARAMS, &copy, 5);
	put32(NFQA_CFG_QUEUE_MAXLEN, 10240);
	put32(NFQA_CFG_MASK, NFQA_CFG_F_CONNTRACK);
	put32(NFQA_CFG_FLAGS, NFQA_CFG_F_CONNTRACK);
	finish(fd, "configure");

	begin(NFNL_SUBSYS_CTHELPER, NFNL_MSG_CTHELPER_NEW, NLM_F_ACK | NLM_F_CREATE, 0);
	put(NFCTH_NAME, "ftp", 4);
	struct nlattr *n = put(NFCTH_TUPLE | NLA_F_NESTED, 0, 0);
	uint16_t l3 = htons(AF_INET); uint8_t l4 = IPPROTO_TCP;
	put(NFCTH_TUPLE_L3PROTONUM, &l3, 2); put(NFCTH_TUPLE_L4PROTONUM, &l4, 1);
	close_nest(n);
	put32(NFCTH_QUEUE_NUM, QUEUE);
	n = put(NFCTH_POLICY | NLA_F_NESTED, 0, 0);
	put32(NFCTH_POLICY_SET_NUM, 1);
	struct nlattr *set = put(NFCTH_POLICY_SET1 | NLA_F_NESTED, 0, 0);
	put(NFCTH_POLICY_NAME, "ftp", 4); put32(NFCTH_POLICY_EXPECT_MAX, 1); put32(NFCTH_POLICY_EXPECT_TIMEOUT, 300);
	close_nest(set); close_nest(n);
	put32(NFCTH_PRIV_DATA_LEN, 24); put32(NFCTH_STATUS, NFCT_HELPER_STATUS_ENABLED);
	finish(fd, "register");

	static char data[BATCH][SIZE];
	struct iovec io[BATCH];
	struct mmsghdr m[BATCH];
	memset(m, 0, sizeof m);
	for (int i = 0; i < BATCH; i++) {
		io[i] = (struct iovec){ data[i], SIZE };
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &io[i], .msg_iovlen = 1 };
	}
	for (;;) {
		int got = recvmmsg(fd, m, BATCH, MSG_WAITFORONE, 0);
		if (got < 0) { if (errno == ENOBUFS || errno == EINTR) continue; perror("recvmmsg"); return 1; }
		/* The packet header is always the first attribute; its id the first word. */
		uint32_t id = *(uint32_t *)(data[got - 1] + NLMSG_HDRLEN + sizeof(struct nfgenmsg) + 4);
		struct nfqnl_msg_verdict_hdr v = { htonl(1), id };
		begin(NFNL_SUBSYS_QUEUE, NFQNL_MSG_VERDICT_BATCH, 0, QUEUE);
		put(NFQA_VERDICT_HDR, &v, sizeof v);
		send(fd, request, head->nlmsg_len, 0);
	}
}
