//! Programs that write each event as a line into a file: conntrack(8), ulogd2, and `cthelperctl events`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cthelper_tests::binaries::{binary, scratch};
use cthelper_tests::tally::Tally;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::kernel::program;

/// What each of the others asks to let wait in the kernel, bytes; the broker has half of it. conntrack's `-b` is for another of its sockets (1.4.7):
/// that of events has `net.core.rmem_default`.
const BUFFER: &str = "16777216";

/// One that runs.
pub(super) struct Program {
    child: Child,
    out: PathBuf,
    said: PathBuf,
}

impl Program {
    fn start(name: &str, mut command: Command, folder: &Path, out: PathBuf) -> Self {
        let said = folder.join("said");
        let child = command.stdin(Stdio::null()).stderr(File::create(&said).unwrap()).spawn();
        Self { child: child.unwrap_or_else(|error| panic!("{name}: {error}")), out, said }
    }

    /// `conntrack -E`; where it is not installed, what is missing.
    pub(super) fn conntrack() -> Result<Self, String> {
        let path = program("conntrack").ok_or("package conntrack is not installed")?;
        let (folder, out) = place("conntrack");
        let mut command = Command::new(path);
        command.args(["-E", "-e", "NEW", "-b", BUFFER]).stdout(File::create(&out).unwrap());
        Ok(Self::start("conntrack", command, &folder, out))
    }

    /// ulogd2, NFCT to LOGEMU; where it is not installed, what is missing.
    pub(super) fn ulogd() -> Result<Self, String> {
        let path = program("ulogd").ok_or("package ulogd2 is not installed")?;
        let modules =
            modules().ok_or("ulogd_inpflow_NFCT.so is missing: it is in package ulogd2, elsewhere in one of its own")?;
        let (folder, out) = place("ulogd");
        let config = folder.join("ulogd.conf");
        std::fs::write(&config, ulogd_config(&modules, &out)).unwrap();
        File::create(&out).unwrap();
        let mut command = Command::new(path);
        command.arg("-c").arg(config).stdout(Stdio::null());
        Ok(Self::start("ulogd", command, &folder, out))
    }

    /// `cthelperctl events` of this queue of the broker whose socket is in `runtime`.
    pub(super) fn cthelperctl(runtime: &Path, queue: u16) -> Self {
        let (folder, out) = place("cthelperctl");
        let mut command = Command::new(binary("cthelperctl"));
        command.arg("--runtime-dir").arg(runtime).args(["events", "--format", "text", "--queue", &queue.to_string()]);
        command.stdout(File::create(&out).unwrap());
        Self::start("cthelperctl", command, &folder, out)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        std::fs::metadata(&self.out).unwrap().len()
    }

    /// What it has written, and its words, when it has been told to end.
    pub(super) fn end(mut self) -> (Tally, String) {
        kill(Pid::from_raw(self.pid().cast_signed()), Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
        let mut tally = Tally::default();
        tally.take(&std::fs::read(&self.out).unwrap());
        (tally, String::from_utf8_lossy(&std::fs::read(&self.said).unwrap()).into_owned())
    }
}

fn place(name: &str) -> (PathBuf, PathBuf) {
    let folder = scratch(&format!("bench-{name}"));
    let out = folder.join("lines");
    (folder, out)
}

/// The folder of ulogd's modules, if the one for conntrack's events is there.
fn modules() -> Option<PathBuf> {
    let multiarch = std::fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let folders = multiarch.chain(["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from)).map(|path| path.join("ulogd"));
    folders.into_iter().find(|folder| folder.join("ulogd_inpflow_NFCT.so").is_file())
}

/// NFCT to LOGEMU, as ulogd.conf(5) of 2.0.8 has it: events as they come, NEW only, nothing remembered. It takes a size of the buffer only if that
/// is below the largest (`setnlbufsiz`).
fn ulogd_config(modules: &Path, out: &Path) -> String {
    let plugins = ["inpflow_NFCT", "filter_IP2STR", "filter_PRINTFLOW", "output_LOGEMU"];
    let plugins = plugins.map(|name| format!("plugin=\"{}/ulogd_{name}.so\"\n", modules.display())).concat();
    format!(
        "[global]\nlogfile=\"/dev/null\"\nloglevel=8\n{plugins}stack=ct1:NFCT,ip2str1:IP2STR,print1:PRINTFLOW,emu1:LOGEMU\n\
         [ct1]\nhash_enable=0\nevent_mask=0x00000001\nnetlink_socket_buffer_size={BUFFER}\nnetlink_socket_buffer_maxsize={BUFFER}0\n\
         [emu1]\nfile=\"{}\"\nsync=0\n",
        out.display()
    )
}
