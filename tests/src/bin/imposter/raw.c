/* What a hostile worker tries by bare system calls, for which safe Rust has no words.
 *
 * The door: the linker finds `sethostname` here before it looks into libc, so nix's safe wrapper of that call leads to
 * `attempts` below, with the attempt's name in the place of the host's. What an attempt returns is what the call returned:
 * 0 or more = it succeeded, -1 = refused, errno says how. tests/build.rs compiles this into the imposter and nothing else.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/landlock.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* The process an attempt is aimed at: the number behind its name. */
static long target;

static char byte;

static long open_path(const char *path, int flags) { return syscall(SYS_openat, AT_FDCWD, path, flags, 0600); }

static long open_passwd(void) { return open_path("/etc/passwd", O_RDONLY); }
static long open_shadow(void) { return open_path("/etc/shadow", O_RDONLY); }
static long open_self_mem(void) { return open_path("/proc/self/mem", O_RDWR); }
static long open_path_only(void) { return open_path("/", O_PATH); }
static long open_device(void) { return open_path("/dev/null", O_RDWR); }
static long create_file(void) { return open_path("/tmp/cthelper-escape", O_CREAT | O_WRONLY); }
static long open_how(void)
{
	unsigned long long how[3] = { O_RDONLY, 0, 0 };
	return syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", how, sizeof how);
}
static long open_handle(void)
{
	struct { unsigned bytes; int type; char handle[8]; } handle = { 8, 1, { 0 } };
	return syscall(SYS_open_by_handle_at, AT_FDCWD, &handle, O_RDONLY);
}
static long truncate_file(void) { return syscall(SYS_truncate, "/etc/passwd", 0); }
static long unlink_file(void) { return syscall(SYS_unlinkat, AT_FDCWD, "/tmp/x", 0); }
static long make_folder(void) { return syscall(SYS_mkdirat, AT_FDCWD, "/tmp/cthelper-escape", 0700); }
static long make_device(void) { return syscall(SYS_mknodat, AT_FDCWD, "/tmp/cthelper-escape", S_IFCHR | 0600, 0x501); }
static long link_file(void) { return syscall(SYS_linkat, AT_FDCWD, "/etc/passwd", AT_FDCWD, "/tmp/cthelper-escape", 0); }
static long change_mode(void) { return syscall(SYS_fchmodat, AT_FDCWD, "/etc/passwd", 0777); }
static long watch_files(void) { return syscall(SYS_inotify_init1, 0); }

static long socket_of(int family, int type, int protocol) { return syscall(SYS_socket, family, type, protocol); }

static long inet(void) { return socket_of(AF_INET, SOCK_STREAM, 0); }
static long inet6(void) { return socket_of(AF_INET6, SOCK_DGRAM, 0); }
static long raw(void) { return socket_of(AF_INET, SOCK_RAW, IPPROTO_TCP); }
static long packet(void) { return socket_of(AF_PACKET, SOCK_RAW, 0); }
static long unix_socket(void) { return socket_of(AF_UNIX, SOCK_STREAM, 0); }
static long netlink(void) { return socket_of(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER); }
static long vsock(void) { return socket_of(AF_VSOCK, SOCK_STREAM, 0); }
static long alg(void) { return socket_of(AF_ALG, SOCK_SEQPACKET, 0); }
static long pair_of_sockets(void)
{
	int fds[2];
	return syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, fds);
}

/* On a descriptor it has: its packet channel is a socket, of another kind. */
static long connect_inet(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(22), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	return syscall(SYS_connect, 0, &to, sizeof to);
}
static long connect_abstract(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "\0cthelperd" };
	return syscall(SYS_connect, 0, &to, sizeof to);
}
static long bind_inet6(void)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6 };
	return syscall(SYS_bind, 0, &at, sizeof at);
}
static long bind_abstract(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "\0cthelperd" };
	return syscall(SYS_bind, 0, &at, sizeof at);
}
static long listen_here(void) { return syscall(SYS_listen, 0, 1); }
static long accept_here(void) { return syscall(SYS_accept4, 0, 0, 0, 0); }
static long name_of_peer(void)
{
	struct ucred peer;
	socklen_t length = sizeof peer;
	return syscall(SYS_getsockopt, 0, SOL_SOCKET, SO_PEERCRED, &peer, &length);
}
static long enlarge_buffer(void)
{
	int bytes = 1 << 30;
	return syscall(SYS_setsockopt, 0, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}
static long send_descriptor(void)
{
	union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } beside = { 0 };
	struct iovec word = { &byte, 1 };
	struct msghdr message = { .msg_iov = &word, .msg_iovlen = 1, .msg_control = &beside, .msg_controllen = sizeof beside };
	beside.head = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	return syscall(SYS_sendmsg, 0, &message, MSG_NOSIGNAL);
}
static long receive_descriptor(void)
{
	char room[CMSG_SPACE(sizeof(int))];
	struct iovec word = { &byte, 1 };
	struct msghdr message = { .msg_iov = &word, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
	return syscall(SYS_recvmsg, 0, &message, MSG_DONTWAIT);
}
/* A well-connected socket takes no address: even if one is named, nothing goes there. */
static long send_to_address(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0x08080808) };
	return syscall(SYS_sendto, 2, &byte, 1, 0, &to, sizeof to);
}

