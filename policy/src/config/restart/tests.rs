//! The table as operators write it, right and wrong.

use std::time::Duration;

use proptest::prelude::*;

use crate::config::{Config, ConfigError};
use crate::restart::{Backoff, BlameLimit, Limit, OnCrash, OnDown, Policy, Thousandths, When};

fn read(keys: &str) -> Result<Policy, ConfigError> {
    Config::parse(&format!("[helper.ftp.restart]\n{keys}"), "c.toml").map(|config| config.helpers["ftp"].restart)
}

/// With the place, counted from the table's line.
fn mistake(keys: &str) -> String {
    read(keys).unwrap_err().to_string().split_off("c.toml:".len())
}

#[test]
fn an_empty_table_and_none_are_the_default() {
    assert_eq!(read("").unwrap(), Policy::default());
    assert_eq!(Config::parse("[helper.ftp]", "c.toml").unwrap().helpers["ftp"].restart, Policy::default());
}

#[test]
fn defaults_are_the_documented_ones() {
    let text = r#"
        policy = "always"
        backoff = { initial = "100ms", max = "5s", factor = 2.0, jitter = 0.1 }
        limit = { burst = 10, interval = "60s" }
        on_crash_packet = "pass"
        on_down = "hold"
        hold = "1500ms"
        deadline = "1s"
        spares = 1
        blame = { times = 2, penalty = "1h" }
    "#;
    assert_eq!(read(text).unwrap(), Policy::default());
}

#[test]
fn every_key_is_read() {
    let text = r#"
        policy = "on-failure"
        backoff = { initial = "1ms", max = "2s", factor = 1.5, jitter = 1 }
        limit = { burst = 3, interval = "10s" }
        on_crash_packet = "drop"
        on_down = "hold"
        hold = "4s"
        deadline = "50ms"
        spares = 4
        max_packets = 1
        max_age = "6h"
        blame = { times = 1, penalty = "5min" }
        probe = "7s"
    "#;
    let seconds = Duration::from_secs;
    let wanted = Policy {
        when: When::OnFailure,
        backoff: Backoff {
            initial: Duration::from_millis(1),
            max: seconds(2),
            factor: Thousandths(1500),
            jitter: Thousandths(1000),
        },
        limit: Limit { burst: 3, interval: seconds(10) },
        on_crash_packet: OnCrash::Drop,
        on_down: OnDown::Hold(seconds(4)),
        deadline: Duration::from_millis(50),
        spares: 4,
        max_packets: Some(1),
        max_age: Some(seconds(6 * 3600)),
        blame: BlameLimit { times: 1, penalty: seconds(300) },
        probe: Some(seconds(7)),
    };
    assert_eq!(read(text).unwrap(), wanted);
}

#[test]
fn part_of_a_table_leaves_the_rest_as_it_is() {
    let default = Policy::default();
    assert_eq!(read("backoff.max = '1s'").unwrap().backoff, Backoff { max: Duration::from_secs(1), ..default.backoff });
    assert_eq!(read("limit.burst = 5").unwrap().limit, Limit { burst: 5, ..default.limit });
    assert_eq!(read("blame.times = 3").unwrap().blame, BlameLimit { times: 3, ..default.blame });
    assert_eq!(read("hold = '2s'").unwrap().on_down, OnDown::Hold(Duration::from_secs(2)));
    assert_eq!(["pass", "drop"].map(|word| read(&format!("on_down = '{word}'")).unwrap().on_down), [OnDown::Pass, OnDown::Drop]);
}

#[test]
fn unknown_words_are_pointed_at_with_the_nearest() {
    for (keys, wanted) in [
        ("spare = 1", "2:1: unknown key `spare`; did you mean `spares`?"),
        ("polcy = 'never'", "2:1: unknown key `polcy`; did you mean `policy`?"),
        ("backoff = { inital = '1s' }", "2:13: unknown key `inital`; did you mean `initial`?"),
        ("limit = { bursts = 1 }", "2:11: unknown key `bursts`; did you mean `burst`?"),
        ("blame = { time = 1 }", "2:11: unknown key `time`; did you mean `times`?"),
        ("[helper.ftp.restart.limit]\nwindow = '1s'", "3:1: unknown key `window`; known here: burst, interval"),
        ("policy = 'allways'", "2:10: unknown value `allways`; did you mean `always`?"),
        ("policy = 'onfailure'", "2:10: unknown value `onfailure`; did you mean `on-failure`?"),
        ("on_crash_packet = 'hold'", "2:19: unknown value `hold`; known here: pass, drop"),
        ("on_down = 'wait'", "2:11: unknown value `wait`; known here: pass, drop, hold"),
    ] {
        assert_eq!(mistake(keys), wanted, "{keys}");
    }
}

