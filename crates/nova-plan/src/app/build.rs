//! From a valid app to its Application. Pure and infallible.

use nova_api::conditions::ConditionType;
use serde_json::json;

use super::ValidApp;
use crate::adapters::vela;
use crate::adapters::vela::ApplicationSpec;
use crate::child::{Child, ChildRef, short_hash};
use crate::names::{DEPLOYER, annotation, label};
use crate::step::{Step, apply_all};

/// The one child of an app.
#[derive(Debug, Clone, PartialEq)]
pub struct Children {
    /// Delivered by Vela under the deployer's identity.
    pub application: Child,
}

/// What was published before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published<'a> {
    /// Publish version of the live Application.
    pub live: Option<&'a str>,
    /// That of the status, for an Application that has lost its own.
    pub told: Option<&'a str>,
    /// Vela has given up, and the rendering is worth another try.
    pub again: bool,
}

/// The publish version of a rendering: its hash and a count, so that Vela rolls out when, and only when, the rendering
/// changes. The count goes up with every change: Vela never goes back to a publish version that it has left, so a
/// rendering that comes back, or is to be tried again, needs a new one.
fn publish_version(hash: &str, Published { live, told, again }: Published<'_>) -> String {
    let parse = |version: &str| {
        let (hash, count) = version.split_once('-')?;
        Some((hash.to_owned(), count.parse::<u32>().ok()?))
    };
    match live.and_then(parse).or_else(|| told.and_then(parse)) {
        Some((before, count)) if before == hash && !again => format!("{hash}-{count}"),
        Some((_, count)) => format!("{hash}-{}", count.saturating_add(1)),
        None => format!("{hash}-1"),
    }
}

impl crate::step::Children for Children {
    fn steps(self) -> Vec<Step> {
        let Self { application } = self;
        apply_all(ConditionType::DeliveryReady, [application]).collect()
    }
}

/// Where the Application of an app is.
#[must_use]
pub fn application_ref(namespace: &str, name: &str) -> ChildRef {
    ChildRef::new(&vela::APPLICATION, namespace, name)
}

/// Builds the Application.
#[must_use]
pub fn build(app: &ValidApp, published: Published<'_>) -> Children {
    let spec = json!(ApplicationSpec { components: vec![app.component.clone()] });
    let body = json!({
        "metadata": {
            "labels": {label::SOURCE_KIND: app.source.as_str()},
            "annotations": {
                annotation::VELA_SERVICE_ACCOUNT: DEPLOYER,
                annotation::VELA_PUBLISH_VERSION: publish_version(&short_hash(&spec), published),
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
    let at = application_ref(&app.namespace, app.name.as_str());
    Children { application: Child::new(at, &app.owner, &body) }
}

#[cfg(test)]
mod tests {
    use super::{Published, publish_version};

    #[test]
    fn a_publish_version_stays_with_its_rendering_and_never_comes_back() {
        let next = |hash, live, told| publish_version(hash, Published { live, told, again: false });
        assert_eq!(next("a", None, None), "a-1");
        assert_eq!(next("a", Some("a-1"), None), "a-1");
        assert_eq!(next("b", Some("a-1"), Some("a-1")), "b-2");
        assert_eq!(next("a", Some("b-2"), Some("a-1")), "a-3", "a status that is behind");
        assert_eq!(next("a", Some("tampered"), Some("a-3")), "a-3");
        assert_eq!(next("a", None, Some("b-4")), "a-5");
    }

    #[test]
    fn another_try_is_another_version() {
        let again = Published { live: Some("a-1"), told: None, again: true };
        assert_eq!(publish_version("a", again), "a-2");
    }
}
