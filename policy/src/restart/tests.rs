//! Series of ends, and what is made of them.

use proptest::prelude::*;

use super::*;

const CRASH: Exit = Exit::Signal(11);
const MINUTE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(10);

/// Without chance, so that delays can be written down.
fn steady() -> Policy {
    let backoff = Backoff { jitter: Thousandths(0), ..Backoff::default() };
    Policy { backoff, ..Policy::default() }
}

fn probing() -> Policy {
    Policy { probe: Some(PAUSE), ..steady() }
}

fn bears(burst: u16, policy: Policy) -> Policy {
    Policy { limit: Limit { burst, ..policy.limit }, ..policy }
}

fn restart(policy: Policy) -> (Restart, Instant) {
    (Restart::new(policy, 1), Instant::now())
}

fn series(restart: &mut Restart, start: Instant, gaps: &[u64]) -> Vec<Next> {
    let mut now = start;
    let step = |gap: &u64| {
        now += Duration::from_millis(*gap);
        restart.after_exit(CRASH, now)
    };
    gaps.iter().map(step).collect()
}

fn opened(why: Why) -> Next {
    Next::OpenCircuit { why, probe: None }
}

fn opened_for(why: Why, pause: Duration) -> Next {
    Next::OpenCircuit { why, probe: Some(pause) }
}

/// A circuit that has opened by its limit just now; returns when.
fn tripped(policy: Policy) -> (Restart, Instant) {
    let (mut restart, now) = restart(bears(0, policy));
    assert!(matches!(restart.after_exit(CRASH, now), Next::OpenCircuit { why: Why::Burst, .. }));
    restart.reconfigure(policy);
    (restart, now)
}

#[test]
fn first_restart_is_immediate_then_the_delay_doubles_up_to_its_limit() {
    let (mut restart, now) = restart(steady());
    let delays = [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000];
    assert_eq!(series(&mut restart, now, &[0; 10]), delays.map(|ms| Next::Restart(Duration::from_millis(ms))));
}

#[test]
fn the_eleventh_end_in_a_minute_opens_the_circuit() {
    let (mut restart, now) = restart(steady());
    let next = series(&mut restart, now, &[5000; 11]);
    assert!(next[..10].iter().all(|next| matches!(next, Next::Restart(_))));
    assert_eq!(next[10], opened(Why::Burst));
}

#[test]
fn a_worker_that_crashes_at_once_trips_in_spite_of_its_delays() {
    let (mut restart, mut now) = restart(Policy::default());
    let trips = (0..11).any(|_| match restart.after_exit(Exit::Code(1), now) {
        Next::Restart(delay) => {
            now += delay + Duration::from_millis(5);
            false
        }
        Next::OpenCircuit { .. } => true,
    });
    assert!(trips);
}

#[test]
fn a_worker_that_lives_through_the_interval_starts_a_new_series() {
    let (mut restart, now) = restart(steady());
    assert_eq!(series(&mut restart, now, &[0, 60_000, 60_000]), [Next::Restart(Duration::ZERO); 3]);
}

#[test]
fn the_operator_can_close_the_circuit_again() {
    let (mut restart, now) = restart(bears(1, steady()));
    assert_eq!(series(&mut restart, now, &[0, 0]), [Next::Restart(Duration::ZERO), opened(Why::Burst)]);
    restart.reset();
    assert_eq!(restart.after_exit(Exit::Hung, now), Next::Restart(Duration::ZERO));
}

#[test]
fn an_open_circuit_stays_open_whoever_ends() {
    let (mut restart, now) = tripped(steady());
    assert_eq!(restart.after_exit(CRASH, now + 100 * MINUTE), opened(Why::Burst));
    assert_eq!((restart.due(), restart.spares()), (None, 0));
    assert_eq!(restart.probe(now + 100 * MINUTE), None);
}

#[test]
fn burst_0_never_restarts_and_a_huge_one_does_not_overflow() {
    let (mut never, now) = restart(bears(0, steady()));
    assert_eq!(never.after_exit(Exit::Breach, now), opened(Why::Burst));
    let policy = bears(u16::MAX, steady());
    let mut huge = Restart::new(policy, 1);
    assert!((0..200).all(|_| matches!(huge.after_exit(Exit::Code(0), now), Next::Restart(_))));
    assert_eq!(huge.after_exit(Exit::Code(0), now), Next::Restart(policy.backoff.max));
}

#[test]
fn policy_never_opens_the_circuit_at_the_first_end_and_is_not_probed() {
    let (mut restart, now) = restart(Policy { when: When::Never, ..probing() });
    assert_eq!(restart.after_exit(CRASH, now), opened(Why::Never));
    assert_eq!(restart.probe(now + 100 * MINUTE), None);
}

