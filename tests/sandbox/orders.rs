//! Imposters that serve well until a packet tells them otherwise.

use std::time::Duration;

use cthelper_proto::events::Event;
use cthelper_supervisor::lane::Ended;
use cthelper_tests::control::{Control, Net};
use cthelper_tests::fake_kernel::{How, Script};
use cthelper_tests::stage::{Play, Stage, ends};

/// A packet on which nothing goes wrong: the imposter counts it in the first private byte.
fn is_served(kernel: &Script, flow: &mut Control) {
    let before = kernel.state(&flow.flow).map_or(0, |state| state.as_bytes()[0]);
    let released = kernel.carries(flow.client("hello"));
    let How::Changed { packet: None, state: Some(state), .. } = released.how else { panic!("{released:?}") };
    assert_eq!(state.as_bytes()[0], before + 1);
}

/// Serves a packet, gives the order, waits until the worker has ended for it, and sees that the next one serves.
fn ends_by(play: Play, order: &str) -> (Stage, String) {
    let stage = play.start();
    let mut flow = Control::over(Net::Plain4, 1);
    is_served(&stage.kernel, &mut flow);
    let released = stage.kernel.carries(flow.client(format!("DO {order}")));
    assert!(!matches!(released.how, How::Dropped | How::Changed { packet: Some(_), .. }), "{order}: {released:?}");
    let end = stage.audits(&format!("the end of the one that did {order}"), |_| ends(&stage.audited()).first().cloned());
    is_served(&stage.kernel, &mut flow);
    assert_eq!(ends(&stage.audited()).len(), 1, "{order}: {:?}", stage.audited());
    (stage, end)
}

#[test]
fn a_broken_rule_ends_its_worker_by_name_and_no_other() {
    let refused_before = "that it does not hold";
    for (order, said) in [
        ("foreign-ticket", "verdict for ticket 99999 that it does not hold"),
        ("double-verdict", refused_before),
        ("edit-outside", "edits: edit outside the payload"),
        ("edit-overlap", "edits: edits out of order"),
        ("edit-many", "edits: too many edits"),
        ("state-short", "private bytes of another length than its manifest says"),
        ("state-long", "private bytes of another length than its manifest says"),
        ("unknown", "verdict: unknown message"),
        ("trailing", "verdict: unknown message"),
        ("long-record", "a record that is too long"),
        ("long-ask", "an ask of 100000 bytes"),
        ("ask-garbage", "ask: unknown message"),
        ("ready-again", "Ready while Serving"),
        ("hello-again", "Hello while Serving"),
        ("expect-foreign-ticket", "Expect for ticket 3 that it does not hold"),
        ("withdraw-foreign-ticket", "Withdraw for ticket 99999 that it does not hold"),
    ] {
        let (stage, end) = ends_by(Play::imposter("honest"), order);
        assert!(end.starts_with("out of turn: ") && end.contains(said), "{order}: {end}");
        assert!(matches!(stage.stop(), Ended::Orderly), "{order}");
    }
}

#[test]
fn the_packet_of_a_broken_rule_comes_back_as_it_came() {
    for order in ["edit-outside", "edit-many", "state-short", "unknown", "long-ask", "expect-foreign-ticket", "abort", "exit"] {
        let stage = Play::imposter("honest").start();
        let mut flow = Control::over(Net::Plain4, 1);
        let released = stage.kernel.carries(flow.client(format!("DO {order}")));
        assert_eq!(released.how, How::Accepted, "{order}");
        assert!(matches!(stage.stop(), Ended::Orderly), "{order}");
    }
}

#[test]
fn a_flow_on_which_rules_are_broken_twice_is_left_alone() {
    for order in ["foreign-ticket", "edit-outside", "state-long"] {
        let stage = Play::imposter("honest").start();
        let (mut flow, mut other) = (Control::over(Net::Plain4, 1), Control::over(Net::Plain4, 2));
        for _ in 0..3 {
            stage.kernel.carries(flow.client(format!("DO {order}")));
            is_served(&stage.kernel, &mut other);
        }
        assert_eq!(ends(&stage.audited()).len(), 2, "{order}");
    }
}

