//! `policy [ROLE]`: the tables that confine each role, with the reason for every line. `policy worker --bpf`: the worker's filter as it is.

use std::fmt::Write;

use cthelper_policy::confine::worker_program;
use cthelper_policy::profiles::{ALL, WORKER, by_name};

use crate::exit::{Exit, Failure};

/// Tables, or a filter.
pub fn run(role: Option<&str>, bpf: bool) -> Result<String, Failure> {
    match role {
        Some(role) if bpf && role == WORKER.role => filter(),
        Some(_) if bpf => {
            Err(Failure::new(Exit::Usage, "--bpf: only a worker puts its filter on by itself: policy worker --bpf"))
        }
        role => text(role),
    }
}

/// The filter a worker puts on itself, one instruction a line.
fn filter() -> Result<String, Failure> {
    let program = worker_program().map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))?;
    let mut out = String::new();
    for op in program {
        let _ = writeln!(out, "{{ {:#04x}, {}, {}, {:#010x} }},", op.code, op.jt, op.jf, op.k);
    }
    Ok(out)
}

/// One role's table, or all of them.
fn text(role: Option<&str>) -> Result<String, Failure> {
    let Some(role) = role else {
        return Ok(ALL.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    };
    by_name(role).map(ToString::to_string).ok_or_else(|| {
        let roles: Vec<&str> = ALL.iter().map(|profile| profile.role).collect();
        Failure::new(Exit::Usage, format!("no role '{role}': there are {}", roles.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_is_printed_by_name_and_all_without() {
        let all = text(None).unwrap();
        for profile in ALL {
            assert!(all.contains(&text(Some(profile.role)).unwrap()), "{}", profile.role);
        }
    }

    #[test]
    fn the_workers_filter_begins_with_the_architecture_and_others_have_none_to_put_on() {
        let program = run(Some("worker"), true).unwrap();
        assert!(program.starts_with("{ 0x20, 0, 0, 0x00000004 },\n{ 0x15, "), "{program}"); // offset of `arch` in struct seccomp_data
        assert_eq!(run(Some("launcher"), true).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn an_unknown_role_is_refused_with_those_there_are() {
        let failure = text(Some("x")).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.words.contains("worker"), "{}", failure.words);
    }
}
