//! New settings for a lane that serves. Nothing that is under way notices: packets in flight are judged by the old or the new rules,
//! whichever is in force when their announcement is heard.

use cthelper_policy::config::HelperConfig;
use cthelper_policy::config::reload::{Live, difference, live_part};

use super::Lane;
use super::session::Phase;
use crate::kernel::Kernel;

impl<K: Kernel> Lane<K> {
    /// Applies what can be applied at once. On an error nothing has been.
    pub(super) fn reconfigure(&mut self, config: &HelperConfig) -> Result<(), String> {
        let config = live_part(&self.setup.config, config);
        let changes = difference(&self.setup.config, &config).live;
        let served = self.pinned.clone().map(|manifest| config.adapt(manifest)).transpose().map_err(|bad| bad.to_string())?;
        if let (true, Some(manifest)) = (self.started, &served)
            && (changes.contains(&Live::Classes) || changes.contains(&Live::QueueLength))
        {
            self.kernel.update(manifest, self.enabled, config.queue_length).map_err(|fault| fault.to_string())?;
        }
        self.served = served;
        self.judge.obey(config.rules);
        self.restart.reconfigure(config.restart);
        self.blame.reconfigure(config.restart.blame);
        self.setup.config = config;
        if changes.contains(&Live::Worker) {
            self.renew_all();
        }
        self.dismiss_surplus();
        Ok(())
    }

    /// Fewer spares may be wanted than there are.
    fn dismiss_surplus(&mut self) {
        let spares: Vec<u64> =
            self.crew.iter().filter(|session| session.phase == Phase::Spare).map(|session| session.generation).collect();
        for generation in spares.into_iter().skip(usize::from(self.restart.spares())) {
            self.dismiss(generation);
        }
    }
}