static long inherited(void)
{
	for (int fd = 3; fd < 1024; fd++)
		if (syscall(SYS_recvfrom, fd, &byte, 1, MSG_DONTWAIT, 0, 0) >= 0 || errno != EBADF)
			return fd;
	errno = EBADF;
	return -1;
}
static long duplicate(void) { return syscall(SYS_dup, 0); }
static long read_descriptor(void) { return syscall(SYS_read, 3, &byte, 1); }
static long write_elsewhere(void) { return syscall(SYS_write, 1, &byte, 1); }
static long terminal_input(void) { return syscall(SYS_ioctl, 2, 0x5412 /* TIOCSTI */, &byte); }
static long move_between(void) { return syscall(SYS_splice, 0, 0, 2, 0, 1, 0); }

static long child(long pid)
{
	if (pid == 0)
		syscall(SYS_exit_group, 0);
	return pid;
}
static long clone_with(unsigned long flags) { return child(syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0)); }
static long clone_plain(void) { return clone_with(0); }
static long clone_user(void) { return clone_with(CLONE_NEWUSER); }
static long clone_net(void) { return clone_with(CLONE_NEWNET); }
static long clone_mount(void) { return clone_with(CLONE_NEWNS); }
static long clone_pid(void) { return clone_with(CLONE_NEWPID); }
static long clone_ipc(void) { return clone_with(CLONE_NEWIPC); }
static long clone_uts(void) { return clone_with(CLONE_NEWUTS); }
static long clone_cgroup(void) { return clone_with(CLONE_NEWCGROUP); }
static long clone_three(void)
{
	struct clone_args how = { .exit_signal = SIGCHLD };
	return child(syscall(SYS_clone3, &how, sizeof how));
}
#ifdef SYS_fork
static long fork_plain(void) { return child(syscall(SYS_fork)); }
static long fork_virtual(void) { return child(syscall(SYS_vfork)); }
#else
static long fork_plain(void) { return clone_with(0); }
static long fork_virtual(void) { return clone_with(CLONE_VM | CLONE_VFORK); }
#endif
static long unshare_user(void) { return syscall(SYS_unshare, CLONE_NEWUSER); }
static long unshare_net(void) { return syscall(SYS_unshare, CLONE_NEWNET); }
static long unshare_mount(void) { return syscall(SYS_unshare, CLONE_NEWNS); }
static long unshare_pid(void) { return syscall(SYS_unshare, CLONE_NEWPID); }
static long unshare_ipc(void) { return syscall(SYS_unshare, CLONE_NEWIPC); }
static long unshare_uts(void) { return syscall(SYS_unshare, CLONE_NEWUTS); }
static long unshare_cgroup(void) { return syscall(SYS_unshare, CLONE_NEWCGROUP); }
static long unshare_time(void) { return syscall(SYS_unshare, CLONE_NEWTIME); }
static long enter_namespace(void) { return syscall(SYS_setns, 0, CLONE_NEWNET); }
static long exec_shell(void)
{
	char *args[] = { "sh", 0 };
	return syscall(SYS_execve, "/bin/sh", args, args + 1);
}
static long exec_descriptor(void)
{
	char *args[] = { "sh", 0 };
	return syscall(SYS_execveat, AT_FDCWD, "/bin/sh", args, args + 1, 0);
}

