use std::collections::{BTreeMap, BTreeSet};

use cthelper_proto::ctl::WorkerStatus;

use super::*;

fn snapshot() -> Snapshot {
    let json = r#"{"name":"ftp","l4":"tcp","families":["inet"],"queue":6,"state":"serving","on_down":"hold","packets":7,"verdicts":7,
        "expectations":2,"refused":{},"malformed":{},"trouble":{},"restarts":1,"workers":[]}"#;
    let helper: HelperStatus = serde_json::from_str(json).unwrap();
    let worker = WorkerStatus {
        pid: 1,
        uid: 2,
        generation: 1,
        spare: true,
        landlock: String::new(),
        namespaces: String::new(),
        write_xor_execute: true,
    };
    let odd = |name: &str| BTreeMap::from([(name.to_owned(), 3)]);
    let helper = HelperStatus {
        workers: vec![worker],
        malformed: odd("a \"b\"\\\n"),
        refused: odd("rate"),
        trouble: odd("flush"),
        ..helper
    };
    let daemon = Daemon { version: "0.1.0".to_owned(), uptime_ms: 1500, broker_restarts: 1, link_lost: 2 };
    Snapshot { helpers: vec![helper], daemon, age: 0.25, broker: Counts::default() }
}

#[test]
fn the_text_is_openmetrics() {
    let text = text(&snapshot());
    for line in [
        "# HELP cthelperd_helper_packets Packets the kernel queued for the helper",
        "# TYPE cthelperd_helper_packets counter",
        "# UNIT cthelperd_helper_packets packets",
        "cthelperd_helper_packets_total{helper=\"ftp\"} 7",
        "cthelperd_uptime_seconds 1.5",
        "cthelperd_build_info{version=\"0.1.0\"} 1",
        "cthelperd_helper_state{helper=\"ftp\",state=\"serving\"} 1",
        "cthelperd_helper_state{helper=\"ftp\",state=\"tripped\"} 0",
        "cthelperd_helper_workers{helper=\"ftp\",role=\"spare\"} 1",
        "cthelperd_helper_malformed_payloads_total{helper=\"ftp\",field=\"a \\\"b\\\"\\\\\\n\"} 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

/// Samples of a metric stand together, each name once; what the format asks for.
#[test]
fn names_are_well_formed_and_each_stands_once() {
    let mut names = BTreeSet::new();
    for metric in METRICS {
        assert!(names.insert(metric.full_name()), "{} twice", metric.full_name());
        assert!(metric.full_name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        assert!(metric.labels.len() <= 2 && !metric.help.ends_with('.'), "{}", metric.name);
        for sample in (metric.read)(&snapshot()) {
            assert_eq!(sample.labels.len(), metric.labels.len(), "{}", metric.full_name());
        }
    }
}

/// Every field of the status that counts something is a metric: a new field is a compile error here.
#[test]
fn no_counter_of_the_status_is_left_out() {
    let HelperStatus {
        name: _,
        l4: _,
        families: _,
        ports: _,
        queue: _,
        on_down: _,
        classes: _,
        state: _,
        packets: _,
        verdicts: _,
        expectations: _,
        refused: _,
        malformed: _,
        trouble: _,
        restarts: _,
        workers: _,
        // `trouble` counts them: flow-left-alone.
        left_alone: _,
    } = snapshot().helpers.remove(0);
}

fn row(metric: &Metric) -> String {
    let kind = if metric.kind == Type::Counter { "counter" } else { "gauge" };
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    format!("| `{}` | {kind} | {} | {} |", metric.full_name(), labels.join(", "), metric.help)
}

#[test]
fn the_page_for_people_is_this_table() {
    let page = include_str!("../../../../packaging/METRICS.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `cthelperd_")).collect();
    let wanted: Vec<String> = METRICS.iter().map(row).collect();
    assert_eq!(rows, wanted, "\n{}\n", wanted.join("\n"));
}

#[test]
fn the_dashboard_names_only_metrics_that_exist() {
    let dashboard: serde_json::Value =
        serde_json::from_str(include_str!("../../../../packaging/grafana/cthelperd.json")).unwrap();
    let known: BTreeSet<String> = METRICS.iter().map(Metric::full_name).collect();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut used = BTreeSet::new();
    for target in panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap()) {
        let expr = target["expr"].as_str().unwrap();
        let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in words.filter(|word| word.starts_with("cthelperd_")) {
            assert!(known.contains(name), "{name} in {expr}");
            used.insert(name.to_owned());
        }
    }
    assert!(used.len() * 2 > known.len(), "most of what there is, is shown: {used:?}");
}
