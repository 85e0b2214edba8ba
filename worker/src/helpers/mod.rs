//! The built-in helpers. A new one is a file here, and its name in the list below.

use crate::helper::Helper;

pub mod ask;
#[cfg(test)]
mod cut_datagrams;

/// `helpers! { a b }`: declares the modules and finds them by the name in their manifest. Each has a `pub fn helper() -> impl Helper`.
macro_rules! helpers {
    ($($module:ident)+) => {
        $(pub mod $module;)+

        /// Every built-in helper, fresh.
        pub fn all() -> Vec<Box<dyn Helper>> {
            vec![$(Box::new($module::helper())),+]
        }
    };
}

helpers! { amanda dhcpv6 ftp mdns rpc sane slp ssdp tftp tns }

/// The built-in helper of this name, or the one without a parser for an argument that asks for it.
pub fn find(name: &str) -> Option<Box<dyn Helper>> {
    if let Some(ask) = ask::helper_for(name) {
        return Some(Box::new(ask));
    }
    all().into_iter().find(|helper| helper.manifest().name == name)
}

#[cfg(test)]
mod refusals;
#[cfg(test)]
mod steps;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manifest_can_be_registered_and_names_are_unique() {
        let mut names: Vec<_> = all().iter().map(|helper| helper.manifest().name.clone()).collect();
        for helper in all() {
            helper.manifest().check().unwrap();
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all().len());
    }

    #[test]
    fn an_unknown_name_finds_nothing() {
        assert!(find("ftp").is_some());
        assert!(find("FTP").is_none() && find("").is_none());
        assert_eq!(find("?ftp").unwrap().manifest().source, "configuration");
    }
}
