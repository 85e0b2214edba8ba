//! Which helpers the loaded rules attach.

use std::collections::BTreeSet;

use serde_json::Value;

/// From `nft -j list ruleset`: the helper types whose objects some rule of the same table sets. `None`: not the expected form.
pub fn attached_by_nft(json: &str) -> Option<BTreeSet<String>> {
    let document: Value = serde_json::from_str(json).ok()?;
    let entries = document.get("nftables")?.as_array()?;
    let rules: Vec<&Value> = entries.iter().filter_map(|entry| entry.get("rule")).collect();
    let objects = entries.iter().filter_map(|entry| entry.get("ct helper"));
    let set = |object: &Value| rules.iter().any(|rule| same_table(rule, object) && sets(rule, object.get("name")));
    Some(objects.filter(|object| set(object)).filter_map(|object| object.get("type")?.as_str().map(str::to_owned)).collect())
}

/// From the same: the tables that have a rule with `flow add`, as `FAMILY NAME`.
pub fn offloading(json: &str) -> BTreeSet<String> {
    let document: Value = serde_json::from_str(json).unwrap_or_default();
    let entries = document.get("nftables").and_then(Value::as_array).into_iter().flatten();
    let rules = entries.filter_map(|entry| entry.get("rule"));
    let adds = |rule: &&Value| {
        rule.get("expr").and_then(Value::as_array).into_iter().flatten().any(|statement| statement.get("flow").is_some())
    };
    let name = |rule: &Value| Some(format!("{} {}", rule.get("family")?.as_str()?, rule.get("table")?.as_str()?));
    rules.filter(adds).filter_map(name).collect()
}

fn same_table(rule: &Value, object: &Value) -> bool {
    ["family", "table"].iter().all(|key| rule.get(key) == object.get(key))
}

/// Whether the rule has a `ct helper set` with this object, or with a map, which may hold any.
fn sets(rule: &Value, name: Option<&Value>) -> bool {
    let statements = rule.get("expr").and_then(Value::as_array).into_iter().flatten();
    statements.filter_map(|statement| statement.get("ct helper")).any(|set| Some(set) == name || !set.is_string())
}

/// From `iptables-save` or `ip6tables-save`: what stands behind `-j CT … --helper`.
pub fn attached_by_iptables(text: &str) -> BTreeSet<String> {
    let rules = text.lines().filter(|line| line.starts_with("-A ") && line.contains(" -j CT "));
    rules
        .filter_map(|rule| {
            rule.split_once(" --helper ")?.1.split_whitespace().next().map(|name| name.trim_matches('"').to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form of nft 1.0.6, shortened; the object `idle` is set by a rule of another table only.
    const NFT: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "inet", "name": "cthelperd", "handle": 1}},
        {"ct helper": {"family": "inet", "name": "helper-ftp-tcp-inet", "table": "cthelperd", "handle": 2, "type": "ftp", "protocol": "tcp", "l3proto": "ip"}},
        {"ct helper": {"family": "inet", "name": "idle", "table": "cthelperd", "handle": 3, "type": "tftp", "protocol": "udp", "l3proto": "ip"}},
        {"rule": {"family": "inet", "table": "cthelperd", "chain": "prerouting", "handle": 5, "expr": [
            {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 21}},
            {"ct helper": "helper-ftp-tcp-inet"}]}},
        {"rule": {"family": "ip", "table": "other", "chain": "c", "handle": 5, "expr": [{"ct helper": "idle"}]}}]}"#;

    #[test]
    fn an_object_that_a_rule_of_its_table_sets_attaches_its_type() {
        assert_eq!(attached_by_nft(NFT).unwrap(), BTreeSet::from(["ftp".to_owned()]));
    }

    #[test]
    fn a_map_may_attach_every_object_of_its_table() {
        let map = NFT.replace(r#"{"ct helper": "helper-ftp-tcp-inet"}"#, r#"{"ct helper": {"map": {"key": 1, "data": "@m"}}}"#);
        assert_eq!(attached_by_nft(&map).unwrap(), BTreeSet::from(["ftp".to_owned(), "tftp".to_owned()]));
    }

    #[test]
    fn a_table_with_flow_add_is_named() {
        assert_eq!(offloading(NFT), BTreeSet::new());
        let adds = NFT.replace(r#"{"ct helper": "idle"}"#, r#"{"flow": {"op": "add", "flowtable": "@f"}}"#);
        assert_eq!(offloading(&adds), BTreeSet::from(["ip other".to_owned()]));
        assert_eq!(offloading("Error"), BTreeSet::new());
    }

    #[test]
    fn what_is_not_nfts_output_is_refused() {
        for text in ["", "[]", "{}", "Error: JSON support not compiled-in", r#"{"nftables": 1}"#] {
            assert_eq!(attached_by_nft(text), None, "{text}");
        }
        assert_eq!(attached_by_nft(r#"{"nftables": []}"#).unwrap(), BTreeSet::new());
    }

    #[test]
    fn the_ct_target_of_iptables_attaches() {
        let text = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp\n\
                    -A OUTPUT -p udp -m udp --dport 69 -j CT --zone 3 --helper \"tftp\" --ctevents new\n\
                    -A PREROUTING -i lo -j CT --notrack\n-A FORWARD -m helper --helper sip -j ACCEPT\nCOMMIT\n";
        assert_eq!(attached_by_iptables(text), BTreeSet::from(["ftp".to_owned(), "tftp".to_owned()]));
    }
}