static long trace_target(void) { return syscall(SYS_ptrace, PTRACE_SEIZE, target, 0, 0); }
static long read_target(void)
{
	struct iovec ours = { &byte, 1 }, theirs = { &target, 1 };
	return syscall(SYS_process_vm_readv, target, &ours, 1, &theirs, 1, 0);
}
static long write_target(void)
{
	struct iovec ours = { &byte, 1 }, theirs = { &target, 1 };
	return syscall(SYS_process_vm_writev, target, &ours, 1, &theirs, 1, 0);
}
/* Signal 0 asks whether there could be one: the filter sees no difference, and a filter that fails harms nobody. */
static long kill_target(void) { return syscall(SYS_kill, target, 0); }
static long kill_group(void) { return syscall(SYS_kill, -1, 0); }
static long kill_thread(void) { return syscall(SYS_tgkill, target, target, 0); }
/* The launcher's filter has this signal, for std's handlers; it must have it for this process alone. */
static long fault_target(void) { return syscall(SYS_tgkill, target, target, SIGSEGV); }
static long queue_signal(void)
{
	siginfo_t info = { .si_code = SI_QUEUE };
	return syscall(SYS_rt_sigqueueinfo, target, 0, &info);
}
static long limit_target(void)
{
	struct rlimit none = { 0, 0 };
	return syscall(SYS_prlimit64, target, RLIMIT_CPU, &none, 0);
}
static long pidfd_target(void) { return syscall(SYS_pidfd_open, target, 0); }
static long signal_by_pidfd(void) { return syscall(SYS_pidfd_send_signal, 0, SIGKILL, 0, 0); }
static long fd_by_pidfd(void) { return syscall(SYS_pidfd_getfd, 0, 0, 0); }
static long slow_target(void) { return syscall(SYS_setpriority, PRIO_PROCESS, target, 19); }
static long compare_target(void) { return syscall(SYS_kcmp, target, target, 0, 0, 0); }

static long mount_proc(void) { return syscall(SYS_mount, "proc", "/proc", "proc", 0, 0); }
static long unmount_proc(void) { return syscall(SYS_umount2, "/proc", MNT_DETACH); }
static long change_root(void) { return syscall(SYS_chroot, "/"); }
static long pivot(void) { return syscall(SYS_pivot_root, "/", "/"); }
static long open_filesystem(void) { return syscall(SYS_fsopen, "proc", 0); }
static long clone_tree(void) { return syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE); }

static long load_bpf(void)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY };
	return syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr);
}
static long io_uring(void)
{
	struct io_uring_params params = { 0 };
	return syscall(SYS_io_uring_setup, 4, &params);
}
static long keys(void) { return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, -3, 1); }
static long add_key(void) { return syscall(SYS_add_key, "user", "x", "x", 1, -3); }
static long fault_handler(void) { return syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */); }
static long perf(void)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE, .size = sizeof attr };
	return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}
static long load_module(void) { return syscall(SYS_init_module, &byte, 1, ""); }
static long new_kernel(void) { return syscall(SYS_kexec_load, 0, 0, 0, 0); }
static long restart_machine(void) { return syscall(SYS_reboot, 0xfee1dead, 672274793, 0 /* CAD_OFF */, 0); }
static long kernel_log(void) { return syscall(SYS_syslog, 3, &byte, 1); }
static long set_clock(void)
{
	struct timespec now = { 0, 0 };
	return syscall(SYS_clock_settime, CLOCK_REALTIME, &now);
}
static long shared_memory(void) { return syscall(SYS_shmget, 7, 4096, 01777); }
static long message_queue(void) { return syscall(SYS_mq_open, "/x", O_CREAT | O_RDWR, 0600, 0); }
static long memory_file(void) { return syscall(SYS_memfd_create, "x", 0); }

static long map(int protection, int flags)
{
	long at = syscall(SYS_mmap, 0, 4096, protection, MAP_PRIVATE | flags, -1, 0);
	return at == -1 ? -1 : 0;
}
static long map_executable(void) { return map(PROT_READ | PROT_EXEC, MAP_ANONYMOUS); }
static long map_all(void) { return map(PROT_READ | PROT_WRITE | PROT_EXEC, MAP_ANONYMOUS); }
static long map_more(void) { return map(PROT_READ | PROT_WRITE, MAP_ANONYMOUS); }
static long protect(int protection) { return syscall(SYS_mprotect, (unsigned long)&target & ~4095ul, 4096, protection); }
static long protect_executable(void) { return protect(PROT_READ | PROT_EXEC); }
static long protect_all(void) { return protect(PROT_READ | PROT_WRITE | PROT_EXEC); }
static long protect_by_key(void) { return syscall(SYS_pkey_mprotect, (unsigned long)&target & ~4095ul, 4096, PROT_EXEC, -1); }
static long read_is_execute(void) { return syscall(SYS_personality, 0x0400000 /* READ_IMPLIES_EXEC */); }
static long more_heap(void) { return syscall(SYS_brk, (unsigned long)syscall(SYS_brk, 0) + (1 << 20)); }
static long lock_memory(void) { return syscall(SYS_mlockall, MCL_CURRENT); }