#[test]
fn sudden_ends_are_named_and_the_next_worker_serves() {
    for (order, end) in [("abort", "crashed signal SIGSYS"), ("exit", "crashed exit 0")] {
        assert_eq!(ends_by(Play::imposter("honest"), order).1, end);
    }
    // A record of no bytes is how a channel's end looks.
    assert!(ends_by(Play::imposter("honest"), "empty").1.starts_with("crashed"));
}

#[test]
fn silence_on_a_packet_ends_at_the_deadline() {
    let (stage, end) = ends_by(Play::imposter("honest").deadline(Duration::from_secs(1)), "silence");
    assert_eq!(end, "hung");
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_flood_of_asks_ends_at_the_deadline_of_the_packet() {
    let (stage, end) = ends_by(Play::imposter("honest").deadline(Duration::from_secs(1)), "flood-politely");
    assert_eq!(end, "hung");
    assert!(matches!(stage.stop(), Ended::Orderly));
    // One that asks faster than it hears answers may be found out before.
    let (stage, end) = ends_by(Play::imposter("honest").deadline(Duration::from_secs(1)), "flood");
    assert!(end == "hung" || end.contains("does not take the answer to its ask"), "{end}");
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_flood_of_asks_without_ears_for_the_answers_is_out_of_turn() {
    let (stage, end) = ends_by(Play::imposter("honest"), "flood-unread");
    assert!(end.contains("does not take the answer to its ask"), "{end}");
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// What is not a breach but a wish: refused by rule, counted and audited, and the worker goes on.
#[test]
fn a_wish_that_policy_forbids_is_refused_by_name_and_the_packet_passes() {
    let stage = Play::imposter("honest").start();
    let mut flow = Control::over(Net::Plain4, 1);
    for (order, rule, times) in [
        ("third-party", "foreign-address", 1),
        ("loopback", "bad-address", 1),
        ("other-family", "bad-address", 2),
        ("privileged", "privileged-port", 1),
        ("bad-class", "bad-class", 1),
        ("anyone", "bad-class", 2),
        ("sctp", "bad-protocol", 1),
        ("edit-large", "too-large", 1),
        ("edit-grow", "length-without-nat", 1),
        ("resend", "resend-limit", 1),
        ("per-packet", "per-packet", 5),
    ] {
        let released = stage.kernel.carries(flow.client(format!("DO {order}")));
        assert!(!matches!(released.how, How::Dropped | How::Changed { packet: Some(_), .. }), "{order}: {released:?}");
        assert_eq!(stage.status().refused.get(rule), Some(&times), "{order}");
        let audited = |event: &Event| matches!(event, Event::ExpectationRefused { rule: said, .. } if said == rule).then_some(());
        stage.audits(rule, audited);
    }
    assert_eq!(stage.kernel.asked().len(), 4, "four of nine for one packet");
    assert_eq!(ends(&stage.audited()), Vec::<String>::new());
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn an_expectation_that_was_never_granted_can_be_taken_back_without_harm() {
    let stage = Play::imposter("honest").start();
    let mut flow = Control::over(Net::Plain4, 1);
    stage.kernel.carries(flow.client("DO withdraw-unknown"));
    assert_eq!((stage.kernel.withdrawn(), stage.status().restarts), (0, 0));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_worker_cannot_fill_the_status_with_words_of_its_own() {
    let stage = Play::imposter("honest").start();
    let mut flow = Control::over(Net::Plain4, 1);
    stage.kernel.carries(flow.client("DO field"));
    let malformed = stage.status().malformed;
    assert_eq!(malformed.into_iter().collect::<Vec<_>>(), [("other".to_owned(), 1)]);
    assert!(matches!(stage.stop(), Ended::Orderly));
}
