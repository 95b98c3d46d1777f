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

/// Builds the Application. Its publish version is a hash of the rendering, so that Vela rolls out when, and
/// only when, the rendering changes.
#[must_use]
pub fn build(app: &ValidApp) -> Children {
    let spec = json!(ApplicationSpec { components: vec![app.component.clone()] });
    let body = json!({
        "metadata": {
            "labels": {label::SOURCE_KIND: app.source.as_str()},
            "annotations": {
                annotation::VELA_SERVICE_ACCOUNT: DEPLOYER,
                annotation::VELA_PUBLISH_VERSION: short_hash(&spec),
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
