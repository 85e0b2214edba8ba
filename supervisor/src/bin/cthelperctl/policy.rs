//! `policy [ROLE]`: the tables that confine each role, with the reason for every line.

use cthelper_policy::profiles::{ALL, by_name};

use crate::exit::{Exit, Failure};

/// One role's table, or all of them.
pub fn text(role: Option<&str>) -> Result<String, Failure> {
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
    fn an_unknown_role_is_refused_with_those_there_are() {
        let failure = text(Some("x")).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.words.contains("worker"), "{}", failure.words);
    }
}
