//! Where an object is, and what tests do there: change it, delete it, wait for what it says. Does I/O.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use kube::api::{Api, DeleteParams, DynamicObject};
use serde_json::{Value, json};

use super::{Kind, kind};
use crate::{World, eventually, is_ready, message, reason};

/// An object's place: kind, namespace (empty if it has none) and name.
#[derive(Clone, Debug)]
pub struct Place {
    /// Kind.
    pub kind: &'static Kind,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// What Ready has to say when it is not True; what is left empty may be anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Says<'a> {
    /// Reason of Ready.
    pub reason: &'a str,
    /// Code of the last error.
    pub code: &'a str,
    /// A part of the first blocker's object.
    pub blocker: &'a str,
    /// Parts of the message.
    pub words: &'a [&'a str],
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace =
            if self.namespace.is_empty() { String::new() } else { format!("{}/", self.namespace) };
        write!(f, "{} {namespace}{}", self.kind.kind, self.name)
    }
}

impl Place {
    /// A place by the kind's name.
    #[must_use]
    pub fn new(of: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind(of), namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Objects of its kind in its namespace, as the administrator.
    #[must_use]
    pub fn api(&self, world: &World) -> Api<DynamicObject> {
        self.kind.within(&world.admin, &self.namespace)
    }

    /// The object, if it is there.
    pub async fn get(&self, world: &World) -> Result<Option<DynamicObject>> {
        self.api(world).get_opt(&self.name).await.with_context(|| format!("get {self}"))
    }

    /// The object, which has to be there.
    pub async fn live(&self, world: &World) -> Result<DynamicObject> {
        self.get(world).await?.with_context(|| format!("{self} is not there"))
    }

    /// Its UID.
    pub async fn uid(&self, world: &World) -> Result<String> {
        self.live(world).await?.metadata.uid.context("an object without a UID")
    }

    /// Asks for its deletion.
    pub async fn delete(&self, world: &World) -> Result<()> {
        let deleted = self.api(world).delete(&self.name, &DeleteParams::background()).await;
        deleted.map(drop).with_context(|| format!("delete {self}"))
    }

    /// Changes it by a merge patch.
    pub async fn merge(&self, world: &World, patch: &Value) -> Result<DynamicObject> {
        super::merge(&self.api(world), &self.name, patch).await.with_context(|| self.to_string())
    }

    /// Sets `spec.deletionPolicy`.
    pub async fn set_policy(&self, world: &World, policy: &str) -> Result<()> {
        self.merge(world, &json!({"spec": {"deletionPolicy": policy}})).await.map(drop)
    }

    /// Takes a foreign hold off, unless it is off already or the object is gone: others may have been first.
    pub async fn let_go(&self, world: &World) -> Result<()> {
        let patch = json!({"metadata": {"finalizers": null}});
        match super::merge(&self.api(world), &self.name, &patch).await {
            Err(error) if self.get(world).await?.is_some() => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits until it is gone, and tells how long that took.
    pub async fn gone(&self, world: &World, within: Duration) -> Result<Duration> {
        let start = Instant::now();
        eventually(&format!("{self} is gone"), within, async || match self.get(world).await {
            Ok(None) => Ok(()),
            Ok(Some(object)) => Err(format!("{}: {}", reason(&object), message(&object))),
            Err(error) => Err(format!("{error:#}")),
        })
        .await?;
        Ok(start.elapsed())
    }

    /// Waits until the object of this UID is gone; another of its name may be there.
    pub async fn another_than(&self, world: &World, uid: &str, within: Duration) -> Result<()> {
        let what = format!("the {self} of before is gone");
        eventually(&what, within, async || match self.get(world).await {
            Ok(Some(object)) if object.metadata.uid.as_deref() == Some(uid) => {
                Err(format!("{}: {}", reason(&object), message(&object)))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{error:#}")),
        })
        .await
    }

    /// Waits until it is on its way out, but held.
    pub async fn is_going(&self, world: &World, within: Duration) -> Result<()> {
        eventually(&format!("{self} is being deleted"), within, async || match self.get(world).await {
            Ok(Some(object)) if object.metadata.deletion_timestamp.is_some() => Ok(()),
            Ok(Some(_)) => Err("it is not".to_owned()),
            Ok(None) => Err("it is gone".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        })
        .await
    }

    /// Waits until it is there.
    pub async fn there(&self, world: &World, within: Duration) -> Result<DynamicObject> {
        eventually(&format!("{self} is there"), within, async || {
            self.get(world).await.map_err(|e| format!("{e:#}"))?.ok_or_else(|| "it is not".to_owned())
        })
        .await
    }

    /// Waits until Ready is True for the present generation.
    pub async fn ready(&self, world: &World, within: Duration) -> Result<DynamicObject> {
        eventually(&format!("{self} is Ready"), within, async || {
            let object = self.live(world).await.map_err(|e| format!("{e:#}"))?;
            if is_ready(&object) {
                Ok(object)
            } else {
                Err(format!("{}: {}", reason(&object), message(&object)))
            }
        })
        .await
    }

    /// Waits until Ready is not True and says all this, and gives back its message.
    pub async fn says(&self, world: &World, says: &Says<'_>, within: Duration) -> Result<String> {
        eventually(&format!("{self} says {says:?}"), within, async || {
            let object = self.live(world).await.map_err(|e| format!("{e:#}"))?;
            let status = &object.data["status"];
            let code = status["lastError"]["code"].as_str().unwrap_or_default();
            let blocker = status["blockers"][0]["object"].as_str().unwrap_or_default();
            let (found, text) = (reason(&object), message(&object));
            let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
            let said = !is_ready(&object)
                && is(says.reason, found)
                && is(says.code, code)
                && blocker.contains(says.blocker)
                && says.words.iter().all(|word| text.contains(word));
            if said { Ok(text.to_owned()) } else { Err(format!("{found} {code} {blocker}: {text}")) }
        })
        .await
    }
}