static long become_root(void) { return syscall(SYS_setuid, 0); }
static long become_root_group(void) { return syscall(SYS_setgid, 0); }
static long become_all_root(void) { return syscall(SYS_setresuid, 0, 0, 0); }
static long join_group(void)
{
	gid_t group = 0;
	return syscall(SYS_setgroups, 1, &group);
}
static long take_capabilities(void)
{
	unsigned head[2] = { 0x20080522, 0 }, sets[6] = { ~0u, ~0u, ~0u, ~0u, ~0u, ~0u };
	return syscall(SYS_capset, head, sets);
}

static long control(long option, long value) { return syscall(SYS_prctl, option, value, 0, 0, 0); }
static long be_dumpable(void) { return control(PR_SET_DUMPABLE, 1); }
static long outlive(void) { return control(PR_SET_PDEATHSIG, 0); }
static long new_privileges(void) { return control(PR_SET_NO_NEW_PRIVS, 0); }
static long seccomp_off(void) { return control(PR_SET_SECCOMP, SECCOMP_MODE_DISABLED); }
static long write_and_execute(void) { return control(65 /* PR_SET_MDWE */, 0); }
static long adopt_children(void) { return control(PR_SET_CHILD_SUBREAPER, 1); }
static long another_name(void) { return control(PR_SET_NAME, (long)"kworker/0:1"); }
static long seccomp_listener(void)
{
	struct sock_filter allow = { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW };
	struct sock_fprog program = { 1, &allow };
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}
static long landlock_rule(void) { return syscall(SYS_landlock_add_rule, 3, 1, 0, 0); }
static long more_descriptors(void)
{
	struct rlimit more = { 1 << 20, 1 << 20 };
	return syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &more, 0);
}
static long never_interrupted(void)
{
	unsigned long all = ~0ul;
	return syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, 0, sizeof all);
}
static long real_time(void)
{
	int priority = 1;
	return syscall(SYS_sched_setscheduler, 0, 1 /* SCHED_FIFO */, &priority);
}
static long timer(void)
{
	int id;
	return syscall(SYS_timer_create, CLOCK_MONOTONIC, 0, &id);
}
static long nap(void)
{
	struct timespec span = { 0, 1 };
	return syscall(SYS_nanosleep, &span, 0);
}

#ifdef __x86_64__
/* The same machine's other ways into the kernel, with other numbers: getpid of i386 is 20, which is writev here. */
static long other_abi(void)
{
	long result = 20;
	__asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
	return result;
}
static long other_numbers(void) { return syscall(0x40000000 | 39); }
#endif

static long hoard(void)
{
	for (;;) {
		char *more = malloc(1 << 20);
		if (!more)
			return -1;
		memset(more, 1, 1 << 20);
	}
}
static long descend(volatile char *above)
{
	volatile char room[4096];
	room[0] = above ? above[0] : 1;
	return above && !above[0] ? 0 : descend(room) + room[0];
}
static long bottomless(void) { return descend(0); }
static long spin(void)
{
	for (volatile unsigned long turn = 1; turn; turn += 2)
		;
	return 0;
}

