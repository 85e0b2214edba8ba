//! Checks of the kernel itself. A kernel is asked, never guessed by its version.

use nix::errno::Errno;

use super::{Facts, Finding};

/// Kernel options without which there are no user-space helpers.
pub const OPTIONS: [&str; 4] =
    ["CONFIG_NF_CT_NETLINK_HELPER", "CONFIG_NETFILTER_NETLINK_GLUE_CT", "CONFIG_NETFILTER_NETLINK_QUEUE", "CONFIG_NF_CT_NETLINK"];

/// `CAP_NET_ADMIN`, in the initial user namespace: the registry takes nothing less.
pub fn privilege(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "privilege";
    let finding = match (facts.net_admin, facts.initial_userns) {
        (false, _) => {
            Finding::fail(CHECK, "no CAP_NET_ADMIN: the kernel cannot be asked", "run it as root (sudo cthelperctl doctor)")
        }
        (true, Some(false)) => Finding::fail(
            CHECK,
            "in a user namespace of its own: the kernel lets only the initial one register helpers",
            "run cthelperd on the host; a container's rules may refer to the host's helpers",
        ),
        (true, None) => Finding::warn(CHECK, "CAP_NET_ADMIN, but the user namespace is not known", "mount /proc"),
        (true, Some(true)) => Finding::ok(CHECK, "CAP_NET_ADMIN in the initial user namespace"),
    };
    vec![finding]
}

/// The registry of user-space helpers (`nfnetlink_cthelper`). EINVAL is the kernel's word for a subsystem it has not.
pub fn registry(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "cthelper";
    let finding = match facts.registry {
        Ok(_) => Finding::ok(CHECK, "the kernel takes user-space helpers (nfnetlink_cthelper)"),
        Err(Errno::EPERM) => Finding::warn(CHECK, "not known: the kernel refuses to be asked (EPERM)", "see privilege"),
        Err(Errno::EINVAL) => {
            let (what, remedy) = absent(facts, "CONFIG_NF_CT_NETLINK_HELPER", "nfnetlink_cthelper");
            Finding::fail(CHECK, what, remedy)
        }
        Err(errno) => Finding::fail(CHECK, format!("the kernel's registry does not answer: {}", errno.desc()), "see dmesg"),
    };
    vec![finding]
}

/// Conntrack data beside queued packets.
pub fn glue(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "glue";
    let finding = match facts.glue {
        Ok(()) => Finding::ok(CHECK, "queued packets come with their connection (nfnetlink_queue and ctnetlink are joined)"),
        Err(Errno::EPERM) => Finding::warn(CHECK, "not known: the kernel refuses to be asked (EPERM)", "see privilege"),
        Err(Errno::EOPNOTSUPP) => {
            let (what, remedy) = absent(facts, "CONFIG_NETFILTER_NETLINK_GLUE_CT", "nf_conntrack_netlink");
            Finding::fail(CHECK, format!("queued packets come without their connection: {what}"), remedy)
        }
        Err(Errno::EINVAL) => {
            let (what, remedy) = absent(facts, "CONFIG_NETFILTER_NETLINK_QUEUE", "nfnetlink_queue");
            Finding::fail(CHECK, what, remedy)
        }
        Err(errno) => Finding::fail(CHECK, format!("no queue can be had: {}", errno.desc()), "see dmesg"),
    };
    vec![finding]
}

/// Expectations over netlink.
pub fn ctnetlink(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "ctnetlink";
    let finding = match facts.expectations {
        Ok(_) => Finding::ok(CHECK, "expectations can be made and seen (nf_conntrack_netlink)"),
        Err(Errno::EPERM) => Finding::warn(CHECK, "not known: the kernel refuses to be asked (EPERM)", "see privilege"),
        Err(Errno::EINVAL) => {
            let (what, remedy) = absent(facts, "CONFIG_NF_CT_NETLINK", "nf_conntrack_netlink");
            Finding::fail(CHECK, what, remedy)
        }
        Err(errno) => Finding::fail(CHECK, format!("expectations cannot be listed: {}", errno.desc()), "see dmesg"),
    };
    vec![finding]
}

/// Room in the table of expectations; when it is full the kernel refuses every new one (EMFILE).
pub fn room(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "expect_max";
    const REMEDY: &str = "raise it: sysctl -w net.netfilter.nf_conntrack_expect_max=N (from the host's own network namespace)";
    let (Ok(count), Some(max)) = (&facts.expectations, facts.expect_max) else { return Vec::new() };
    let what = format!("{count} of {max} expectations in use (net.netfilter.nf_conntrack_expect_max)");
    let finding = match *count {
        count if count >= max => Finding::fail(CHECK, what, REMEDY),
        count if count.saturating_mul(5) >= max.saturating_mul(4) => Finding::warn(CHECK, what, REMEDY),
        _ => Finding::ok(CHECK, what),
    };
    vec![finding]
}

/// What a missing part means, by the kernel's configuration, and where to get it.
fn absent(facts: &Facts, option: &str, module: &str) -> (String, String) {
    let release = &facts.release;
    match facts.kconfig.as_ref().map(|options| options.get(option).map(String::as_str)) {
        Some(Some("m")) => (
            format!("the kernel {release} is built with {module}, but it is not loaded and cannot be"),
            format!("modprobe {module} says why; {}", package(&facts.distribution, release)),
        ),
        Some(None) => (
            format!("the kernel {release} is built without {option}"),
            "boot a kernel that has it: those of Debian, Ubuntu, Fedora, Alpine (lts) and Arch do".to_owned(),
        ),
        Some(Some(_)) => (
            format!("the kernel {release} has {option}, but it does not answer"),
            "see dmesg, and report it with its output".to_owned(),
        ),
        None => (
            format!("the kernel {release} has no {module}"),
            format!("it needs {option}=m or y; {}", package(&facts.distribution, release)),
        ),
    }
}

/// Where the distribution keeps the module.
fn package(distribution: &str, release: &str) -> String {
    match distribution {
        "debian" => "Debian has it in every linux-image package".to_owned(),
        "ubuntu" => format!("Ubuntu may have it in linux-modules-extra-{release}"),
        "fedora" | "rhel" | "centos" | "rocky" | "almalinux" => "it is in kernel-modules-core or kernel-modules".to_owned(),
        "openwrt" => "opkg install kmod-nfnetlink-cthelper kmod-nfnetlink-queue kmod-nf-conntrack-netlink".to_owned(),
        "alpine" => "Alpine has it in linux-lts (linux-virt may lack it)".to_owned(),
        _ => "look for it in your distribution's kernel modules packages".to_owned(),
    }
}