#[test]
fn policy_on_failure_lets_a_clean_exit_be_the_last() {
    for exit in [Exit::Code(1), Exit::Signal(15), Exit::Hung, Exit::Breach] {
        let (mut restart, now) = restart(Policy { when: When::OnFailure, ..probing() });
        assert_eq!(restart.after_exit(exit, now), Next::Restart(Duration::ZERO), "{exit:?}");
        assert_eq!(restart.after_exit(Exit::Code(0), now), opened(Why::CleanExit));
        assert_eq!(restart.probe(now + 100 * MINUTE), None);
    }
}

#[test]
fn an_open_circuit_is_tried_once_after_its_pause() {
    let (mut restart, now) = tripped(probing());
    assert_eq!(restart.due(), Some(now + PAUSE));
    assert_eq!(restart.probe(now + PAUSE * 9 / 10), None);
    assert_eq!(restart.probe(now + PAUSE), Some(Probe::Start));
    assert_eq!((restart.probe(now + PAUSE), restart.spares()), (None, 0));
}

#[test]
fn an_end_while_half_open_opens_again_for_twice_the_pause_up_to_an_hour() {
    let (mut restart, _) = tripped(probing());
    let mut pauses = Vec::new();
    for _ in 0..40 {
        let now = restart.due().unwrap();
        assert_eq!(restart.probe(now), Some(Probe::Start));
        match restart.after_exit(CRASH, now + Duration::from_secs(1)) {
            Next::OpenCircuit { why: Why::ProbeFailed, probe: Some(pause) } => pauses.push(pause.as_secs()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pauses[..3], [20, 40, 80]);
    assert_eq!(pauses[9..], [3600; 31]);
}

#[test]
fn a_pause_longer_than_an_hour_is_kept() {
    let (mut restart, now) = tripped(Policy { probe: Some(100 * MINUTE), ..steady() });
    assert_eq!(restart.probe(now + 100 * MINUTE), Some(Probe::Start));
    assert_eq!(restart.after_exit(CRASH, now + 100 * MINUTE), opened_for(Why::ProbeFailed, 100 * MINUTE));
}

#[test]
fn a_worker_that_lives_through_the_interval_closes_the_circuit() {
    let (mut restart, now) = tripped(probing());
    let start = now + PAUSE;
    assert_eq!(restart.probe(start), Some(Probe::Start));
    assert_eq!(restart.due(), Some(start + MINUTE));
    assert_eq!(restart.probe(start + MINUTE), Some(Probe::Closed));
    assert_eq!((restart.probe(start + MINUTE), restart.due(), restart.spares()), (None, None, 1));
    assert_eq!(restart.after_exit(CRASH, start + MINUTE), Next::Restart(Duration::ZERO), "a new series");
}

#[test]
fn an_end_after_the_interval_is_the_first_of_a_series_though_nobody_asked_in_between() {
    let (mut restart, now) = tripped(probing());
    restart.probe(now + PAUSE);
    assert_eq!(restart.after_exit(CRASH, now + PAUSE + MINUTE), Next::Restart(Duration::ZERO));
    assert_eq!(restart.due(), None);
}

#[test]
fn a_closed_circuit_forgets_failed_probes() {
    let (mut restart, now) = tripped(probing());
    restart.probe(now + PAUSE);
    assert_eq!(restart.after_exit(CRASH, now + PAUSE), opened_for(Why::ProbeFailed, 2 * PAUSE));
    let start = now + 3 * PAUSE;
    assert_eq!(restart.probe(start), Some(Probe::Start));
    assert_eq!(restart.probe(start + MINUTE), Some(Probe::Closed));
    restart.reconfigure(bears(0, probing()));
    assert_eq!(restart.after_exit(CRASH, start + MINUTE), opened_for(Why::Burst, PAUSE));
}

#[test]
fn a_reload_resets_no_count() {
    let (mut restart, now) = restart(steady());
    series(&mut restart, now, &[0; 9]);
    restart.reconfigure(steady());
    assert_eq!(restart.after_exit(CRASH, now), Next::Restart(Duration::from_secs(5)), "the tenth");
    restart.reconfigure(bears(20, steady()));
    assert!(matches!(restart.after_exit(CRASH, now), Next::Restart(_)), "more are borne now");
    restart.reconfigure(bears(3, steady()));
    assert_eq!(restart.after_exit(CRASH, now), opened(Why::Burst), "fewer are borne now");
}

#[test]
fn a_reload_reaches_an_open_circuit() {
    let (mut restart, now) = tripped(steady());
    assert_eq!(restart.due(), None);
    restart.reconfigure(probing());
    assert_eq!(restart.due(), Some(now + PAUSE));
    restart.reconfigure(Policy { when: When::Never, ..probing() });
    assert_eq!(restart.due(), None);
}

#[test]
fn a_worker_is_worn_by_packets_or_by_age_if_at_all() {
    let (young, old) = (Duration::from_secs(1), Duration::from_secs(3600));
    assert!(!is_worn(&Policy::default(), u64::MAX, Duration::MAX));
    let by_packets = Policy { max_packets: Some(100), ..Policy::default() };
    assert_eq!([99, 100, 101].map(|packets| is_worn(&by_packets, packets, Duration::MAX)), [false, true, true]);
    let by_age = Policy { max_age: Some(old), ..by_packets };
    assert_eq!([young, old].map(|age| is_worn(&by_age, 0, age)), [false, true]);
}

#[test]
fn what_the_operator_reads_is_what_the_operator_wrote() {
    assert_eq!([OnDown::Pass, OnDown::Drop, OnDown::default()].map(|on_down| on_down.to_string()), ["pass", "drop", "hold"]);
    assert_eq!([OnCrash::Pass, OnCrash::Drop].map(|word| word.to_string()), ["pass", "drop"]);
    assert_eq!([When::Always, When::OnFailure, When::Never].map(|word| word.to_string()), ["always", "on-failure", "never"]);
    assert_eq!([OnDown::Pass, OnDown::Drop, OnDown::default()].map(|on_down| on_down.hold().as_millis()), [0, 0, 1500]);
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let when = prop_oneof![4 => Just(When::Always), 2 => Just(When::OnFailure), 1 => Just(When::Never)];
    (when, 0_u16..6, 1_u64..100, prop::option::of(1_u64..100)).prop_map(|(when, burst, interval, probe)| Policy {
        when,
        limit: Limit { burst, interval: Duration::from_secs(interval) },
        probe: probe.map(Duration::from_secs),
        ..Policy::default()
    })
}

/// What can happen to a lane.
#[derive(Clone, Debug)]
enum Happening {
    End(Exit),
    Turn,
    Reload(Policy),
}

fn happening() -> impl Strategy<Value = (u64, Happening)> {
    let exit = prop_oneof![Just(Exit::Code(0)), Just(Exit::Code(1)), Just(CRASH), Just(Exit::Hung), Just(Exit::Breach)];
    let what = prop_oneof![
        6 => exit.prop_map(Happening::End),
        4 => Just(Happening::Turn),
        1 => any_policy().prop_map(Happening::Reload),
    ];
    (0_u64..40_000, what)
}

proptest! {
    #[test]
    fn whatever_happens_the_answers_fit_together(
        first in any_policy(), seed: u64, story in prop::collection::vec(happening(), 1..80),
    ) {
        let (mut restart, mut now) = (Restart::new(first, seed), Instant::now());
        let mut policy = first;
        for (pause, what) in story {
            now += Duration::from_millis(pause);
            match what {
                Happening::Reload(other) => {
                    policy = other;
                    restart.reconfigure(other);
                }
                Happening::Turn => {
                    let due = restart.due().is_some_and(|due| due <= now);
                    prop_assert_eq!(restart.probe(now).is_some(), due, "there is an answer when it is due");
                    prop_assert_eq!(restart.probe(now), None, "each answer is given once");
                }
                Happening::End(exit) => match restart.after_exit(exit, now) {
                    Next::Restart(delay) => {
                        prop_assert!(delay <= policy.backoff.max && policy.when != When::Never);
                        prop_assert!(restart.ends.len() <= usize::from(policy.limit.burst), "memory is bounded");
                        prop_assert_eq!((restart.due(), restart.spares()), (None, policy.spares));
                    }
                    Next::OpenCircuit { why, probe } => {
                        prop_assert_eq!(restart.due().map(|due| due.saturating_duration_since(now)), probe);
                        prop_assert!(probe.is_none_or(|pause| pause <= Restart::LONGEST_PAUSE && policy.probe.is_some()));
                        prop_assert!(!matches!(why, Why::Never | Why::CleanExit) || probe.is_none());
                        prop_assert_eq!(restart.spares(), 0);
                    }
                },
            }
        }
    }

    #[test]
    fn no_more_than_burst_restarts_fall_into_an_interval(
        burst in 0_u16..8, gaps in prop::collection::vec(0_u64..20_000, 1..60), seed: u64,
    ) {
        let (mut restart, mut now) = (Restart::new(bears(burst, Policy::default()), seed), Instant::now());
        let mut restarts = VecDeque::new();
        for gap in gaps {
            now += Duration::from_millis(gap);
            if let Next::Restart(_) = restart.after_exit(CRASH, now) {
                restarts.push_back(now);
                restarts.retain(|at| now.duration_since(*at) < MINUTE);
                prop_assert!(restarts.len() <= usize::from(burst));
            } else {
                prop_assert!(restarts.iter().filter(|at| now.duration_since(**at) < MINUTE).count() >= usize::from(burst));
                break;
            }
        }
    }
}