static const struct { const char *name; long (*try)(void); } attempts[] = {
	{ "open-file", open_passwd }, { "open-secret", open_shadow }, { "open-own-memory", open_self_mem },
	{ "open-path-only", open_path_only }, { "open-device", open_device }, { "create-file", create_file },
	{ "openat2", open_how }, { "open-by-handle", open_handle }, { "truncate", truncate_file }, { "unlink", unlink_file },
	{ "mkdir", make_folder }, { "mknod", make_device }, { "link", link_file }, { "chmod", change_mode },
	{ "inotify", watch_files },
	{ "inet", inet }, { "inet6", inet6 }, { "raw-socket", raw }, { "packet-socket", packet }, { "unix", unix_socket },
	{ "netlink", netlink }, { "vsock", vsock }, { "alg", alg }, { "socketpair", pair_of_sockets },
	{ "connect-inet", connect_inet }, { "connect-abstract", connect_abstract }, { "bind-inet6", bind_inet6 },
	{ "bind-abstract", bind_abstract }, { "listen", listen_here }, { "accept", accept_here }, { "peer", name_of_peer },
	{ "buffer", enlarge_buffer }, { "send-descriptor", send_descriptor }, { "receive-descriptor", receive_descriptor },
	{ "send-to-address", send_to_address },
	{ "inherited", inherited }, { "dup", duplicate }, { "read-descriptor", read_descriptor },
	{ "write-elsewhere", write_elsewhere }, { "terminal-input", terminal_input }, { "splice", move_between },
	{ "fork", fork_plain }, { "vfork", fork_virtual }, { "clone", clone_plain }, { "clone3", clone_three },
	{ "clone-user", clone_user }, { "clone-net", clone_net }, { "clone-mount", clone_mount }, { "clone-pid", clone_pid },
	{ "clone-ipc", clone_ipc }, { "clone-uts", clone_uts }, { "clone-cgroup", clone_cgroup },
	{ "unshare-user", unshare_user }, { "unshare-net", unshare_net }, { "unshare-mount", unshare_mount },
	{ "unshare-pid", unshare_pid }, { "unshare-ipc", unshare_ipc }, { "unshare-uts", unshare_uts },
	{ "unshare-cgroup", unshare_cgroup }, { "unshare-time", unshare_time }, { "setns", enter_namespace },
	{ "exec", exec_shell }, { "execveat", exec_descriptor },
	{ "ptrace", trace_target }, { "read-process", read_target }, { "write-process", write_target }, { "kill", kill_target },
	{ "kill-all", kill_group }, { "tgkill", kill_thread }, { "fault", fault_target }, { "sigqueue", queue_signal },
	{ "limit-process", limit_target }, { "pidfd", pidfd_target }, { "pidfd-signal", signal_by_pidfd },
	{ "pidfd-getfd", fd_by_pidfd }, { "nice-process", slow_target }, { "kcmp", compare_target },
	{ "mount", mount_proc }, { "umount", unmount_proc }, { "chroot", change_root }, { "pivot-root", pivot },
	{ "fsopen", open_filesystem }, { "open-tree", clone_tree },
	{ "bpf", load_bpf }, { "io-uring", io_uring }, { "keyctl", keys }, { "add-key", add_key },
	{ "userfaultfd", fault_handler }, { "perf", perf }, { "module", load_module }, { "kexec", new_kernel },
	{ "reboot", restart_machine }, { "kernel-log", kernel_log }, { "clock", set_clock }, { "shm", shared_memory },
	{ "mqueue", message_queue }, { "memfd", memory_file },
	{ "mmap-executable", map_executable }, { "mmap-write-execute", map_all }, { "mmap", map_more },
	{ "mprotect-executable", protect_executable }, { "mprotect-write-execute", protect_all },
	{ "pkey-mprotect", protect_by_key }, { "read-implies-exec", read_is_execute }, { "brk", more_heap }, { "mlock", lock_memory },
	{ "setuid", become_root }, { "setgid", become_root_group }, { "setresuid", become_all_root },
	{ "setgroups", join_group }, { "capset", take_capabilities },
	{ "dumpable", be_dumpable }, { "outlive", outlive }, { "new-privileges", new_privileges }, { "seccomp-off", seccomp_off },
	{ "mdwe-off", write_and_execute }, { "subreaper", adopt_children }, { "name", another_name },
	{ "seccomp-listener", seccomp_listener }, { "landlock-rule", landlock_rule }, { "more-descriptors", more_descriptors },
	{ "block-signals", never_interrupted }, { "real-time", real_time }, { "timer", timer }, { "sleep", nap },
#ifdef __x86_64__
	{ "i386-call", other_abi }, { "x32-call", other_numbers },
#endif
	{ "hoard", hoard }, { "bottomless", bottomless }, { "spin", spin },
};

/* The door. `order` is an attempt's name, then perhaps a space and the number of the process it is aimed at. */
int sethostname(const char *order, size_t length)
{
	size_t name = 0;
	while (name < length && order[name] != ' ')
		name++;
	target = 0;
	for (size_t at = name + 1; at < length; at++)
		target = target * 10 + (order[at] - '0');
	for (size_t at = 0; at < sizeof attempts / sizeof attempts[0]; at++)
		if (strlen(attempts[at].name) == name && !memcmp(attempts[at].name, order, name))
			return attempts[at].try() < 0 ? -1 : 0;
	errno = ENOSYS;
	return -1;
}
