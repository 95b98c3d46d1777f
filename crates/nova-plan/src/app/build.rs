//! From a valid app to its Application. Pure and infallible.

use serde_json::json;

use super::ValidApp;
use crate::adapters::vela::ApplicationSpec;
use crate::child::{Child, ChildKind, ChildRef, short_hash};
use crate::names::{DEPLOYER, annotation, label};

/// The one child of an app.
#[derive(Debug, Clone, PartialEq)]
pub struct Children {
    /// Delivered by Vela under the deployer's identity.
    pub application: Child,
}

/// The publish version of a rendering: its hash and a count, so that Vela rolls out when, and only when, the rendering
/// changes. The count goes up with every change: Vela never goes back to a publish version that it has left, so a
/// rendering that comes back needs a new one. `live` is that of the live Application, `told` that of the status,
/// for an Application that has lost its own.
fn publish_version(hash: &str, live: Option<&str>, told: Option<&str>) -> String {
    let parse = |version: &str| {
        let (hash, count) = version.split_once('-')?;
        Some((hash.to_owned(), count.parse::<u32>().ok()?))
    };
    match live.and_then(parse).or_else(|| told.and_then(parse)) {
        Some((before, count)) if before == hash => format!("{hash}-{count}"),
        Some((_, count)) => format!("{hash}-{}", count.saturating_add(1)),
        None => format!("{hash}-1"),
    }
}

/// Builds the Application. `live` and `told` are the publish versions of the live Application and of the status.
#[must_use]
pub fn build(app: &ValidApp, live: Option<&str>, told: Option<&str>) -> Children {
    let spec = json!(ApplicationSpec { components: vec![app.component.clone()] });
    let body = json!({
        "metadata": {
            "labels": {label::SOURCE_KIND: app.source.as_str()},
            "annotations": {
                annotation::VELA_SERVICE_ACCOUNT: DEPLOYER,
                annotation::VELA_PUBLISH_VERSION: publish_version(&short_hash(&spec), live, told),
            },
            "ownerReferences": [{
                "apiVersion": "kubenova.io/v1alpha1",
                "kind": "NovaApp",
                "name": app.name.as_str(),
                "uid": app.owner.uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": spec,
    });
    let at = ChildRef {
        kind: ChildKind::Application,
        namespace: app.namespace.clone(),
        name: app.name.to_string(),
    };
    Children { application: Child::new(at, &app.owner, &body) }
}

impl Children {
    /// The publish version asked for.
    #[must_use]
    pub fn publish_version(&self) -> &str {
        self.application.body["metadata"]["annotations"][annotation::VELA_PUBLISH_VERSION]
            .as_str()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::publish_version;

    #[test]
    fn a_publish_version_stays_with_its_rendering_and_never_comes_back() {
        assert_eq!(publish_version("a", None, None), "a-1");
        assert_eq!(publish_version("a", Some("a-1"), None), "a-1");
        assert_eq!(publish_version("b", Some("a-1"), Some("a-1")), "b-2");
        assert_eq!(publish_version("a", Some("b-2"), Some("a-1")), "a-3", "a status that is behind");
        assert_eq!(publish_version("a", Some("tampered"), Some("a-3")), "a-3");
        assert_eq!(publish_version("a", None, Some("b-4")), "a-5");
    }
}
