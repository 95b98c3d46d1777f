//! What the cluster looks like: one watch per kind, its objects in a table, every change told once.
//! Reads from the cluster; writes nothing.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, pin_mut};
use kube::Api;
use kube::core::Resource;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as start_watcher};
use serde::de::DeserializeOwned;

use crate::metrics::Metrics;
use crate::table::{Place, Table, Versioned, place_of, version_of};

/// A change of one object: what it was and what it is.
#[derive(Debug)]
pub struct Change<'a, T> {
    /// Where.
    pub at: &'a Place,
    /// Before; none when it is new.
    pub old: Option<&'a T>,
    /// Now; none when it is gone.
    pub new: Option<&'a T>,
    /// Part of a list: nobody is waiting for it in particular.
    pub listed: bool,
}

/// Watches a kind for ever: keeps `table` and tells each change that is not an echo of our own write.
///
/// `project` turns an object into what the table keeps, or nothing where it is of no interest.
pub async fn watch<K, T>(
    kind: &'static str,
    api: Api<K>,
    config: watcher::Config,
    table: Arc<Table<T>>,
    metrics: Arc<Metrics>,
    project: impl Fn(K) -> Option<(Place, T)> + Send,
    notify: impl Fn(Change<'_, T>) + Send,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    T: Versioned,
{
    let stream = start_watcher(api, config).default_backoff();
    pin_mut!(stream);
    let mut listing = BTreeMap::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listing = BTreeMap::new(),
            Ok(Event::InitApply(object)) => listing.extend(project(object)),
            Ok(Event::InitDone) => {
                let before = table.replace(std::mem::take(&mut listing));
                tell_listed(&before, &table.snapshot(), &notify);
            }
            Ok(Event::Apply(object)) => {
                let Some((at, row)) = project(object) else { continue };
                if let Ok(old) = table.put(at.clone(), row.clone()) {
                    notify(Change { at: &at, old: old.as_ref(), new: Some(&row), listed: false });
                }
            }
            Ok(Event::Delete(object)) => {
                let (version, place) = (version_of(&object), place_of(&object));
                let at = project(object).map_or(place, |(at, _)| at);
                if let Some(old) = table.remove(&at, version) {
                    notify(Change { at: &at, old: Some(&old), new: None, listed: false });
                }
            }
            Err(error) => {
                tracing::warn!(kind, %error, "watch failed; it is tried again");
                metrics.adapter_error("kubernetes", "WatchFailed");
            }
        }
    }
}

fn tell_listed<T: Versioned>(
    before: &BTreeMap<Place, T>,
    now: &BTreeMap<Place, T>,
    notify: &impl Fn(Change<'_, T>),
) {
    for (at, new) in now {
        let old = before.get(at);
        if old.is_none_or(|old| old.version() != new.version()) {
            notify(Change { at, old, new: Some(new), listed: true });
        }
    }
    for (at, old) in before.iter().filter(|(at, _)| !now.contains_key(*at)) {
        notify(Change { at, old: Some(old), new: None, listed: true });
    }
}

/// Lists what is there now, from the API server: deletions are never decided from a table alone.
pub async fn list<K>(api: &Api<K>) -> Result<Vec<K>, kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let pages = futures::stream::try_unfold(Some(String::new()), |token| async {
        let Some(token) = token else { return Ok::<_, kube::Error>(None) };
        let mut params = kube::api::ListParams::default().limit(250);
        if !token.is_empty() {
            params = params.continue_token(&token);
        }
        let page = api.list(&params).await?;
        let next = page.metadata.continue_.filter(|t| !t.is_empty());
        Ok(Some((page.items, next)))
    });
    let pages: Vec<Vec<K>> = pages.try_collect().await?;
    Ok(pages.into_iter().flatten().collect())
}
