//! `rules nft|iptables`: rules that attach helpers, ready to load; without a rule no connection has one.
//!
//! The chains run after conntrack and before destination NAT (priority -199 to -101): sequence adjustment of connections whose
//! destination is translated needs that before 6.1.167 and 6.12.64. What the forward chain must accept is the operator's own
//! decision, so it is printed as a comment.

use std::io::Write;
use std::path::Path;

use cthelper_supervisor::cli::ctl::rules::{Dialect, Kept, Options};
use cthelper_supervisor::stderr::tell;

use crate::configuration;
use crate::control;
use crate::exit::{Exit, Failure};

mod events;
mod iptables;
mod keep;
mod nft;
mod plan;

use plan::Plan;

/// Prints the rules, or has nft load or unload them.
pub fn run(dialect: &Dialect, runtime_dir: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let text = match dialect {
        Dialect::Kept(Kept::Load { state_dir }) => return keep::load_kept(state_dir),
        Dialect::Kept(Kept::Unload) => return keep::unload(),
        Dialect::Nft(wanted) if wanted.remove => return keep::remove(&wanted.state_dir),
        Dialect::Nft(wanted) if wanted.apply => {
            return keep::apply(&nft::text(&planned(&wanted.options, runtime_dir)?), &wanted.state_dir);
        }
        Dialect::Nft(wanted) => nft::text(&planned(&wanted.options, runtime_dir)?),
        Dialect::Iptables(wanted) => iptables::text(&planned(wanted, runtime_dir)?),
        Dialect::Events(wanted) => events::text(wanted)?,
    };
    out.write_all(text.as_bytes())?;
    Ok(())
}

/// By the daemon's word, if it answers and no configuration is named; what is left out is said.
fn planned(wanted: &Options, runtime_dir: &Path) -> Result<Plan, Failure> {
    let (config, served) = match &wanted.config {
        Some(file) => (Some(configuration::read(file)?), None),
        None => match control::status(runtime_dir) {
            Ok(status) => (None, Some(status)),
            // Printing rules is no privilege, and the daemon may be started later.
            Err(failure) if failure.exit == Exit::Software => return Err(failure),
            Err(_) if wanted.ports.is_empty() || wanted.helpers.is_empty() => (configuration::standard()?, None),
            Err(_) => (None, None),
        },
    };
    let plan = plan::plan(wanted, config.as_ref(), served.as_ref())?;
    for remark in &plan.remarks {
        tell(format_args!("cthelperctl: not attached: {}", crate::text::printable(remark)));
    }
    Ok(plan)
}

#[cfg(test)]
mod tests;
