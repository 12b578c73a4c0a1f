//! Where the figures are that nobody counts: the pools and the direct table are asked when a scrape comes.

use std::sync::Arc;

use crate::engine::Engine;
use crate::loops::Pool;
use crate::metrics::Watched;

impl Engine {
    /// Tells the metrics where to look.
    pub(super) fn show_figures(&self) {
        let metrics = self.store.metrics();
        let (workers, senders) = (self.config.workers, self.config.senders);
        metrics.workers.set(workers as u64);
        metrics.senders.set(senders as u64);
        let pools = self.pools.clone();
        metrics.watch(Watched::Workers, move || busy(&pools.workers, workers));
        let pools = self.pools.clone();
        metrics.watch(Watched::Senders, move || busy(&pools.senders, senders));
        // The house has the store, and the store the metrics: they must not hold it in turn.
        let api = Arc::downgrade(&self.api);
        metrics.watch(Watched::Direct, move || {
            api.upgrade().map_or(0, |api| api.waiting())
        });
    }
}

/// How many threads of a pool are at work.
fn busy<T>(pool: &Pool<T>, count: usize) -> u64 {
    count.saturating_sub(pool.idle()) as u64
}
