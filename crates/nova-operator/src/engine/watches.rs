//! How each watch is: which kinds can be seen, and why others cannot. No I/O.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nova_plan::cluster::BlindSpot;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::stores::StoreId;

/// A watch that fails for longer is told; shorter is a restart of the API server.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
enum WatchState {
    /// Its definition is not there.
    Undefined,
    /// Nothing was heard of its list, or it fails, since then; why, as far as anything was heard.
    Blind { since: Instant, why: String },
    /// Listed and watched.
    Open,
}

/// The state of every watch.
#[derive(Debug, Default)]
pub struct WatchStates {
    states: Mutex<BTreeMap<StoreId, WatchState>>,
    news: Notify,
}

impl WatchStates {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<StoreId, WatchState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The definition of a kind is not there. True where that is news.
    pub fn undefined(&self, store: StoreId) -> bool {
        !matches!(self.lock().insert(store, WatchState::Undefined), Some(WatchState::Undefined))
    }

    /// A list begins.
    pub fn begun(&self, store: StoreId) {
        self.blind(store, "no list of it has ended yet");
    }

    /// A list goes on: a page of it has come.
    pub fn progressed(&self, store: StoreId) {
        if let Some(WatchState::Blind { since, .. }) = self.lock().get_mut(&store) {
            *since = Instant::now();
        }
    }

    /// Nothing has come of any list that has not ended, for so long.
    #[must_use]
    pub fn stalled(&self, time: Duration) -> bool {
        self.lock().values().all(|state| match state {
            WatchState::Blind { since, .. } => since.elapsed() >= time,
            WatchState::Undefined | WatchState::Open => true,
        })
    }

    /// A list or watch has failed.
    pub fn failed(&self, store: StoreId, why: &str) {
        self.blind(store, why);
    }

    fn blind(&self, store: StoreId, why: &str) {
        let mut states = self.lock();
        let since = match states.get(&store) {
            Some(WatchState::Blind { since, .. }) => *since,
            _ => Instant::now(),
        };
        states.insert(store, WatchState::Blind { since, why: why.to_owned() });
    }

    /// The kind is listed and watched. True where it was not.
    pub fn open(&self, store: StoreId) -> bool {
        let news = !matches!(self.lock().insert(store, WatchState::Open), Some(WatchState::Open));
        if news {
            self.tell();
        }
        news
    }

    /// Something may have changed for who looks after the watches.
    pub fn tell(&self) {
        self.news.notify_one();
    }

    /// Waits until somebody has told so since the last time. For one who waits.
    pub async fn told(&self) {
        self.news.notified().await;
    }

    /// Kinds that cannot be seen though they should; a backend's that is not installed is told elsewhere.
    #[must_use]
    pub fn blind_spots(&self) -> Vec<BlindSpot> {
        let states = self.lock();
        let spot = |(store, state): (&StoreId, &WatchState)| match state {
            WatchState::Undefined if matches!(store, StoreId::Nova(_)) => Some(BlindSpot {
                resource: store.resource(),
                undefined: true,
                message: "its definition is not there".to_owned(),
            }),
            WatchState::Blind { since, why } if since.elapsed() >= PATIENCE => {
                Some(BlindSpot { resource: store.resource(), undefined: false, message: why.clone() })
            }
            _ => None,
        };
        states.iter().filter_map(spot).collect()
    }

    /// Why a kind cannot be seen, and whether that lasts; none where it can be seen, or need not.
    #[must_use]
    pub fn why_blind(&self, store: &StoreId) -> Option<(String, bool)> {
        match self.lock().get(store) {
            Some(WatchState::Blind { since, why }) => Some((why.clone(), since.elapsed() >= PATIENCE)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_api::Kind;
    use nova_plan::child::NAMESPACE;

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_seen_is_told_after_a_moment_and_until_it_can() {
        let states = WatchStates::default();
        let (namespaces, plans) = (StoreId::Child(&NAMESPACE), StoreId::Nova(Kind::NovaPlan));
        states.begun(namespaces);
        assert!(states.undefined(plans) && !states.undefined(plans));
        assert_eq!(states.blind_spots().len(), 1, "{:?}", states.blind_spots());
        tokio::time::advance(PATIENCE).await;
        states.failed(namespaces, "forbidden");
        assert!(states.stalled(PATIENCE));
        let spots = states.blind_spots();
        assert_eq!((spots.len(), spots[1].message.as_str()), (2, "forbidden"));
        assert!(states.open(namespaces) && states.open(plans));
        assert!(states.blind_spots().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_goes_on_is_neither_told_nor_stalled() {
        let states = WatchStates::default();
        let (namespaces, plans) = (StoreId::Child(&NAMESPACE), StoreId::Nova(Kind::NovaPlan));
        states.begun(namespaces);
        states.begun(plans);
        for _ in 0..3 {
            tokio::time::advance(PATIENCE).await;
            states.progressed(namespaces);
            assert!(!states.stalled(PATIENCE));
            assert_eq!(states.blind_spots().len(), 1, "only the list that hangs is told");
        }
        tokio::time::advance(PATIENCE).await;
        assert!(states.stalled(PATIENCE));
        assert!(states.open(namespaces) && states.open(plans) && states.stalled(PATIENCE));
        states.progressed(plans);
        assert!(states.blind_spots().is_empty(), "a list once more of what is seen is no news");
    }
}
