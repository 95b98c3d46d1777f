//! All objects of all kinds that the API server can list. Does I/O: reads the cluster.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::ResourceExt as _;
use kube::discovery::{Discovery, verbs};
use serde_json::Value;

/// Kinds that come and go by themselves.
const PASSING: [&str; 2] = ["Event", "Lease"];

/// Every object of the cluster, `<Kind>.<group> <namespace>/<name>` to its whole text; events and leases aside.
#[derive(Debug, Clone)]
pub struct Everything(pub BTreeMap<String, String>);

impl Everything {
    /// Lists every kind that can be listed, in all namespaces.
    pub async fn list(client: &Client) -> Result<Self> {
        let discovery = Discovery::new(client.clone()).run().await.context("discover the kinds")?;
        let kinds: Vec<_> = discovery
            .groups()
            .flat_map(kube::discovery::ApiGroup::recommended_resources)
            .filter(|(kind, able)| {
                able.supports_operation(verbs::LIST) && !PASSING.contains(&kind.kind.as_str())
            })
            .map(|(kind, _)| kind)
            .collect();
        let lists = stream::iter(kinds.into_iter().map(|kind| async move {
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
            let list = api.list(&ListParams::default()).await;
            let list = list.with_context(|| format!("list {}.{}", kind.plural, kind.group))?;
            anyhow::Ok(list.into_iter().map(move |object| {
                let place = object
                    .namespace()
                    .map_or_else(|| object.name_any(), |n| format!("{n}/{}", object.name_any()));
                (
                    format!("{}.{} {place}", kind.kind, kind.group),
                    serde_json::to_string(&object).unwrap_or_default(),
                )
            }))
        }));
        let lists: Vec<_> = lists.buffer_unordered(8).try_collect().await?;
        Ok(Self(lists.into_iter().flatten().collect()))
    }

    /// Names of what is here and was not there before.
    #[must_use]
    pub fn beyond(&self, before: &Self) -> Vec<&str> {
        self.0.keys().filter(|key| !before.0.contains_key(*key)).map(String::as_str).collect()
    }

    /// Names of what was there before and is here no more.
    #[must_use]
    pub fn lost<'a>(&self, before: &'a Self) -> Vec<&'a str> {
        before.0.keys().filter(|key| !self.0.contains_key(*key)).map(String::as_str).collect()
    }

    /// What is here otherwise than before, by name and with both texts; what each write moves and what is reported in a
    /// status does not count.
    #[must_use]
    pub fn changed(&self, before: &Self) -> Vec<String> {
        let lasting = |text: &str| {
            let mut value: Value = serde_json::from_str(text).unwrap_or_default();
            for moving in ["resourceVersion", "generation", "managedFields"] {
                value["metadata"][moving].take();
            }
            value["status"].take();
            value
        };
        let both = self.0.iter().filter_map(|(key, now)| Some((key, before.0.get(key)?, now)));
        let other = both.filter(|(_, was, now)| was != now && lasting(was) != lasting(now));
        other.map(|(key, was, now)| format!("{key}: was {was}, is {now}")).collect()
    }

    /// Names of what speaks of something, in its name or anywhere in it.
    #[must_use]
    pub fn speaks_of(&self, word: &str) -> Vec<&str> {
        let speaks = |(key, text): &(&String, &String)| key.contains(word) || text.contains(word);
        self.0.iter().filter(speaks).map(|(key, _)| key.as_str()).collect()
    }

    /// The kinds in it.
    #[must_use]
    pub fn kinds(&self) -> BTreeSet<&str> {
        self.0.keys().filter_map(|key| key.split(' ').next()).collect()
    }
}
