//! The workers of one lane: the one that serves, those that wait to take over, those that are still starting.

use super::session::{Phase, Session};

/// A handful of sessions, oldest first.
#[derive(Default)]
pub(super) struct Crew {
    sessions: Vec<Session>,
}

impl Crew {
    pub(super) fn join(&mut self, session: Session) {
        self.sessions.push(session);
    }

    /// Takes a worker out.
    pub(super) fn leave(&mut self, generation: u64) -> Option<Session> {
        let at = self.sessions.iter().position(|session| session.generation == generation)?;
        Some(self.sessions.remove(at))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn by(&self, generation: u64) -> Option<&Session> {
        self.sessions.iter().find(|session| session.generation == generation)
    }

    pub(super) fn by_mut(&mut self, generation: u64) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.generation == generation)
    }

    pub(super) fn serving(&self) -> Option<&Session> {
        self.sessions.iter().find(|session| session.phase == Phase::Serving)
    }

    pub(super) fn serving_mut(&mut self) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.phase == Phase::Serving)
    }

    /// Somebody is on the way to be verified.
    pub(super) fn is_starting(&self) -> bool {
        self.sessions.iter().any(|session| !session.is_verified())
    }

    /// The oldest that waits to take over.
    pub(super) fn spare_mut(&mut self) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.phase == Phase::Spare)
    }

    pub(super) fn generations(&self) -> Vec<u64> {
        self.sessions.iter().map(|session| session.generation).collect()
    }
}