#[test]
fn values_out_of_their_range_are_pointed_at() {
    for (keys, wanted) in [
        ("backoff = { max = '0s' }", "2:19: time span \"0s\": above 0, at most 24h"),
        ("backoff = { max = 5 }", "2:19: invalid type: integer `5`, expected a string"),
        ("backoff = { factor = 0.5 }", "2:22: a number from 1 to 16"),
        ("backoff = { factor = 17 }", "2:22: a number from 1 to 16"),
        ("backoff = { factor = inf }", "2:22: a number from 1 to 16"),
        ("backoff = { factor = nan }", "2:22: a number from 1 to 16"),
        ("backoff = { jitter = -0.1 }", "2:22: a number from 0 to 1"),
        ("backoff = { jitter = 10 }", "2:22: a number from 0 to 1"),
        ("backoff = { jitter = '10%' }", "2:22: invalid type: string \"10%\", expected f64"),
        ("limit = { burst = 0 }", "2:19: a whole number from 1 to 1000"),
        ("limit = { burst = 1001 }", "2:19: a whole number from 1 to 1000"),
        ("limit = { burst = -1 }", "2:19: invalid value: integer `-1`, expected u64"),
        ("limit = { interval = '60' }", "2:22: time span \"60\": a whole number and ms, s, min or h, such as \"300s\""),
        ("limit = { interval = '2d' }", "2:22: time span \"2d\": a whole number and ms, s, min or h, such as \"300s\""),
        ("hold = '61s'", "2:8: time span: 1ms to 1min"),
        ("deadline = '9ms'", "2:12: time span: 10ms to 24h"),
        ("deadline = '25h'", "2:12: time span \"25h\": above 0, at most 24h"),
        ("spares = 5", "2:10: a whole number from 0 to 4"),
        ("max_packets = 0", "2:15: a whole number, at least 1"),
        ("max_age = '999ms'", "2:11: time span: 1s to 24h"),
        ("blame = { times = 0 }", "2:19: a whole number from 1 to 255"),
        ("blame = { times = 256 }", "2:19: a whole number from 1 to 255"),
        ("probe = '500ms'", "2:9: time span: 1s to 24h"),
    ] {
        assert_eq!(mistake(keys), wanted, "{keys}");
    }
}

#[test]
fn contradictions_are_pointed_at() {
    for (keys, wanted) in [
        ("backoff = { initial = '6s' }", "2:23: backoff: initial (6s) is above max (5s): lower initial, or raise max"),
        ("spares = 2\nbackoff.max = '50ms'", "3:15: backoff: initial (100ms) is above max (50ms): lower initial, or raise max"),
        (
            "on_down = 'drop'\nhold = '2s'",
            "3:8: hold: nothing is held with on_down = \"drop\": remove it, or say on_down = \"hold\"",
        ),
        (
            "probe = '1min'\npolicy = 'never'",
            "2:9: probe: policy = \"never\" lets only the operator try again: remove one of the two",
        ),
        (
            "limit = { interval = '20s' }",
            "2:9: limit: 10 restarts take 21.3s with this backoff, so the circuit would never open: a longer interval, or a smaller burst or backoff",
        ),
        (
            "backoff = { factor = 16.0, max = '10s' }",
            "2:34: limit: 10 restarts take 71.7s with this backoff, so the circuit would never open: a longer interval, or a smaller burst or backoff",
        ),
    ] {
        assert_eq!(mistake(keys), wanted, "{keys}");
    }
}

#[test]
fn what_only_seems_to_contradict_is_taken() {
    for keys in [
        "backoff = { initial = '1s', max = '1s', factor = 1 }",
        "on_down = 'hold'\nhold = '1min'",
        "limit = { burst = 1, interval = '1ms' }",
        "policy = 'never'\nlimit.interval = '1s'",
        "spares = 0",
        "backoff.jitter = 0",
    ] {
        assert!(read(keys).is_ok(), "{keys}: {:?}", read(keys));
    }
}

#[test]
fn the_second_helpers_mistake_is_found_where_it_is() {
    let text = "[helper.a.restart]\nhold = '1s'\n[helper.b.restart]\nhold = '1s'\non_down = 'pass'\n";
    let error = Config::parse(text, "c.toml").unwrap_err();
    assert_eq!(error.at, Some((4, 8)));
}

proptest! {
    #[test]
    fn decimals_are_read_to_the_thousandth(thousandths in 1000_u32..=16_000) {
        let number = f64::from(thousandths) / 1000.0;
        let policy = read(&format!("policy = 'never'\nbackoff.factor = {number}")).unwrap();
        prop_assert_eq!(policy.backoff.factor, Thousandths(thousandths));
    }

    #[test]
    fn whoever_crashes_at_once_opens_every_circuit_that_is_accepted(
        initial in 1_u64..3000, max in 1_u64..3000, factor in 1.0..16.0_f64, jitter in 0.0..1.0_f64, burst in 1_u16..40,
        interval in 1_u64..60, seed: u64,
    ) {
        let keys = format!(
            "backoff = {{ initial = '{initial}ms', max = '{max}ms', factor = {factor:.3}, jitter = {jitter:.3} }}\n\
             limit = {{ burst = {burst}, interval = '{interval}s' }}"
        );
        let Ok(policy) = read(&keys) else { return Ok(()) };
        let (mut restart, mut now) = (crate::restart::Restart::new(policy, seed), std::time::Instant::now());
        let opened = (0..=burst).any(|_| match restart.after_exit(crate::restart::Exit::Hung, now) {
            crate::restart::Next::Restart(delay) => {
                now += delay;
                false
            }
            crate::restart::Next::OpenCircuit { .. } => true,
        });
        prop_assert!(opened);
    }
}
