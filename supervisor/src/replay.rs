//! `cthelperd replay`: the same lane, workers, confinement and policy on captures, without root and without a kernel module.

use std::io::Write;
use std::path::{Path, PathBuf};

use cthelper_policy::config::{Config, HelperConfig};
use cthelper_proto::events::{Repeats, Replay as Line};
use cthelper_proto::manifest::Manifest;

use crate::audit::{Audit, entry};
use crate::kernel::replay::lane::{Open, Recorded};
use crate::kernel::replay::{Capture, CaptureError, CapturedPacket, Counts, Record, Replay};
use crate::lane::{Ended, Figures, Lane, Setup};
use crate::quarantine::Quarantine;
use crate::spawn::{Identity, Recipe, worker_binary};
use crate::warden::{Hiring, Post};

/// What `cthelperd replay` was given.
#[derive(Clone, Debug)]
pub struct Options {
    /// The captures.
    pub files: Vec<PathBuf>,
    /// Through these helpers; where there is none, through the one whose worker held the packet, or else the configuration's, or else FTP.
    pub helpers: Vec<String>,
    /// Settings of helpers, where they are not the built-in ones.
    pub config: Config,
    /// One JSON object per line, rather than words.
    pub json: bool,
}

/// Why a replay failed; what was read before is printed all the same.
#[derive(Debug)]
pub enum Failure {
    /// A file cannot be opened.
    Open(String),
    /// A file is damaged, cut short, or no capture; names the offset.
    Data(String),
    /// Workers ended.
    Crashed(String),
    /// No worker could be started and confined.
    Unavailable(String),
}

/// Replays each file through each helper, and sums up.
pub fn run(options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let mut total = Total::default();
    let mut failed = None;
    for file in &options.files {
        let helpers = if options.helpers.is_empty() { helpers_of(file, &options.config) } else { options.helpers.clone() };
        for (setup, recipe) in setups(&options.config, &helpers)? {
            let mut hiring = Hiring::start(Path::new("/proc/self/exe")).map_err(no_warden)?;
            let post = hiring.post(&recipe).map_err(no_warden)?;
            let _warden = hiring.seal().map_err(no_warden)?;
            let mut tell = |line: &Line| print(out, line, options.json);
            let (counts, expectations, figures, error) = one(file, setup, post, &mut tell)?;
            total.add(&counts, expectations, &figures);
            failed = failed.or_else(|| error.map(|error| blame(file, &error)));
        }
    }
    print(out, &total.line(), options.json);
    failed.or_else(|| total.crashed()).map_or(Ok(()), Err)
}

/// Whose packet in hand it is, by the exhibits at the beginning of the file; in any other file those of the configuration, or else FTP. One
/// that cannot be read is no concern here.
fn helpers_of(file: &Path, config: &Config) -> Vec<String> {
    let mut helpers: Vec<String> = Vec::new();
    if let Ok(mut capture) = Capture::open(file) {
        while let Ok(Some(Record::Packet(CapturedPacket { exhibit: Some(exhibit), .. }))) = capture.next_record() {
            if !helpers.contains(&exhibit.helper) {
                helpers.push(exhibit.helper);
            }
        }
    }
    if helpers.is_empty() {
        helpers.extend(config.helpers.keys().cloned());
    }
    if helpers.is_empty() { vec!["ftp".to_owned()] } else { helpers }
}

