/* golden.c FILE: dial.c's own codec against proto/golden/worker.hex: what it says is encoded to exactly those bytes, what it hears is
 * decoded from them. Says what differs; exit status 1 if anything does. */
#define main dial_main
#include "dial.c"
#undef main
#include <stdlib.h>

static int checked, wrong;

static void differs(const char *name, const char *how) {
    printf("%s: %s\n", name, how);
    wrong++;
}

/* Says `name` as golden.rs has it; 0 if this helper has no such thing to say. */
static size_t said(const char *name, uint8_t *record) {
    static const struct addr server = { 0, { 10, 0, 2, 2 } };
    struct writer w = { record, record };
    struct verdict v = { .ticket = 7 };
    if (!strcmp(name, "ask/Hello")) put_hello(&w);
    else if (!strcmp(name, "ask/Ready")) put_ready(&w, 0, 2);
    else if (!strcmp(name, "ask/Ready partial")) put_ready(&w, 1, 2);
    else if (!strcmp(name, "ask/Ready no landlock")) put_ready(&w, 2, 0);
    else if (!strcmp(name, "ask/Expect")) put_expect(&w, 7, &server, 4000);
    else if (!strcmp(name, "ask/Withdraw")) put_withdraw(&w, 7, 3);
    else if (!strcmp(name, "from-worker/Verdict")) put_verdict(&w, &v);
    else if (!strcmp(name, "from-worker/Verdict edit, state")) {
        v = (struct verdict){ .ticket = 7, .edits = { { 5, 4, "40001" } }, .count = 1, .new_state = true, .state = 2 };
        put_verdict(&w, &v);
    } else if (!strcmp(name, "from-worker/Verdict malformed")) {
        v.malformed = "DIAL port";
        put_verdict(&w, &v);
    }
    return (size_t)(w.at - record);
}

static void heard_packet(const char *name, struct reader *head, const struct reader *body) {
    struct packet p = get_packet(head);
    bool v6 = strstr(name, "ipv6"), udp = strstr(name, "no TCP");
    if (head->bad || head->left || p.ticket != 7 || p.flow != 0x01020304 || p.orig.sport != 40000 || p.reply.src.kind != v6
        || p.reply.sport != 4242 || p.reply.dport != 40000)
        return differs(name, "read otherwise");
    if (v6 ? p.has_state || !p.last || p.seq != 1 : udp ? p.is_tcp || p.state_length != 0 || p.info != 2
        : !p.has_state || p.state_length != 1 || p.state != MID_LINE || p.seq != 0x10000001 || p.last || p.info != 3)
        differs(name, "read otherwise");
    if (!v6 && !udp && (body->left != 11 || memcmp(body->at, "DIAL 4000\r\n", 11))) differs(name, "another payload");
}

static void heard_answer(const char *name, struct reader *head) {
    static const char *const KINDS[] = { "answer/Welcome", "answer/Go", "answer/Granted", "answer/Refused", "answer/Gone" };
    struct answer a = get_answer(head);
    if (head->bad || a.kind > GONE || strncmp(name, KINDS[a.kind], strlen(KINDS[a.kind]))) differs(name, "another answer");
    if (a.kind == GRANTED && (head->left || a.id != 3 || a.port != 4001 || a.addr.kind != (strstr(name, "ipv6") != NULL)))
        differs(name, "read otherwise");
}

static void check(const char *name, const uint8_t *golden, size_t length) {
    static uint8_t record[1 << 12];
    size_t mine = said(name, record);
    checked += mine > 0;
    if (mine && (mine != length || memcmp(record, golden, length))) differs(name, "other bytes");
    struct reader r = { golden, length, false };
    size_t header = get(&r, 2), payload = get(&r, 4);
    struct reader head = part(&r, header), body = part(&r, payload);
    if (!strncmp(name, "answer/", 7)) { heard_answer(name, &head); checked++; }
    if (!strncmp(name, "to-worker/", 10)) {
        uint32_t kind = (uint32_t)get(&head, 4);
        if (kind != (strstr(name, "Packet") ? PACKET : strstr(name, "Drain") ? DRAIN : FLOW_CLOSED)) differs(name, "another message");
        if (kind == PACKET) heard_packet(name, &head, &body);
        checked++;
    }
}

int main(int argc, char **argv) {
    static char line[4096];
    static uint8_t bytes[2048];
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (!file) return perror("golden"), 2;
    while (fgets(line, sizeof line, file)) {
        char *hex = strstr(line, ": ");
        if (*line == '#' || !hex) continue;
        *hex = '\0';
        size_t length = 0;
        for (hex += 2; sscanf(hex, "%2hhx", &bytes[length]) == 1 && length < sizeof bytes - 1; hex += 2) length++;
        if (!strcmp(line, "version")) { if (atoi(hex - 2 * length) != VERSION) differs("version", "another"); }
        else check(line, bytes, length);
    }
    printf("%d messages, %d wrong\n", checked, wrong);
    return wrong > 0;
}
