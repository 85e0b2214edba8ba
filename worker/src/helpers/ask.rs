//! A helper without a parser: the operator's configuration says what a question to many looks like, and who may answer.
//!
//! It is made under any name, `?NAME` in the worker's argument; where it attaches, whom it serves and its limits are the supervisor's to
//! fill in.

use std::borrow::Cow;

use cthelper_proto::Malformed;
use cthelper_proto::ipc::{Expect, Holds, QUESTION_CLASS, QUESTION_MARK, Question, To};
use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::types::{Dir, Family, L4s};

use crate::helper::{Cx, Helper, answers};

/// Expectations at a time, and seconds, where the operator says nothing: mDNS has the same.
const AT_A_TIME: u8 = 8;
const SECONDS: u32 = 30;

static CLASSES: [Class; 1] = [Class::new(QUESTION_CLASS, Scope::AnyToEnd, AT_A_TIME, SECONDS).udp().staying().to_own_port()];

/// The helper; it keeps nothing.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    manifest: &'static Manifest,
}

/// The one for this argument of a worker, if it is `?NAME`.
pub fn helper_for(argument: &str) -> Option<Ask> {
    argument.strip_prefix(QUESTION_MARK).map(named)
}

fn named(name: &str) -> Ask {
    let manifest = Manifest {
        name: Cow::Owned(name.to_owned()),
        l4s: L4s::Udp,
        families: Cow::Borrowed(&Family::ALL),
        classes: Cow::Borrowed(&CLASSES),
        state_len: 0,
        ports: Cow::Borrowed(&[]),
        source: Cow::Borrowed("configuration"),
    };
    // A worker has one helper, from its start to its end.
    Ask { manifest: Box::leak(Box::new(manifest)) }
}

impl Helper for Ask {
    fn manifest(&self) -> &'static Manifest {
        self.manifest
    }

    fn message(&mut self, cx: &mut Cx<'_>, message: &[u8]) -> Result<(), Malformed> {
        let Some(question) = &cx.settings().question else { return Ok(()) };
        if cx.dir() == Dir::Reply || !question.to.iter().any(|to| goes_to(cx, *to)) || !holds_all(message, question) {
            return Ok(());
        }
        let sport = question.answers_from;
        // A refusal is counted by the supervisor.
        let _granted = cx.expect(Expect { sport, ..answers(0, cx) });
        Ok(())
    }
}

fn goes_to(cx: &Cx<'_>, to: To) -> bool {
    match to {
        To::Addr(addr) => cx.peer() == addr,
        To::Multicast => cx.peer().is_multicast(),
        To::Broadcast => cx.asks_many() && !cx.peer().is_multicast(),
    }
}

fn holds_all(message: &[u8], question: &Question) -> bool {
    let holds = |Holds { at, bytes }: &Holds| message.get(usize::from(*at)..).is_some_and(|rest| rest.starts_with(bytes));
    question.holds.iter().all(holds)
}

#[cfg(test)]
mod tests {
    use cthelper_proto::ipc::Settings;
    use proptest::prelude::*;

    use super::*;
    use crate::testkit::{Net, Talk, answers_from, talk};

    /// BJNP, a scanner's discovery (port 8612): `BJNP`, 2, command 1.
    fn bjnp(to: Vec<To>) -> Talk {
        let holds = vec![Holds { at: 0, bytes: b"BJNP".to_vec() }, Holds { at: 4, bytes: vec![2, 1] }];
        let question = Question { to, holds, answers_from: Some(8612) };
        talk(named("bjnp")).with(Settings { question: Some(question), ..Settings::default() })
    }

    const DISCOVER: &[u8] = b"BJNP\x02\x01\0\0\0\0\0\0\0\0\0\0";

    #[test]
    fn it_is_made_for_marked_arguments_only() {
        assert_eq!(helper_for("?wsd").unwrap().manifest().name, "wsd");
        assert!(helper_for("wsd").is_none() && helper_for("").is_none());
        helper_for("?wsd").unwrap().manifest().check().unwrap();
    }

    #[test]
    fn a_question_that_is_as_described_expects_answers() {
        let group: To = To::Addr("224.0.0.1".parse().unwrap());
        for (to, goes, expected) in [
            (vec![group], "224.0.0.1", true),
            (vec![group], "224.0.0.2", false),
            (vec![group, To::Broadcast], "10.0.1.255", true),
            (vec![To::Broadcast], "255.255.255.255", true),
            (vec![To::Broadcast], "224.0.0.255", false),
            (vec![To::Multicast], "224.0.0.2", true),
            (vec![To::Multicast, To::Broadcast], "10.0.2.2", false),
        ] {
            let asked = bjnp(to).to(goes).from_client(DISCOVER).passes_unchanged().well_formed();
            if expected {
                asked.expects(answers_from(Some(8612), "10.0.1.2:40000"))
            } else {
                asked.expects_nothing()
            };
        }
        let six = bjnp(vec![To::Multicast]).across(Net::Plain6).to("ff02::1").from_client(DISCOVER);
        six.expects(answers_from(Some(8612), "[2001:db8:1::2]:40000"));
    }

    #[test]
    fn other_bytes_too_few_of_them_and_answers_expect_nothing() {
        for other in [&b"BJNP\x02\x02"[..], b"BJNP\x82\x01", b"BJNQ\x02\x01", b"BJNP\x02", b""] {
            bjnp(vec![To::Multicast]).to("224.0.0.1").from_client(other).expects_nothing().well_formed();
        }
        bjnp(vec![To::Multicast]).to("224.0.0.1").from_server(DISCOVER).expects_nothing();
        talk(named("none")).to("224.0.0.1").from_client(DISCOVER).expects_nothing();
    }

    proptest! {
        #[test]
        fn any_bytes_and_any_question_do_no_harm(
            payload in prop::collection::vec(any::<u8>(), 0..100),
            at in any::<u16>(),
            bytes in prop::collection::vec(any::<u8>(), 0..4),
        ) {
            let question = Question { to: vec![To::Multicast], holds: vec![Holds { at, bytes }], answers_from: None };
            let settings = Settings { question: Some(question), ..Settings::default() };
            let talk = talk(named("x")).with(settings).to("224.0.0.1").from_client(&payload).passes_unchanged();
            prop_assert!(talk.asked().len() <= 1);
        }
    }
}