/// Lanes for these helpers, as configured, and how their workers are made. No spares: a capture waits.
fn setups(config: &Config, helpers: &[String]) -> Result<Vec<(Setup, Recipe)>, Failure> {
    let named = Config::for_helpers(helpers).map_err(|error| Failure::Unavailable(error.to_string()))?;
    let identity =
        Identity::find(&config.daemon.user, &config.daemon.group).map_err(|bad| Failure::Unavailable(bad.to_string()))?;
    let configured = named.helpers.into_values().map(|default| config.helpers.get(&default.name).cloned().unwrap_or(default));
    let setup = |mut config: HelperConfig| {
        config.restart.spares = 0;
        let worker = worker_binary(config.worker.as_deref()).map_err(Failure::Unavailable)?;
        let recipe = Recipe::new(&config.argument(), worker, identity);
        Ok((Setup { config, identity }, recipe))
    };
    configured.map(setup).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn no_warden(error: std::io::Error) -> Failure {
    Failure::Unavailable(format!("start the warden: {error}"))
}

type Outcome = (Counts, u64, Figures, Option<CaptureError>);

/// One file through one helper.
fn one(file: &Path, setup: Setup, post: Post, tell: &mut dyn FnMut(&Line)) -> Result<Outcome, Failure> {
    if let Err(error) = std::fs::File::open(file) {
        return Err(Failure::Open(format!("{}: {error}", file.display())));
    }
    let (audit, audited) = Audit::channel();
    let open: Open<'_> = Box::new(|manifest| Ok(Replay::open(file, served(manifest))?.for_helper(&manifest.name)));
    let kernel = Recorded::new(open, audited, tell);
    let lane = Lane::new(kernel, setup, post, audit, Quarantine::default());
    let (mut lane, _handle) = lane.map_err(|errno| Failure::Unavailable(format!("make an eventfd: {errno}")))?;
    match lane.run(|_| ()) {
        Ended::Orderly => {}
        Ended::NotStarted(reason) if reason.contains("unknown helper") => {
            return Err(Failure::Unavailable(format!(
                "{reason}; --config FILE names the worker of a helper that is not shipped"
            )));
        }
        Ended::NotStarted(reason) => return Err(Failure::Unavailable(reason)),
        Ended::Fault(fault) => return Err(Failure::Unavailable(fault.to_string())),
    }
    let (kernel, figures) = lane.into_parts();
    let (counts, expectations, error) = kernel.outcome();
    Ok((counts, expectations, figures, error))
}

/// The connections a rule for the helper's ports would attach it to.
fn served(manifest: &Manifest) -> crate::kernel::replay::Served {
    let (ports, l4s) = (manifest.ports.clone(), manifest.l4s);
    Box::new(move |tuple| l4s.contains_number(tuple.proto) && ports.contains(&tuple.dport))
}

fn blame(file: &Path, error: &CaptureError) -> Failure {
    Failure::Data(format!("{}: offset {}: {}", file.display(), error.offset, error.reason))
}

#[derive(Default)]
struct Total {
    counts: Counts,
    expectations: u64,
    figures: Figures,
}

impl Total {
    fn add(&mut self, counts: &Counts, expectations: u64, figures: &Figures) {
        self.counts.packets += counts.packets;
        self.counts.flows += counts.flows;
        self.counts.helped += counts.helped;
        self.counts.fragments += counts.fragments;
        self.counts.malformed += counts.malformed;
        self.counts.skipped += counts.skipped + counts.untracked;
        self.expectations += expectations;
        self.figures.refused += figures.refused;
        for (field, count) in &figures.malformed {
            *self.figures.malformed.entry(field.clone()).or_default() += count;
        }
        self.figures.crashes += figures.crashes;
    }

    fn crashed(&self) -> Option<Failure> {
        let crashes = self.figures.crashes;
        (crashes > 0).then(|| Failure::Crashed(format!("workers ended {crashes} times; the report says on which packets")))
    }

    fn line(&self) -> Line {
        Line::Summary {
            packets: self.counts.packets,
            flows: self.counts.flows,
            helped: self.counts.helped,
            expectations: self.expectations,
            refused: self.figures.refused,
            malformed: self.counts.malformed + self.figures.malformed.values().sum::<u64>(),
            fields: self.figures.malformed.clone(),
            fragments: self.counts.fragments,
            skipped: self.counts.skipped,
            crashes: self.figures.crashes,
        }
    }
}

fn repeated(Repeats { crash, cause, same }: &Repeats) -> String {
    if *same { format!("; crash {crash} is reproduced") } else { format!("; crash {crash} was another end: {cause}") }
}

/// A reader that has gone away (`| head`) is no reason to complain.
fn print(out: &mut dyn Write, line: &Line, json: bool) {
    let text = if json { serde_json::to_string(line).unwrap_or_default() } else { words(line) };
    let _ = writeln!(out, "{text}");
}

fn words(line: &Line) -> String {
    match line {
        Line::Expectation { helper, proto, src, sport, dst, dport, master, class, permanent, packet } => format!(
            "packet {packet}: proto={proto} src={src} dst={dst} sport={sport} dport={dport} master-src={} master-dst={} sport={} dport={} {}class={class} helper={helper}",
            master.src,
            master.dst,
            master.sport,
            master.dport,
            if *permanent { "PERMANENT " } else { "" },
        ),
        Line::Refused { helper, rule, packet, .. } => format!("packet {packet}: refused by rule {rule} helper={helper}"),
        Line::Crash { helper, cause, panic, fault, repeats, packet, .. } => {
            let detail = entry::detail(panic.as_ref(), fault.as_ref()).map(|detail| format!(" ({detail})"));
            let again = repeats.as_ref().map(repeated);
            format!(
                "packet {packet}: the worker ended: {cause}{}{} helper={helper}",
                detail.unwrap_or_default(),
                again.unwrap_or_default()
            )
        }
        Line::Survived { helper, repeats: Repeats { crash, cause, .. }, packet } => {
            format!("packet {packet}: the worker lives; crash {crash} ({cause}) is not reproduced helper={helper}")
        }
        Line::Fragment { packet } => format!("packet {packet}: a fragment, not put together"),
        Line::Summary { packets, flows, helped, expectations, refused, malformed, fields, fragments, skipped, crashes } => {
            let fields: Vec<String> = fields.iter().map(|(field, count)| format!(" [{field}: {count}]")).collect();
            let fields = fields.concat();
            format!(
                "{packets} packets, {flows} connections ({helped} helped), {expectations} expectations, {refused} refused, \
                 {malformed} malformed{fields}, {fragments} fragments, {skipped} skipped, {crashes} crashes"
            )
        }
    }
}
